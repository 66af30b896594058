"""What is in `deploy/monitoring`, read for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/monitoring"
RULES = FOLDER / "rules.yaml"
RULES_TEST = FOLDER / "rules_test.yaml"
ADAPTER = FOLDER / "prometheus-adapter.yaml"


def rules() -> list[dict[str, Any]]:
    """Every rule, alerting or recording."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """The panels that ask something: all but headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """What the panels ask, by title and letter of the query."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel["targets"]
    }


def expressions() -> Mapping[str, str]:
    """Everything that is asked of Prometheus, by who asks."""
    asked = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    external = yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["external"]
    adapter = {f"adapter {i}": rule["seriesQuery"] for i, rule in enumerate(external)}
    return {**asked, **queries(), **adapter}


def triton_metrics() -> dict[str, set[str]]:
    """The stated names of Triton's series, by heading."""
    found: dict[str, set[str]] = {}
    for line in (FOLDER / "triton_metrics.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            heading = line.strip("[]")
            found[heading] = set()
        elif line and not line.startswith("#"):
            found[heading].add(line)
    return found


def manifests(kind: str) -> list[dict[str, Any]]:
    """Every object of a kind in `deploy/kubernetes`; at least one there must be."""
    found = [
        each
        for path in sorted((ROOT / "deploy/kubernetes").rglob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if isinstance(each, dict) and each.get("kind") == kind
    ]
    assert found, f"no {kind} in deploy/kubernetes"
    return found
