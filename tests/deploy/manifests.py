"""The rendered manifests, asked for by what they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from wstar_service.arguments import read_settings
from wstar_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = tuple(sorted(path.name for path in (KUBERNETES / "overlays").iterdir()))
GPU = tuple(name for name in OVERLAYS if name.startswith("gpu"))

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Manifests:
    """All objects of one overlay."""

    objects: tuple[Object, ...]

    def of(self, kind: str) -> list[Object]:
        """Those of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        """The one of that name; KeyError if there is none."""
        found = {each["metadata"]["name"]: each for each in self.of(kind)}
        return found[name]

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Name and template of all that makes pods."""
        for kind in ("Deployment", "Job"):
            for each in self.of(kind):
                yield each["metadata"]["name"], each["spec"]["template"]

    def pod(self, name: str) -> Object:
        """The pod of a Deployment or Job."""
        spec: Object = dict(self.pods())[name]["spec"]
        return spec

    def container(self, name: str) -> Object:
        """The main container of the Deployment of the same name."""
        (found,) = (each for each in self.pod(name)["containers"] if each["name"] == name)
        one: Object = found
        return one

    def environment(self) -> dict[str, str]:
        """What the service is told."""
        container = self.container("wstar")
        told: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            told |= self.named("ConfigMap", source["configMapRef"]["name"])["data"]
        return told | {each["name"]: each["value"] for each in container["env"]}

    def settings(self) -> Settings:
        """What the service makes of that."""
        return read_settings([], self.environment())


@cache
def rendered(overlay: str) -> Manifests:
    """Render one of `OVERLAYS`."""
    command = ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Manifests(tuple(each for each in yaml.safe_load_all(done.stdout) if each))


def missing() -> str | None:
    """Why no manifest can be rendered here, or None."""
    return None if shutil.which("kubectl") else "kubectl is not on this machine"


def selects(selector: Object, template: Object) -> bool:
    """Whether `matchLabels` fit the labels of a pod; an empty selector fits all."""
    labels: Mapping[str, str] = template["metadata"]["labels"]
    wanted: Mapping[str, str] = selector.get("matchLabels", selector)
    return wanted.items() <= labels.items()


def ports(container: Object) -> dict[str, int]:
    """Ports of a container by their names."""
    return {each["name"]: each["containerPort"] for each in container["ports"]}


def size(text: str) -> int:
    """Bytes of a quantity of memory."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(text[:-2]) * units[text[-2:]]
