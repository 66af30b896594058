"""`make deploy-check`: every file of this folder through the tool that knows it; one table.

python -m deploy.check [STEP...]. Exit code 1 if a step fails. A step whose tool is not on this
machine says so; where the variable CI is set, that fails too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from deploy.check import files, linters, monitoring, policies, rendered, schemas
from deploy.check.outcome import Missing, Outcome

STEPS: Mapping[str, Callable[[], Outcome]] = {
    "files": files.check,
    "kustomize": rendered.check,
    "schemas": schemas.check,
    "checkov": policies.check,
    "hadolint": linters.check_dockerfiles,
    "shellcheck": linters.check_scripts,
    "promtool": monitoring.check_rules,
    "dashboards": monitoring.check_dashboards,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps, print what they found, then the table."""
    parser = argparse.ArgumentParser(prog="deploy.check", description=__doc__.splitlines()[0])
    # Not `choices`: argparse compares the empty list with them.
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    told = parser.parse_args(argv)
    if unknown := set(told.steps) - STEPS.keys():
        parser.error(f"no step {', '.join(sorted(unknown))}")
    outcomes, seconds = {}, {}
    for name in told.steps or STEPS:
        began = time.monotonic()
        outcomes[name] = _run(STEPS[name])
        seconds[name] = time.monotonic() - began
        for fault in outcomes[name].faults:
            print(f"{name}: {fault}", file=sys.stderr)
    print(_json(outcomes, seconds) if told.json else _table(outcomes, seconds))
    failed = any(outcome.faults for outcome in outcomes.values())
    not_run = any(outcome.missing for outcome in outcomes.values())
    return int(failed or (not_run and "CI" in os.environ))


def _run(step: Callable[[], Outcome]) -> Outcome:
    try:
        return step()
    except Missing as error:
        return Outcome(missing=str(error))


def _table(outcomes: Mapping[str, Outcome], seconds: Mapping[str, float]) -> str:
    rows = [("step", "result", "time", "what was checked")]
    for name, found in outcomes.items():
        rows.append((name, found.word, f"{seconds[name]:.1f} s", found.missing or found.checked))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )


def _json(outcomes: Mapping[str, Outcome], seconds: Mapping[str, float]) -> str:
    return json.dumps(
        {
            name: {
                "result": found.word,
                "seconds": round(seconds[name], 2),
                "checked": found.checked,
                "missing": found.missing,
                "faults": found.faults,
            }
            for name, found in outcomes.items()
        },
        indent=2,
    )


if __name__ == "__main__":
    sys.exit(main())
