"""The demo against the linear world: what it writes, says and leaves behind."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wstar.codes import Code
from wstar.graphs import Space
from wstar.images import encode
from wstar.replies import Edit, EditResult, Scores, Timings
from wstar_service.demo.gallery import Neighbour, Portrait, nearest
from wstar_service.demo.sheets import neighbours_sheet
from wstar_service.demo.strips import leak

HOSTILE_NAME = "<b>&.png"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Eight noisy pictures of the linear world's size."""
    folder = tmp_path / "samples"
    folder.mkdir()
    random = np.random.default_rng(5)
    for i in range(8):
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        (folder / f"face-{i}.png").write_bytes(encode(pixels, "PNG"))
    return folder


def demo(repository: Path, samples: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "wstar_service.demo", "--repository", str(repository)),
            *("--samples", str(samples), "--output", str(output), *more),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_server_gone(text: str) -> None:
    at = re.search(r"serving at 127\.0\.0\.1:(\d+)", text)
    assert at is not None
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(at[1]))) != 0


class Sources(HTMLParser):
    """What a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember addresses."""
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.text += data


def test_the_demo_writes_sheets_and_a_page_and_stops_the_server(
    repository: Path, samples: Path, tmp_path: Path
) -> None:
    yours = tmp_path / "yours"
    yours.mkdir()
    grey = encode(np.full((20, 30, 3), 90, np.uint8), "JPEG")
    (yours / HOSTILE_NAME).write_bytes(grey)
    (yours / "notes.txt").write_text("no picture")
    (yours / "cut.jpg").write_bytes(grey[: len(grey) // 2])
    output = tmp_path / "out" / "demo"
    process = demo(repository, samples, output, "--pictures", str(yours))
    text, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert_server_gone(text)
    assert "demo world" in text
    assert re.search(r"skipped notes\.txt: .*allowed: a JPEG, PNG or WebP", text)
    assert re.search(r"skipped cut\.jpg: ", text)
    assert "embedded 9 faces, 1 of them yours" in text
    assert {path.name for path in output.iterdir()} == {
        "edits.png",
        "neighbours.png",
        "index.html",
    }
    for name in ("edits.png", "neighbours.png"):
        with Image.open(output / name) as sheet:
            assert min(sheet.size) > 600
            assert len(sheet.getcolors(1 << 24) or ()) > 100
    page = Sources()
    page.feed((output / "index.html").read_text(encoding="utf-8"))
    assert len(page.loads) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.loads)
    for part in ("demo world", "Distances in W*", "Edits to probability 0.99", "<b>&"):
        assert part in page.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_server(
    repository: Path, samples: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = demo(repository, samples, tmp_path / "out")
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code, (lines, rest, errors)
    assert "Traceback" not in errors
    assert_server_gone("".join(lines))


def test_a_repository_that_cannot_be_served_is_told(samples: Path, tmp_path: Path) -> None:
    process = demo(tmp_path / "missing", samples, tmp_path / "out")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "wstar-serve ended" in errors
    assert "missing', allowed: an existing folder" in errors


def test_no_samples_is_told_before_a_server_starts(repository: Path, tmp_path: Path) -> None:
    process = demo(repository, tmp_path, tmp_path / "out")
    text, errors = process.communicate(timeout=60)
    assert (process.returncode, text) == (1, "")
    assert "2 or more PNG pictures" in errors


def scores(*probabilities: float) -> Scores:
    values = np.array(probabilities, np.float32)
    return Scores(("Smiling", "Male", "Young")[: len(values)], values, values)


def portrait(name: str, value: float, w_plus: float) -> Portrait:
    codes = [
        Code(np.full((2, 512), number, np.float32), space, "an id")
        for number, space in ((value, Space.W_STAR), (w_plus, Space.W_PLUS))
    ]
    seen = np.full((8, 8, 3), int(value) % 256, np.uint8)
    return Portrait(name, b"", seen, codes[0], codes[1], scores(0.1, 0.2, 0.3), False)


def test_neighbours_are_the_nearest_others_in_order() -> None:
    portraits = [
        portrait(str(i), value, -(2.0**i)) for i, value in enumerate((0, 10, 1, 3, 6, 20, 50))
    ]
    by_w_star = nearest(portraits, w_star=True)
    assert [face.index for face in by_w_star[0]] == [2, 3, 4, 1, 5]
    assert by_w_star[0][1].squared_distance == pytest.approx(9.0)
    assert [face.index for face in nearest(portraits, w_star=False)[0]] == [1, 2, 3, 4, 5]
    assert [len(found) for found in nearest(portraits[:3], w_star=True)] == [2, 2, 2]


def test_a_face_found_by_one_space_only_is_framed() -> None:
    portraits = [portrait(str(i), 10 * i, 0.0) for i in range(3)]
    same = neighbours_sheet(portraits, [0], [[Neighbour(1, 1.0)]], [[Neighbour(1, 1.0)]])
    other = neighbours_sheet(portraits, [0], [[Neighbour(1, 1.0)]], [[Neighbour(2, 1.0)]])
    frame = (194, 87, 26)

    def colours(png: bytes) -> set[tuple[int, ...]]:
        with Image.open(io.BytesIO(png)) as sheet:
            return set(map(tuple, np.asarray(sheet).reshape(-1, 3).tolist()))

    assert frame in colours(other)
    assert frame not in colours(same)


def test_a_leak_is_the_largest_change_beside_the_edit() -> None:
    code = Code(np.zeros((2, 512), np.float32), Space.W_STAR_ID, "an id")
    result = EditResult(1.0, b"", code, scores(0.99, 0.1, 0.5), 1.0, 1.0, None)
    edit = Edit((result,), scores(0.1, 0.5, 0.3), "an id", Timings(0, {}))
    found = leak(edit, "Smiling")
    assert found.attribute == "Male"
    assert found.change == pytest.approx(-0.4)
