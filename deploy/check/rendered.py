"""Every kustomization that can be applied, as the objects that `kubectl kustomize` makes of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from deploy.check.outcome import DEPLOY, ROOT, Outcome, counted, lines, name_of, run, tool

KUBERNETES = DEPLOY / "kubernetes"
_HOW = "install the kubectl of your cluster; Debian's own is too old for `kubectl kustomize`"


class DoesNotRender(Exception):
    """What kubectl says of a kustomization."""


def kustomizations() -> list[Path]:
    """Folders that can be applied: all but components, which are parts of others."""
    found = {path.parent for path in KUBERNETES.rglob("kustomization.yaml")}
    return sorted(folder for folder in found if KUBERNETES / "components" not in folder.parents)


@cache
def objects(folder: Path) -> list[dict[str, Any]]:
    """Render a folder; raises DoesNotRender, Missing."""
    done = run(tool("kubectl", _HOW), "kustomize", folder)
    if done.returncode:
        raise DoesNotRender(f"{name_of(folder)}: {' '.join(lines(done))}")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def all_objects() -> dict[Path, list[dict[str, Any]]]:
    """Render all that do; that of the others is told by the step `kustomize`."""
    found = {}
    for folder in kustomizations():
        try:
            found[folder] = objects(folder)
        except DoesNotRender:
            continue
    return found


def check() -> Outcome:
    """Render all; every component must be part of something, or nothing would look at it."""
    outcome, made = Outcome(), 0
    for folder in kustomizations():
        try:
            made += len(objects(folder))
        except DoesNotRender as error:
            outcome.faults.append(str(error))
    texts = [path.read_text() for path in KUBERNETES.rglob("kustomization.yaml")]
    for component in sorted((KUBERNETES / "components").iterdir()):
        if not any(f"components/{component.name}\n" in f"{text}\n" for text in texts):
            outcome.faults.append(f"{component.relative_to(ROOT)}: no overlay uses it")
    outcome.checked = f"{counted(kustomizations(), 'kustomization')}, {made} objects"
    return outcome
