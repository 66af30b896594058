"""The bill of materials and the list of licences are those of what is pinned and installed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from deploy.engines.key import whole
from deploy.supply_chain import licences, sbom
from deploy.supply_chain.packages import (
    IMAGE_EXTRAS,
    PROJECT,
    ROOT,
    image_packages,
    pinned_package,
    pins,
)
from packaging.utils import canonicalize_name
from tests.service.triton_process import DEMO

from wstar.checksums import CHECKSUMS_FILE
from wstar.errors import ContractMismatch
from wstar_service.embedded import EmbeddedRunner

PINS = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.FILE.read_text(encoding="utf-8"))
    return found


def test_the_committed_documents_are_what_their_scripts_write() -> None:
    assert sbom.FILE.read_text(encoding="utf-8") == sbom.text()
    lines = licences.FILE.read_text(encoding="utf-8").splitlines()
    made = licences.text().splitlines()
    # What is not installed here was read where it was.
    known = [line for line in made if licences.UNREAD not in line]
    assert set(known) <= set(lines)
    assert len(lines) == len(made)


def test_every_component_is_pinned_and_everything_needed_is_a_component(
    document: dict[str, Any],
) -> None:
    components = {each["name"]: each["version"] for each in document["components"]}
    assert components.items() <= PINS.items()
    assert "onnxruntime" in components and not components.keys() & {"torch", "pytest", "onnx"}
    refs = {each["bom-ref"] for each in document["components"]}
    refs.add(document["metadata"]["component"]["bom-ref"])
    assert refs == {each["ref"] for each in document["dependencies"]}
    needed = {ref for each in document["dependencies"] for ref in each["dependsOn"]}
    # Nothing but the project itself is there without being needed.
    assert needed == refs - {document["metadata"]["component"]["bom-ref"]}
    assert all(each["licenses"] for each in document["components"])


def test_the_image_installs_the_extras_that_are_listed() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"--constraint constraints.txt '\.\[([a-z,]+)\]'", text)
    assert set(extras.split(",")) == set(IMAGE_EXTRAS)


def test_packages_of_every_extra_are_pinned_and_listed() -> None:
    listed = licences.FILE.read_text(encoding="utf-8")
    for name, version in PINS.items():
        assert f"| {name} | {version} |" in listed


def test_nothing_in_the_image_is_copyleft_or_closed_by_its_own_words() -> None:
    packages = [each for name, each in image_packages().items() if name != PROJECT]
    assert [each.name for each in packages if licences.flag(each.licence)] == []
    # GCC's libraries travel inside some wheels: those, and no others of that kind, are named.
    inside = {library for each in packages for library in each.libraries}
    assert inside & licences.LIBRARIES.keys()
    assert not {library for library in inside if re.match(r"lib(gcc|stdc|gnu|readline)", library)}


@pytest.mark.parametrize(
    ("licence", "flagged"),
    [
        ("MPL-2.0 AND MIT", "**copyleft**"),
        ("GNU General Public License v3 (GPLv3)", "**copyleft**"),
        ("LGPL-2.1-or-later", "**copyleft**"),
        ("AGPL-3.0-only", "**copyleft**"),
        ("Other/Proprietary License", "**closed**"),
        ("BSD-3-Clause", ""),
        ("MIT-CMU", ""),
        (None, ""),
    ],
)
def test_licences_that_ask_for_care_are_flagged(licence: str | None, flagged: str) -> None:
    assert licences.flag(licence) == flagged


def test_a_package_that_is_not_installed_is_said_to_be_unread() -> None:
    assert pinned_package("no-such-package", "1").licence is None
    assert set(PINS) == {canonicalize_name(name) for name in PINS}


def test_the_document_is_valid_cyclonedx(document: dict[str, Any]) -> None:
    reason = "cyclonedx-python-lib[json-validation] is not installed"
    schema = pytest.importorskip("cyclonedx.schema", reason=reason)
    validation = pytest.importorskip("cyclonedx.validation.json", reason=reason)
    version = schema.SchemaVersion.from_version(document["specVersion"])
    validator = validation.JsonStrictValidator(version)
    assert validator.validate_str(sbom.FILE.read_text(encoding="utf-8")) is None
    broken = json.dumps({**document, "components": [{"name": "without a type"}]})
    assert validator.validate_str(broken) is not None


FILES = [path.relative_to(DEMO).as_posix() for path in sorted(DEMO.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_a_mounted_repository_can_change_unseen(name: str, tmp_path: Path) -> None:
    """Whatever volume Kubernetes mounts: all files are compared before one is loaded."""
    copy = Path(shutil.copytree(DEMO, tmp_path / "repository"))
    assert whole(copy)
    with (copy / name).open("ab") as file:
        file.write(b" ")
    # The service with the graphs in itself, and what starts Triton.
    with pytest.raises(ContractMismatch):
        EmbeddedRunner.open(copy, threads=1)
    assert not whole(copy)


def test_a_file_too_many_or_no_checksums_are_refused(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEMO, tmp_path / "repository"))
    (copy / "flow/1/model.plan").write_bytes(b"an engine that nobody listed")
    with pytest.raises(ContractMismatch, match="model.plan"):
        EmbeddedRunner.open(copy, threads=1)
    (copy / "flow/1/model.plan").unlink()
    (copy / CHECKSUMS_FILE).unlink()
    with pytest.raises(ContractMismatch, match=CHECKSUMS_FILE):
        EmbeddedRunner.open(copy, threads=1)
    assert not whole(copy)
