"""The `wstar` command: ask a server from a terminal, or search and group stored codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from wstar.arguments import parser
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch, WstarError
from wstar.extras import MissingPackage
from wstar.terminal import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse exits with 2 on wrong usage."""
    arguments = parser(os.environ).parse_args(argv)
    # What gRPC has to say of a connection is in our message.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Late, so that help comes at once.
    from wstar import commands

    try:
        code: int = getattr(commands, arguments.command)(arguments)
        sys.stdout.flush()
    except (InvalidInput, LimitExceeded, SpaceMismatch, MissingPackage) as error:
        say(str(error))
        return 2
    except BrokenPipeError:
        # The reader left; Python would complain again when it closes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 2
    except WstarError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
