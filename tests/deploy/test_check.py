"""`python -m deploy.check` finds what is wrong: one fault of each kind is planted in a copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deploy.check.policies import judged

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-deploy/bin/python"
COPIED = ("deploy", ".ci", "tests/full_scale.sh")
BASE = "deploy/kubernetes/base/"
SCALED = "deploy/kubernetes/overlays/gpu-scaled/"
RULES = "deploy/monitoring/rules.yaml"


@dataclass(frozen=True)
class Fault:
    """One text that takes another's place in a file, and the steps that must find it."""

    name: str
    file: str
    old: str
    new: str
    steps: tuple[str, ...]
    told: str


FAULTS = (
    Fault(
        "a key twice", "deploy/compose.yaml", "services:", "services:\nservices:", ("files",), ""
    ),
    Fault("no YAML", f"{BASE}service.yaml", "spec:", "spec: {", ("files", "kustomize"), ""),
    Fault(
        "a file that is not there",
        f"{BASE}kustomization.yaml",
        "  - service.yaml",
        "  - services.yaml",
        ("kustomize",),
        "services.yaml",
    ),
    Fault(
        "a component that nobody uses",
        "deploy/kubernetes/overlays/gpu-scaled-keda/kustomization.yaml",
        "components:\n  - ../../components/keda\n",
        "",
        ("kustomize",),
        "components/keda: no overlay uses it",
    ),
    Fault(
        "a field that no Kubernetes has",
        f"{BASE}deployment.yaml",
        "revisionHistoryLimit",
        "revisionsHistoryLimit",
        ("schemas",),
        "revisionsHistoryLimit",
    ),
    Fault(
        "a field of newer versions alone",
        f"{BASE}deployment.yaml",
        "      enableServiceLinks: false",
        "      enableServiceLinks: false\n      hostnameOverride: wstar",
        ("schemas",),
        "Kubernetes 1.29: ",
    ),
    Fault(
        "a version of an API that is gone",
        f"{BASE}disruption-budget.yaml",
        "policy/v1",
        "policy/v1beta1",
        ("schemas",),
        "policy/v1beta1",
    ),
    Fault(
        "a group that only looks like one",
        f"{SCALED}disruption-budget.yaml",
        "policy/v1",
        "policy.example.com/v1",
        ("schemas",),
        "no schema of policy.example.com/v1",
    ),
    Fault(
        "a kind of another project that is not listed",
        f"{BASE}service-monitor.yaml",
        "kind: ServiceMonitor",
        "kind: PodMonitor",
        ("schemas",),
        "no schema of monitoring.coreos.com/v1",
    ),
    Fault(
        "a field that ServiceMonitor has not",
        f"{BASE}service-monitor.yaml",
        "interval:",
        "intervals:",
        ("schemas",),
        "intervals",
    ),
    Fault(
        "a root that is written to",
        f"{BASE}deployment.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        ("checkov",),
        "CKV_K8S_22",
    ),
    Fault(
        "an exception without a reason",
        f"{BASE}deployment.yaml",
        "CKV_K8S_43=the digest is known to whoever pushes the image; overlays pin it under images",
        "CKV_K8S_43",
        ("checkov",),
        "CKV_K8S_43",
    ),
    Fault(
        "an image that runs as root",
        "deploy/Dockerfile.triton",
        "USER 10001:10001",
        "USER root",
        ("hadolint", "checkov"),
        "",
    ),
    Fault(
        "a script that splits words",
        ".ci/run",
        "make test",
        "make test $1",
        ("shellcheck",),
        "SC2086",
    ),
    Fault("no PromQL", RULES, "sum by (namespace)", "sum by namespace (", ("promtool",), ""),
    Fault(
        "a rule that means something else",
        RULES,
        "1e-6 * sum by (namespace) (rate(nv_inference_queue_duration_us",
        "1e-6 * avg by (namespace) (rate(nv_inference_queue_duration_us",
        ("promtool",),
        "",
    ),
    Fault(
        "a dashboard that is no JSON",
        "deploy/monitoring/dashboard.json",
        "{",
        "{,",
        ("dashboards",),
        "dashboard.json",
    ),
    Fault(
        "a panel that asks nothing",
        "deploy/monitoring/dashboard.json",
        '"targets"',
        '"target"',
        ("dashboards",),
        "asks nothing",
    ),
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the check reads, to be spoiled."""
    for name in COPIED:
        target = tmp_path / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return tmp_path


@pytest.fixture
def tools() -> Path:
    """The Python beside which the tools are; skips the test where one is not there."""
    if not TOOLS.exists():
        pytest.skip("no .venv-deploy: `make deploy-check` installs it")
    for name in ("kubectl", "promtool"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on this machine")
    return TOOLS


def check(
    python: Path, folder: Path, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run it in a folder; its answer as JSON too."""
    told = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONPATH")}
    done = subprocess.run(
        [python, "-m", "deploy.check", "--json", *arguments],
        cwd=folder,
        env={**told, **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done, found


@pytest.mark.slow
def test_what_is_there_is_well(tools: Path) -> None:
    done, found = check(tools, ROOT, CI="true")
    assert done.returncode == 0, done.stderr
    assert {step["result"] for step in found.values()} == {"ok"}
    # All of it in less than five minutes, on a machine that does other work.
    assert sum(step["seconds"] for step in found.values()) < 300


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_is_found(fault: Fault, copy: Path, tools: Path) -> None:
    path = copy / fault.file
    text = path.read_text(encoding="utf-8")
    assert fault.old in text
    path.write_text(text.replace(fault.old, fault.new, 1), encoding="utf-8")
    done, found = check(tools, copy, *fault.steps)
    assert done.returncode == 1
    for step in fault.steps:
        assert found[step]["result"] == "FAILED", step
        assert fault.told in "\n".join(found[step]["faults"])
        # Also told in a line of its own, for whoever reads the table.
        assert f"{step}: " in done.stderr


@pytest.mark.parametrize("step", ["kustomize", "schemas", "hadolint", "shellcheck", "promtool"])
def test_a_tool_that_is_missing_is_told_and_fails_in_ci(step: str, tmp_path: Path) -> None:
    # This Python has none of them beside it, and a PATH of one empty folder has none either.
    at_home, found = check(Path(_lonely(tmp_path)), ROOT, step, PATH=str(tmp_path))
    assert found[step]["result"] == "NOT RUN"
    assert " is not " in found[step]["missing"]
    assert at_home.returncode == 0
    in_ci, _ = check(Path(_lonely(tmp_path)), ROOT, step, PATH=str(tmp_path), CI="1")
    assert in_ci.returncode == 1


def test_a_step_that_there_is_not_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.check", "helm"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no step helm" in done.stderr


def test_a_hidden_result_is_no_result() -> None:
    nothing = judged([{"check_type": "kubernetes", "results": {"passed_checks": [1]}}])
    assert "dockerfile" in " ".join(nothing.faults)


def _lonely(folder: Path) -> str:
    """Name the Python of this test in a folder of its own, so that nothing is beside it."""
    place = folder / "alone/python"
    place.parent.mkdir(exist_ok=True)
    if not place.exists():
        place.symlink_to(sys.executable)
    return str(place)
