"""checkov's policies over what is rendered and over the Dockerfiles, without its network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from deploy.check import rendered
from deploy.check.linters import dockerfiles
from deploy.check.outcome import Outcome, counted, lines, run, tool


def check() -> Outcome:
    """Run both; an exception is an annotation or comment of the file, with its reason."""
    checkov = tool("checkov", "deploy/check/requirements.txt")
    with tempfile.TemporaryDirectory() as folder:
        for path, made in rendered.all_objects().items():
            text = yaml.safe_dump_all(made)
            (Path(folder) / f"{path.name}.yaml").write_text(text, encoding="utf-8")
        for path in dockerfiles():
            (Path(folder) / path.name).write_bytes(path.read_bytes())
        done = run(
            *(checkov, "--directory", folder, "--framework", "kubernetes", "dockerfile"),
            *("--output", "json", "--skip-download"),
            within=Path(folder),
        )
    try:
        reports = json.loads(done.stdout)
    except ValueError:
        return Outcome("nothing", lines(done) or ["checkov did not answer in JSON"])
    return judged(reports if isinstance(reports, list) else [reports])


def judged(reports: list[dict[str, Any]]) -> Outcome:
    """Turn checkov's reports, one per framework, into an outcome."""
    faults: list[str] = []
    passed, skipped = 0, []
    kinds = {report.get("check_type") for report in reports}
    for kind in {"kubernetes", "dockerfile"} - kinds:
        faults.append(f"checkov looked at nothing of the kind {kind}")
    for report in reports:
        results = report.get("results", {})
        passed += len(results.get("passed_checks", ()))
        skipped += results.get("skipped_checks", [])
        faults += [_told(found) for found in results.get("failed_checks", ())]
        faults += [f"{path}: cannot be read" for path in results.get("parsing_errors", ())]
    faults += _unreasoned(skipped)
    return Outcome(f"{passed} passed, {counted(skipped, 'exception')} with a reason", faults)


def _told(found: dict[str, Any]) -> str:
    return f"{found['check_id']} {found['resource']}: {found['check_name']}"


def _unreasoned(skipped: list[dict[str, Any]]) -> Iterator[str]:
    for found in skipped:
        reason = found["check_result"].get("suppress_comment", "")
        if not reason or reason == "No comment provided":
            yield f"{found['check_id']} {found['resource']}: an exception without a reason"
