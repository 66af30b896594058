"""How the rendered manifest has servers started, probed and stopped."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BASE = Path(__file__).resolve().parents[2] / "deploy/kubernetes/base"
NAME = "wstar"


@dataclass(frozen=True)
class Probe:
    """A probe over HTTP; what is left out of a manifest is as Kubernetes has it."""

    path: str
    delay_s: float
    period_s: float
    timeout_s: float
    successes: int
    failures: int

    @classmethod
    def read(cls, probe: Mapping[str, Any]) -> Probe:
        """Read one; KeyError for a probe that does not ask over HTTP."""
        return cls(
            probe["httpGet"]["path"],
            probe.get("initialDelaySeconds", 0),
            probe.get("periodSeconds", 10),
            probe.get("timeoutSeconds", 1),
            probe.get("successThreshold", 1),
            probe.get("failureThreshold", 3),
        )

    def passes(self, address: str) -> bool:
        """Ask once."""
        try:
            with urllib.request.urlopen(f"http://{address}{self.path}", timeout=self.timeout_s):
                return True
        except OSError:
            return False


@dataclass(frozen=True)
class Lifecycle:
    """Of one Deployment.

    environment: what the container is told in variables.
    pre_stop_s: before SIGTERM, which comes while the balancer learns that the pod goes.
    termination_s: from the deletion of a pod to SIGKILL.
    settled_s: how long a new pod must be ready before an old one goes.
    """

    environment: Mapping[str, str]
    startup: Probe
    readiness: Probe
    liveness: Probe
    pre_stop_s: float
    termination_s: float
    settled_s: float


def read(folder: Path = BASE, name: str = NAME) -> Lifecycle:
    """Render a kustomization and read the Deployment `name`; KeyError if it lacks something."""
    rendered = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=True
    )
    objects = {
        (each["kind"], each["metadata"]["name"]): each
        for each in yaml.safe_load_all(rendered.stdout)
    }
    deployment = objects["Deployment", name]["spec"]
    strategy = deployment["strategy"]["rollingUpdate"]
    # What the rollout here does: the new one first.
    assert (strategy["maxSurge"], strategy["maxUnavailable"]) == (1, 0), strategy
    pod = deployment["template"]["spec"]
    (container,) = (each for each in pod["containers"] if each["name"] == name)
    environment: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environment |= objects["ConfigMap", source["configMapRef"]["name"]]["data"]
    environment |= {
        each["name"]: each["value"] for each in container.get("env", ()) if "value" in each
    }
    return Lifecycle(
        environment,
        Probe.read(container["startupProbe"]),
        Probe.read(container["readinessProbe"]),
        Probe.read(container["livenessProbe"]),
        container["lifecycle"]["preStop"]["sleep"]["seconds"],
        pod["terminationGracePeriodSeconds"],
        deployment.get("minReadySeconds", 0),
    )
