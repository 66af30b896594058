"""`python -m wstar_service` is `wstar-serve`."""

from __future__ import annotations

import sys

from wstar_service.main import main

if __name__ == "__main__":
    sys.exit(main())
