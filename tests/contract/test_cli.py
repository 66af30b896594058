"""The command against canned replies: tables, JSON, files, exit codes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar.code_files import read_codes
from wstar.errors import ImageError, LimitExceeded, Overloaded, SpaceMismatch
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.contract.conftest import Canned

Wstar = Callable[..., int]


def printed(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401
    return json.loads(capsys.readouterr().out)


def test_info(wstar: Wstar, capsys: pytest.CaptureFixture[str]) -> None:
    assert wstar("info") == 0
    text = capsys.readouterr().out
    for part in ("wstar 1.2.3, canned runner", "w_star-canned", "pearson", "0.75", "max_batch"):
        assert part in text
    assert wstar("info", "--json") == 0
    facts = printed(capsys)
    assert facts["limits"]["max_batch"] == 3
    assert facts["spaces"][0]["space"] == "W_STAR"


def test_embed_writes_codes_once(
    wstar: Wstar, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "codes.npz"
    assert wstar("embed", *faces, "--output", output) == 0
    assert "2 x 2 x 512 float32, space id w_star-canned" in capsys.readouterr().out
    names, codes = read_codes(output)
    assert names == [str(path) for path in faces]
    assert [code.values[0, 0] for code in codes] == [1.0, 2.0]
    written = output.read_bytes()
    assert wstar("embed", faces[0], "--output", output) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert output.read_bytes() == written
    assert wstar("embed", faces[0], "--output", output, "--force", "--json") == 0
    assert printed(capsys)["shape"] == [1, 2, 512]
    assert len(read_codes(output)[0]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "two.png", "codes.npz"}


def test_a_failed_embed_leaves_no_file(
    wstar: Wstar, canned: Canned, faces: list[Path], tmp_path: Path
) -> None:
    canned.error = ZeroDivisionError("secret")
    assert wstar("embed", *faces, "--output", tmp_path / "codes.npz") == 1
    assert not (tmp_path / "codes.npz").exists()


def test_embed_needs_a_folder_and_the_right_ending(
    wstar: Wstar, canned: Canned, faces: list[Path], tmp_path: Path
) -> None:
    assert wstar("embed", faces[0], "--output", tmp_path / "missing" / "codes.npz") == 2
    assert wstar("embed", faces[0], "--output", tmp_path / "codes.txt") == 2
    assert canned.requests == []


def test_distance_of_two(
    wstar: Wstar, canned: Canned, faces: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert wstar("distance", *faces, "--explain", "--ignore", "Male,Young", "--ignore", "Bald") == 0
    (request,) = canned.requests
    assert list(request.ignore_attributes) == ["Male", "Young", "Bald"]
    text = capsys.readouterr().out
    assert "one.png - two.png" in text
    assert "squared distance" in text
    assert "(no attribute)" in text
    assert wstar("distance", *faces, "--explain", "--json") == 0
    facts = printed(capsys)
    assert facts["squared_distance"] == [0.0]
    assert facts["shares"] == {"Male": 0.0}


def test_distance_of_more_is_a_matrix_also_from_a_file(
    wstar: Wstar, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = tmp_path / "codes.npz"
    assert wstar("embed", *faces, "--output", codes) == 0
    capsys.readouterr()
    assert wstar("distance", codes, faces[0]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", lines[0]) == [
        *("squared distance", "one.png (codes.npz)", "two.png (codes.npz)", "one.png")
    ]
    assert lines[2].split() == ["one.png", "(codes.npz)", "0", "1", "4"]
    assert wstar("distance", codes, faces[0], "--explain") == 2
    assert wstar("distance", faces[0]) == 2


def test_classify(wstar: Wstar, faces: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert wstar("classify", *faces, "--attributes", "Smiling, Male") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["probability", "one.png", "two.png"]
    assert lines[2].split() == ["Smiling", "0.731", "0.881"]
    assert wstar("classify", faces[0], "--json") == 0
    assert printed(capsys)["probabilities"][0]["Male"] == pytest.approx(0.2689, abs=1e-4)


def test_edit_writes_one_picture_per_strength(
    wstar: Wstar,
    canned: Canned,
    faces: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.jpg"
    edit = ("edit", faces[0], "--output", output)
    assert wstar(*edit, "--set", "Smiling=0.9", "--preserve", "Male") == 0
    assert output.read_bytes() == b"1"
    (request,) = canned.requests
    assert request.edits[0].target_probability == 0.9
    assert list(request.preserve) == ["Male"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["Smiling", "Male"]
    assert lines[2].split() == ["(before)", "0.500", "0.500"]
    assert wstar(*edit, "--step", "Smiling=-2", "--strengths=-1,0.5", "--json") == 0
    facts = printed(capsys)
    assert [result["strength"] for result in facts["results"]] == [-1.0, 0.5]
    assert (tmp_path / "out--1.jpg").read_bytes() == b"-1"
    assert (tmp_path / "out-0.5.jpg").read_bytes() == b"0.5"
    assert wstar(*edit, "--step", "Smiling=1") == 2
    assert "--force" in capsys.readouterr().err
    assert wstar(*edit, "--step", "Smiling=1", "--force") == 0


def test_an_edit_in_a_budget_shows_what_was_made_and_seen(
    wstar: Wstar,
    canned: Canned,
    faces: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit = ("edit", faces[0], "--output", tmp_path / "out.png", "--set", "Smiling=0.9", "--force")
    assert wstar(*edit, "--max-squared-distance", "0.25", "--remeasure") == 0
    (request,) = canned.requests
    assert (request.max_squared_distance, request.remeasure) == (0.25, True)
    lines = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["picture", "strength", "scale", "squared distance moved", "Smiling"]
    assert lines[3] == [str(tmp_path / "out.png"), "1", "0.5", "1", "0.731"]
    assert lines[4] == ["(picture remeasured)", "9", "0.500"]
    assert wstar(*edit, "--json") == 0
    (result,) = printed(capsys)["results"]
    assert result["scale"] == 1.0
    assert "remeasured" not in result
    assert wstar(*edit, "--remeasure", "--json") == 0
    (result,) = printed(capsys)["results"]
    assert result["remeasured"]["probabilities"]["Male"] == pytest.approx(0.7311, abs=1e-4)
    assert not canned.requests[-1].HasField("max_squared_distance")


def test_edit_refuses_what_cannot_be(
    wstar: Wstar, canned: Canned, faces: list[Path], tmp_path: Path
) -> None:
    codes = tmp_path / "codes.npz"
    assert wstar("embed", *faces, "--output", codes) == 0
    canned.requests.clear()
    picture = tmp_path / "out.png"
    assert wstar("edit", faces[0], "--output", tmp_path / "out.gif") == 2
    assert wstar("edit", codes, "--output", picture) == 2
    both = ("--set", "Male=1", "--step", "Male=1")
    assert wstar("edit", faces[0], "--output", picture, *both) == 2
    assert canned.requests == []


def test_distance_of_more_than_a_request_holds(
    wstar: Wstar, faces: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    many = [faces[0], faces[1], faces[0], faces[1]]
    assert wstar("distance", *many, "--json") == 0
    facts = printed(capsys)
    assert facts["squared_distance"] == [[(i - j) % 2 for j in range(4)] for i in range(4)]
    assert facts["percentile"] is None
    assert wstar("distance", *many, "--ignore", "Male") == 2
    assert capsys.readouterr().err == (
        "wstar: a: found 4 faces with ignore or explain, "
        "allowed: at most 3 faces with ignore or explain\n"
    )


def test_a_distance_that_rounding_leaves_is_shown_as_0(
    wstar: Wstar,
    faces: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reply = pb.DistanceResponse(rows=1, columns=1)
    reply.distances.add(squared_distance=9.8e-15, distance=9.9e-8, percentile=0)
    monkeypatch.setattr("tests.contract.conftest.Canned.Distance", lambda *_: reply)
    assert wstar("distance", *faces) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[2:4]] == ["0", "0"]


def test_edit_refuses_to_overwrite_its_own_pictures_and_values(
    wstar: Wstar,
    canned: Canned,
    faces: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit = ("edit", faces[0], "--output", tmp_path / "out.png")
    assert wstar(*edit, "--strengths", "1,0.5,1") == 2
    assert "--strengths: found [1.0, 0.5, 1.0]" in capsys.readouterr().err
    for flag in ("--set", "--step"):
        assert wstar(*edit, flag, "Smiling=.9", flag, "Male=1", flag, "Smiling=.1") == 2
        assert f"{flag} Smiling: found [0.9, 0.1]" in capsys.readouterr().err
    assert canned.requests == []
    assert wstar(*edit, "--strengths", "0.1234567,0.1234568,1") == 0
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        *("out-0.1234567.png", "out-0.1234568.png", "out-1.png")
    ]


def test_an_output_that_is_a_folder_is_told(
    wstar: Wstar, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert wstar("edit", faces[0], "--output", folder, "--force") == 2
    assert "this is a folder" in capsys.readouterr().err


def test_errors_about_codes_name_their_file_and_entry(
    wstar: Wstar,
    canned: Canned,
    faces: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes = tmp_path / "codes.npz"
    assert wstar("embed", *faces, "--output", codes) == 0
    canned.error = SpaceMismatch("faces[2].code.space_id", "a", "b")
    assert wstar("classify", faces[0], codes) == 2
    assert f"wstar: {codes}: codes[1]: faces[2].code" in capsys.readouterr().err
    # The length of a list is no fault of one file.
    canned.error = LimitExceeded("faces", 3, 2, "faces")
    assert wstar("classify", faces[0], codes) == 2
    assert capsys.readouterr().err.startswith("wstar: faces: found 3")


def test_a_damaged_code_file_is_told(
    wstar: Wstar, canned: Canned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "codes.npz"
    np.savez(path, codes=np.float32(1), names=np.array("a"), space="W_STAR", space_id="id")
    assert wstar("classify", path) == 2
    assert capsys.readouterr().err.startswith(f"wstar: {path}: found ")
    assert canned.requests == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ImageError("faces[1].picture.data", b"xx", "a picture"), 2, "two.png: faces[1].picture"),
        (SpaceMismatch("faces[0].code.space_id", "a", "b"), 2, "one.png: faces[0].code.space_id"),
        (Overloaded("the limit of 16 calls at once", 0.5), 1, "try again in 0.5 s"),
        (ZeroDivisionError("secret"), 1, "request-1"),
    ],
)
def test_errors_of_the_server_name_the_file_and_choose_the_exit_code(
    wstar: Wstar,
    canned: Canned,
    faces: list[Path],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    said: str,
) -> None:
    canned.error = error
    assert wstar("classify", *faces) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("wstar: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_missing_picture_and_a_missing_server(
    wstar: Wstar, faces: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert wstar("classify", "missing.png") == 2
    assert "missing.png: No such file" in capsys.readouterr().err
    assert wstar("info", "--server", "127.0.0.1:1") == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_file_of_codes_is_readable_by_others_as_any_new_file_is(
    wstar: Wstar, faces: list[Path], tmp_path: Path
) -> None:
    for name in ("codes.npz", "codes.parquet"):
        assert wstar("embed", *faces, "--output", tmp_path / name) == 0
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
