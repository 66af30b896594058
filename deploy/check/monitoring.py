"""promtool over the rules and their tests, and the dashboards as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deploy.check.outcome import DEPLOY, Outcome, counted, lines, name_of, run, tool

FOLDER = DEPLOY / "monitoring"
_HOW = "apt install prometheus"


def check_rules() -> Outcome:
    """Check the rules, then run their unit tests."""
    promtool = tool("promtool", _HOW)
    faults = lines(run(promtool, "check", "rules", "rules.yaml", within=FOLDER))
    faults += lines(run(promtool, "test", "rules", "rules_test.yaml", within=FOLDER))
    return Outcome("rules.yaml, rules_test.yaml", faults)


def check_dashboards() -> Outcome:
    """Parse every dashboard; each panel must ask something."""
    found = sorted(FOLDER.glob("*.json"))
    faults = [] if found else ["there is no dashboard"]
    queries = 0
    for path in found:
        try:
            asked = list(_queries(json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{name_of(path)}: {error!r}")
            continue
        faults += [f"{name_of(path)}: {title}: asks nothing" for title, text in asked if not text]
        queries += len(asked)
    return Outcome(f"{counted(found, 'dashboard')}, {queries} queries", faults)


def _queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from _queries({"panels": panel.get("panels", [])})
            continue
        if panel["type"] == "text":
            continue
        targets = panel.get("targets", [])
        if not targets:
            yield panel["title"], ""
        for target in targets:
            yield panel["title"], target["expr"].strip()
