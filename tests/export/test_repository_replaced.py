"""A repository that takes another's place: no moment without one, and engines that stay."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from wstar.checksums import CHECKSUMS_FILE, update_checksums, write_checksums
from wstar.errors import ContractMismatch
from wstar.graphs import graphs
from wstar_export.audit import check
from wstar_export.carried import carry_engines
from wstar_export.replace import _exchanged, _moved, replacing
from wstar_export.sidecar import PLAN_FILE, SIDECAR_FILE, Machine, Sidecar, onnx_sha256

SPECS = graphs(64, 64)
SPEC = {spec.name: spec for spec in SPECS}


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "text").write_text(text)


def test_the_new_folder_takes_the_place_of_the_old(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "repository"
    for text in ("first", "second"):
        with replacing(output) as made:
            write(made, text)
        assert (output / "text").read_text() == text
        assert list(output.parent.iterdir()) == [output]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "repository", "old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "repository") as made:
        write(made, "half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert (tmp_path / "repository" / "text").read_text() == "old"


def test_whoever_looks_always_finds_a_whole_repository(tmp_path: Path) -> None:
    """A Triton server that polls and finds no folder unloads every model of it."""
    write(tmp_path / "a", "")
    write(tmp_path / "b", "")
    if not _exchanged(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange two names in one step")
    output = tmp_path / "repository"
    write(output, "whole")
    missing, looks, done = 0, 0, threading.Event()

    def look() -> None:
        nonlocal missing, looks
        while not done.is_set():
            looks += 1
            missing += not output.is_dir()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            with replacing(output) as made:
                write(made, "whole")
    finally:
        done.set()
        thread.join()
    assert looks > 200
    assert missing == 0


def test_two_steps_where_one_is_not_possible(tmp_path: Path) -> None:
    made, output = tmp_path / "made", tmp_path / "repository"
    write(output, "old")
    with pytest.raises(FileNotFoundError):
        _moved(made, output)
    assert (output / "text").read_text() == "old"
    write(made, "new")
    _moved(made, output)
    assert (output / "text").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def add_engine(repository: Path, name: str) -> tuple[Path, Path]:
    """A plan of made-up bytes with a sidecar that names the graph it was built from."""
    folder = repository / name / "1"
    sidecar = Sidecar(
        graph=name,
        machine=Machine("tensorrt", "11.1.0", "a GPU", "9.0"),
        onnx_sha256=onnx_sha256(folder / "model.onnx"),
        plan_sha256="0" * 64,
        precision="fp32",
        profile={},
        flags={},
        parity={},
    )
    (folder / PLAN_FILE).write_bytes(b"plan")
    (folder / SIDECAR_FILE).write_text(sidecar.to_json())
    return folder / PLAN_FILE, folder / SIDECAR_FILE


def test_engines_of_the_same_graph_are_carried_and_others_are_named(
    repository: Path, tmp_path: Path
) -> None:
    old, new = (Path(shutil.copytree(repository, tmp_path / name)) for name in ("old", "new"))
    for name in ("classifiers", "flow_plus", "flow_id"):
        add_engine(old, name)
    (old / "flow_id" / "1" / SIDECAR_FILE).write_text("{}")
    other = (new / "classifiers_id" / "1" / "model.onnx").read_bytes()
    (new / "classifiers" / "1" / "model.onnx").write_bytes(other)
    carried, stale = carry_engines(old, new, SPECS)
    assert carried == ["flow_plus"]
    assert sorted(stale) == ["classifiers", "flow_id"]
    for file in (PLAN_FILE, SIDECAR_FILE):
        before, after = (folder / "flow_plus" / "1" / file for folder in (old, new))
        assert after.read_bytes() == before.read_bytes()
        assert not (new / "classifiers" / "1" / file).exists()


def test_check_wants_an_engine_of_the_very_graph_beside_it(
    repository: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "copy"))
    sums = (copy / CHECKSUMS_FILE).read_text()
    update_checksums(copy, add_engine(copy, "classifiers"))
    check(copy)
    for file in (PLAN_FILE, SIDECAR_FILE):
        source, target = (copy / name / "1" / file for name in ("classifiers", "classifiers_id"))
        source.rename(target)
    write_checksums(copy)
    with pytest.raises(ContractMismatch, match=r"'classifiers_id', 1/model\.plan"):
        check(copy)
    moved = [copy / "classifiers_id" / "1" / file for file in (PLAN_FILE, SIDECAR_FILE)]
    for path in moved:
        path.unlink()
    update_checksums(copy, moved)
    assert (copy / CHECKSUMS_FILE).read_text() == sums
