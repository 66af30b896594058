"""`wstar embed`: folders, order, faces that fail, parts, and jobs that run twice."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar import code_blocks
from wstar.code_files import read_codes
from wstar.codes import Code
from wstar.commands.embed import Spool
from wstar.errors import Unauthenticated
from wstar.graphs import Space

if TYPE_CHECKING:
    from tests.contract.conftest import Canned

Wstar = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, the longer the later by name, and what is none."""
    folder = tmp_path / "faces"
    for length, name in enumerate(("a.png", "b.JPG", "c/d.jpeg", "c/e/f.webp", "g.png"), start=1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * length)
    for name in ("notes.txt", ".hidden.png", ".cache/h.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 99)
    return folder


def numbers(path: Path) -> list[float]:
    return [float(code.values[0, 0]) for code in read_codes(path)[1]]


def printed(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_folder_is_all_pictures_below_it_by_name(
    wstar: Wstar, folder: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    output = folder.parent / f"codes{ending}"
    assert wstar("embed", folder, "--output", output) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}: 5 x 2 x 512 float32, space id w_star-canned\n"
    # And nothing else: no progress into a pipe.
    assert captured.err == f"wstar: {folder}: 5 pictures\n"
    names, _ = read_codes(output)
    assert [Path(name).relative_to(folder).as_posix() for name in names] == [
        *("a.png", "b.JPG", "c/d.jpeg", "c/e/f.webp", "g.png")
    ]
    assert numbers(output) == [1, 2, 3, 4, 5]
    # Codes of a file are faces like others, also those of a Parquet file.
    assert wstar("distance", output, folder / "a.png", "--json") == 0
    assert len(printed(capsys)["names"]) == 6


def test_codes_are_in_the_order_given_whatever_comes_first(
    wstar: Wstar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of two codes: the file is written in pieces.
    monkeypatch.setattr(code_blocks, "BLOCK_BYTES", 10_000)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for content, path in zip((b"late", b"1", b"late", b"22", b"333", b"4444"), paths, strict=True):
        path.write_bytes(content)
    given = [*paths[::-1], paths[5]]
    # The last face is held back by nobody.
    assert wstar("embed", *given[1:], "--f16", "--output", tmp_path / "codes.npz") == 0
    names, codes = read_codes(tmp_path / "codes.npz")
    assert names == [str(path) for path in given[1:]]
    assert [float(code.values[0, 0]) for code in codes] == [3, 2, 4, 1, 4, 4]
    assert codes[0].values.dtype == np.float16


def test_faces_that_fail_are_skipped_and_told(
    wstar: Wstar, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, gone = folder / "b.JPG", folder / "c" / "d.jpeg"
    bad.write_bytes(b"bad")
    gone.unlink()
    gone.symlink_to(folder)
    output = folder.parent / "codes.npz"
    embed = ("embed", folder, gone, "--output", output)
    assert wstar(*embed) == 2
    captured = capsys.readouterr()
    assert f"wstar: skipped {bad}: face.picture.data: found b'bad', allowed" in captured.err
    # A link to a folder below itself is no picture; given by name it is a folder of its own.
    assert captured.out.endswith("w_star-canned; 2 of 8 faces skipped\n")
    assert numbers(output) == [1, 4, 5, 1, 4, 5]
    assert wstar(*embed, "--force", "--json") == 2
    facts = printed(capsys)
    assert facts["shape"] == [6, 2, 512]
    assert [face["name"] for face in facts["skipped"]][0] == str(bad)
    assert "allowed: a picture" in facts["skipped"][0]["reason"]


def test_a_file_that_cannot_be_read_is_skipped(
    wstar: Wstar, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = Path("/proc/self/mem")
    if not unreadable.exists():
        pytest.skip("needs a file that even the superuser cannot read")
    assert wstar("embed", folder, unreadable, "--output", folder / "codes.npz") == 2
    told = f"wstar: skipped {unreadable}: face: found 'Input/output error', allowed: "
    assert told in capsys.readouterr().err
    assert numbers(folder / "codes.npz") == [1, 2, 3, 4, 5]


def test_no_file_is_made_of_no_codes(
    wstar: Wstar, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face, output = tmp_path / "a.png", tmp_path / "codes.npz"
    face.write_bytes(b"bad")
    assert wstar("embed", face, "--output", output, "--json") == 2
    facts = printed(capsys)
    assert (facts["output"], len(facts["skipped"])) == (None, 1)
    assert not output.exists()


def test_what_is_no_fault_of_a_face_ends_the_command(
    wstar: Wstar, canned: Canned, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder.parent / "codes.npz"
    (folder / "g.png").write_bytes(b"foreign")
    assert wstar("embed", folder, "--output", output) == 2
    assert "found space id 'foreign', served: 'w_star-canned'" in capsys.readouterr().err
    canned.error = Unauthenticated("no token")
    assert wstar("embed", folder, "--output", output) == 1
    assert wstar("embed", folder / "missing.png", "--output", output) == 2
    assert "missing.png: No such file" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert wstar("embed", folder / "empty", "--output", output) == 2
    assert "empty: found 'no pictures'" in capsys.readouterr().err
    assert sorted(path.name for path in folder.parent.iterdir()) == ["faces"]


def test_parts_hold_every_face_once_whatever_the_order_given(
    wstar: Wstar, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 9)
    found: list[float] = []
    for part, given in enumerate((paths, paths[::-1], [folder]), start=1):
        output = folder.parent / f"codes-{part}.npz"
        assert wstar("embed", *given, "--shard", f"{part}/3", "--output", output) == 0
        found += numbers(output)
        assert len(numbers(output)) in (1, 2)
    assert found == [1, 2, 3, 4, 5]
    capsys.readouterr()
    assert wstar("embed", folder, "--shard", "6/6", "--output", folder / "codes.npz") == 2
    assert "--shard: found '6/6', allowed: at most 5 parts" in capsys.readouterr().err


def test_a_finished_file_of_the_same_faces_is_left_alone(
    wstar: Wstar, canned: Canned, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder.parent / "codes.parquet"
    embed = ("embed", folder, "--output", output)
    assert wstar(*embed) == 0
    written = output.read_bytes()
    canned.requests.clear()
    capsys.readouterr()
    assert wstar(*embed) == 0
    assert capsys.readouterr().out == f"{output}: is there, left alone (--force makes it again)\n"
    assert wstar(*embed, "--json") == 0
    facts = printed(capsys)
    assert (facts["left_alone"], facts["skipped"]) == (True, [])
    assert facts["names"] == read_codes(output)[0]
    # A new face is one that the file lacks: the exit code says so each time.
    (folder / "new.png").write_bytes(b"x")
    assert wstar(*embed) == 2
    assert capsys.readouterr().out.endswith("; 1 of 6 faces are not in it\n")
    for other in (("--f16",), ("--space", "W_PLUS")):
        assert wstar(*embed, *other) == 2
        assert "found 'codes of W_STAR in float32', allowed: " in capsys.readouterr().err
    assert wstar("embed", folder / "a.png", "--output", output) == 2
    assert "found '4 other faces', allowed: the 1 faces given (--force" in capsys.readouterr().err
    assert canned.requests == []
    assert output.read_bytes() == written
    output.write_bytes(written[:-9])
    assert wstar(*embed) == 2
    assert "allowed: a file that `wstar embed` wrote" in capsys.readouterr().err
    assert wstar(*embed, "--force") == 0
    assert numbers(output) == [1, 2, 3, 4, 5, 1]


def test_a_name_that_is_no_text_is_written_in_hexadecimal(
    wstar: Wstar, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if sys.platform != "linux":
        pytest.skip("other systems refuse such names")
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (folder / "\x1b[31mred\n.png").write_bytes(b"bad")
    for ending in (".npz", ".parquet"):
        assert wstar("embed", folder, "--output", tmp_path / f"codes{ending}") == 2
        assert read_codes(tmp_path / f"codes{ending}")[0] == [f"{folder}/\\xff.png"]
        # Nothing that a terminal would obey.
        assert "\x1b" not in capsys.readouterr().err
    assert wstar("classify", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["probability", "\\x1b[31mred\\n.png", "\\xff.png"]


def test_a_package_that_is_missing_is_named_before_the_work(
    wstar: Wstar,
    canned: Canned,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What import finds where a package is not installed.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert wstar("embed", folder, "--output", folder / "codes.parquet") == 2
    told = "wstar: pyarrow is not installed, which this needs: pip install 'wstar[cli]'\n"
    assert capsys.readouterr().err == told
    assert canned.requests == []


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    code = Code(np.zeros((18, 512), np.float32), Space.W_STAR, "an id")
    with (tmp_path / "file").open("w+b") as file, pytest.raises(OSError, match="space|large"):
        Spool.like(code, 2**40, file)
