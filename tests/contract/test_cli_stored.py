"""`wstar neighbors` and `wstar cluster`: over files of codes, mostly without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar import code_blocks
from wstar.code_files import write_codes
from wstar.graphs import Space

if TYPE_CHECKING:
    from tests.contract.conftest import Canned

Wstar = Callable[..., int]
SPACE_ID = "w_star-canned"
NOWHERE = ("--server", "127.0.0.1:1")


def write(path: Path, *numbers: float, space_id: str = SPACE_ID, n: int = 2) -> Path:
    """Codes of one number each, named by it."""
    values = np.array(numbers, np.float32)[:, None, None] * np.ones((1, n, 512), np.float32)
    write_codes(path, [f"{number:g}.png" for number in numbers], values, Space.W_STAR, space_id)
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Codes at 0, 1, ... 9 and, in a group of their own, at 100 and 101."""
    return write(tmp_path / "codes.npz", *range(10), 100, 101)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401
    return json.loads(capsys.readouterr().out)


def test_the_nearest_of_stored_codes_need_no_server(
    wstar: Wstar, stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = write(tmp_path / "query.parquet", 3.25, 99)
    assert wstar("neighbors", query, "--among", stored, "--count", "3", *NOWHERE) == 0
    assert capsys.readouterr().out.splitlines() == [
        "face      near     squared distance",
        "--------  -------  ----------------",
        "3.25.png  3.png              0.0625",
        "3.25.png  4.png              0.5625",
        "3.25.png  2.png               1.562",
        "99.png    100.png                 1",
        "99.png    101.png                 4",
        "99.png    9.png                8100",
    ]
    assert wstar("neighbors", query, "--among", stored, "--json", *NOWHERE) == 0
    facts = printed(capsys)
    assert [query["name"] for query in facts["queries"]] == ["3.25.png", "99.png"]
    near = facts["queries"][0]["neighbors"]
    assert [face["name"] for face in near[:3]] == ["3.png", "4.png", "2.png"]
    # 10 by default; products leave what rounding leaves, differences of these do not.
    assert [face["squared_distance"] for face in near[:2]] == [0.0625, 0.5625]
    assert len(near) == 10
    assert (facts["space"], facts["space_id"]) == ("W_STAR", SPACE_ID)


def test_several_files_and_pieces_are_searched_as_one(
    wstar: Wstar,
    stored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = write(tmp_path / "query.npz", 5)
    other = write(tmp_path / "other.parquet", 4.5, 5.5, 7, 0, 50)
    # Blocks of two codes.
    monkeypatch.setattr(code_blocks, "BLOCK_BYTES", 10_000)
    among = ("--among", stored, other)
    assert wstar("neighbors", query, *among, "--count", "99", "--json", *NOWHERE) == 0
    near = printed(capsys)["queries"][0]["neighbors"]
    found = [float(face["name"].removesuffix(".png")) for face in near]
    given = [*range(10), 100, 101, 4.5, 5.5, 7, 0, 50]
    assert found == sorted(given, key=lambda number: abs(number - 5))
    squared = [face["squared_distance"] for face in near]
    assert squared == [(number - 5) ** 2 for number in found]


def test_pictures_are_embedded_in_the_space_of_the_file(
    wstar: Wstar,
    canned: Canned,
    stored: Path,
    faces: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query = write(tmp_path / "query.npz", 8)
    assert wstar("neighbors", faces[0], query, faces[1], "--among", stored, "--count", "1") == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split() for line in lines] == [
        ["one.png", "1.png", "0"],
        ["8.png", "8.png", "0"],
        ["two.png", "2.png", "0"],
    ]
    (request,) = canned.requests
    assert len(request.faces) == 2
    foreign = write(tmp_path / "foreign.npz", 1, 2, space_id="another")
    assert wstar("neighbors", faces[0], "--among", foreign) == 2
    assert capsys.readouterr().err == (
        f"wstar: server {canned.target}: found 'space id w_star-canned', allowed: another, as in "
        "the first file; embed both again\n"
    )


def test_codes_of_two_spaces_are_not_compared(
    wstar: Wstar, stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = write(tmp_path / "foreign.parquet", 1, 2, space_id="another")
    longer = write(tmp_path / "longer.npz", 1, n=3)
    for command, said in (
        (("neighbors", foreign, "--among", stored), f"{foreign}: codes[0]: found 'space id ano"),
        (("neighbors", stored, "--among", stored, foreign), f"{foreign}: found 'space id another'"),
        (("neighbors", longer, "--among", stored), "codes[0]: found 'codes of shape (3, 512)'"),
        (("cluster", stored, foreign, "--into", "2"), f"{foreign}: found 'space id another'"),
    ):
        assert wstar(*command) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "how", [("--within", "90"), ("--into", "2"), ("--into", "2", "--seed", "5")]
)
def test_clusters(
    wstar: Wstar, stored: Path, capsys: pytest.CaptureFixture[str], how: tuple[str, str]
) -> None:
    assert wstar("cluster", stored, *how) == 0
    assert capsys.readouterr().out.splitlines() == [
        "cluster  size  members",
        f"-------  ----  {72 * '-'}",
        "0          10  0.png, 1.png, 2.png, 3.png, 4.png, 5.png, 6.png, 7.png, 8.png and 1 more",
        "1           2  100.png, 101.png",
    ]
    assert wstar("cluster", stored, *how, "--json") == 0
    facts = printed(capsys)
    assert facts["labels"] == [0] * 10 + [1] * 2
    assert facts["names"][-1] == "101.png"
    assert facts["clusters"][1] == {"cluster": 1, "size": 2, "members": ["100.png", "101.png"]}
    assert facts["space_id"] == SPACE_ID


def test_files_are_clustered_together_and_not_into_more_than_there_are(
    wstar: Wstar, stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.parquet", 102, 5.5)
    assert wstar("cluster", stored, other, "--within", "90", "--json") == 0
    assert printed(capsys)["labels"] == [0] * 10 + [1] * 3 + [0]
    assert wstar("cluster", stored, "--into", "13") == 2
    assert "found 13, allowed: 1 to 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["cluster", "a.npz"],
        ["cluster", "a.npz", "--within", "1", "--into", "2"],
        ["cluster", "a.npz", "--within", "0"],
        ["cluster", "a.npz", "--within", "inf"],
        ["cluster", "a.npz", "--into", "0"],
        ["cluster", "a.npz", "--into", "1_0"],
        ["cluster", "a.npz", "--into", "2", "--seed", "4294967296"],
        ["cluster", "a.npz", "--into", "2", "--server", "a:1"],
        ["neighbors", "a.png"],
        ["neighbors", "a.png", "--among", "b.npz", "--count", "-1"],
        ["embed", "a.png", "--output", "b.npz", "--shard", "0/2"],
        ["embed", "a.png", "--output", "b.npz", "--shard", "3/2"],
        ["embed", "a.png", "--output", "b.npz", "--shard", "2"],
        ["edit", "a.png", "--output", "b.png", "--max-squared-distance", "0"],
    ],
)
def test_wrong_numbers_are_wrong_usage(wstar: Wstar, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        wstar(*arguments)
    assert ended.value.code == 2
