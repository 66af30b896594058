"""Every object against the schemas of every Kubernetes version that is supported, strictly."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.check import rendered
from deploy.check.outcome import Missing, Outcome, name_of

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# Of other projects, so that no Kubernetes knows them: strict schemas of the fields that are used
# here, written after the operators' documentation. No operator has read them.
CUSTOM = json.loads(Path(__file__).with_name("custom_resources.json").read_text(encoding="utf-8"))


def check() -> Outcome:
    """Validate; a kind that is in no schema is a fault, not a warning."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder, made in rendered.all_objects().items():
        for each in made:
            # Overlays share most of their objects: each is validated once.
            found.setdefault(json.dumps(each, sort_keys=True, default=str), (folder, each))
    faults = [fault for folder, each in found.values() for fault in _faults(folder, each)]
    if not found:
        faults.append("there is nothing to validate")
    span = f"{VERSIONS[0]} to {VERSIONS[-1]}"
    return Outcome(f"{len(found)} different objects, Kubernetes {span}", faults)


def _faults(folder: Path, each: dict[str, Any]) -> Iterator[str]:
    where = f"{name_of(folder)}: {each['kind']}/{each['metadata']['name']}"
    kind = f"{each['apiVersion']}/{each['kind']}"
    if kind in CUSTOM:
        yield from (f"{where}: {fault}" for fault in _custom(each, CUSTOM[kind]))
        return
    for version in VERSIONS:
        for fault in _built_in(each, version):
            yield f"{where}: Kubernetes {version}: {fault}"


def _custom(each: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    validator = _module("jsonschema").Draft202012Validator(schema)
    for error in validator.iter_errors(each):
        yield f"{error.json_path}: {error.message}"


def _built_in(each: dict[str, Any], version: str) -> Iterator[str]:
    library = _module("kubernetes_validate")
    # It looks schemas up by the first word of the group alone: `apps.example.com` would be `apps`.
    group = each["apiVersion"].rpartition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        yield f"no schema of {each['apiVersion']}"
        return
    try:
        library.validate(each, version, strict=True)
    except library.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        yield f"{path}: {error.message}"
    except library.SchemaNotFoundError as error:
        yield error.message
    except library.VersionNotSupportedError as error:
        yield error.message


def _module(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} is not installed: deploy/check/requirements.txt") from error
