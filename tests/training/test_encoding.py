"""A folder of pictures becomes the same codes, bit by bit, however often it is interrupted."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from wstar.errors import CheckpointError
from wstar.images import RGB
from wstar_training.cli import exit_code
from wstar_training.commands.codes import add_arguments, run
from wstar_training.encoding.encode import encode
from wstar_training.encoding.journal import Plan
from wstar_training.encoding.manifest import read_codes
from wstar_training.encoding.pictures import Picture
from wstar_training.encoding.store import opened

FACES = Path(__file__).resolve().parents[2] / "service/wstar_service/demo/pictures"
SIDE = 32
FIVE = [[10.0, 12.0], [22.0, 12.0], [16.0, 18.0], [11.0, 24.0], [21.0, 24.0]]


class Tiny(nn.Module):
    """An encoder that rounds as large ones do; `on_batch` is called with the number of a batch."""

    side = SIDE
    n_latent = 2

    def __init__(self, on_batch: Callable[[int], None] = lambda batch: None) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 15 * 15, 2 * 512)
        )
        random = torch.Generator().manual_seed(0)
        for weight in self.network.parameters():
            nn.init.normal_(weight, 0.0, 0.1, random)
        self.on_batch = on_batch
        self.batches = 0

    def forward(self, pictures: Tensor) -> Tensor:
        """Map float32 (N, 3, 32, 32) to (N, 2, 512); not finite for an all-white picture."""
        self.on_batch(self.batches)
        self.batches += 1
        w: Tensor = self.network(pictures).unflatten(1, (2, 512))
        return w / (pictures.amin((1, 2, 3)) < 1.0)[:, None, None]


def codes(pictures: Path, output: Path, *more: str, encoder: Tiny | None = None) -> int:
    """Run the command with an encoder."""
    weights = pictures.parent / "psp.pt"
    weights.write_bytes(b"weights")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    paths = ["--encoder", str(weights), "--pictures", str(pictures), "--output", str(output)]
    options = parser.parse_args([*paths, *more])
    return exit_code(lambda: run(options, load=lambda path: encoder or Tiny()))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """13 faces, of which one is damaged, one empty, one too small and one without a code."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, face in enumerate(sorted(FACES.glob("*.png"))[:13]):
        shutil.copyfile(face, folder / f"{i}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:-200])
    (folder / "4.png").write_bytes(b"")
    Image.new("RGB", (7, 9)).save(folder / "7.png")
    Image.new("RGB", (40, 40), (255, 255, 255)).save(folder / "9.png")
    return folder


@pytest.mark.parametrize("at", range(5))
def test_interrupted_run_ends_as_one_that_was_not(
    pictures: Path, tmp_path: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(batch: int) -> None:
        if batch == at:
            raise KeyboardInterrupt

    assert codes(pictures, tmp_path / "whole", "--batch", "3") == 0
    capsys.readouterr()
    assert codes(pictures, tmp_path / "w", "--batch", "3", encoder=Tiny(interrupt)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    rest = Tiny()
    assert codes(pictures, tmp_path / "w", "--batch", "3", encoder=rest) == 0
    assert rest.batches == 5 - at
    assert content(tmp_path / "w") == content(tmp_path / "whole")


def test_killed_run_ends_as_one_that_was_not(pictures: Path, tmp_path: Path) -> None:
    assert codes(pictures, tmp_path / "whole", "--batch", "2") == 0
    output = tmp_path / "w"
    with subprocess.Popen([sys.executable, __file__, str(pictures), str(output)]) as process:
        journal = output / "journal.jsonl"
        # Importing torch alone takes seconds on a busy machine.
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert codes(pictures, output, "--batch", "2") == 1  # The other still writes.
        process.send_signal(signal.SIGKILL)
    rest = Tiny()
    assert codes(pictures, output, "--batch", "2", encoder=rest) == 0
    assert rest.batches == 5
    assert content(output) == content(tmp_path / "whole")


def test_rows_are_those_of_the_named_pictures(pictures: Path, tmp_path: Path) -> None:
    """Every picture encoded alone gives its row: skipped ones shift nothing."""
    assert codes(pictures, tmp_path / "w") == 0
    read = read_codes(tmp_path / "w")
    assert read.files == [f"{i}.png" for i in (0, 1, 2, 5, 6, 8, 10, 11, 12)]
    assert read.w.shape == (9, 2, 512)
    for file, w in zip(read.files, torch.from_numpy(read.w), strict=True):
        rgb = np.asarray(
            Image.open(pictures / file).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
        x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0
        with torch.no_grad():
            # float32 sums of 1800 terms in the order of another batch size.
            torch.testing.assert_close(w, Tiny()(x)[0], rtol=0.0, atol=1e-5)


def test_reasons_are_given_and_no_place(pictures: Path, tmp_path: Path) -> None:
    (pictures / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert codes(pictures, tmp_path / "w") == 0
    skipped = read_codes(tmp_path / "w").skipped
    assert list(skipped) == ["3.png", "4.png", "7.png", "9.png", "lost.png"]
    for name, why in [
        ("3.png", "undamaged"),
        ("4.png", "a JPEG, PNG or WebP file"),
        ("7.png", "7 x 9 px"),
        ("9.png", "its code is not finite"),
        ("lost.png", "No such file"),
    ]:
        assert why in skipped[name]
    for text in content(tmp_path / "w").values():
        assert str(tmp_path).encode() not in text


def test_batch_size_changes_rounding_only(pictures: Path, tmp_path: Path) -> None:
    for batch in ("1", "4", "64"):
        assert codes(pictures, tmp_path / batch, "--batch", batch) == 0
    first, *others = [read_codes(tmp_path / batch) for batch in ("1", "4", "64")]
    for other in others:
        assert other.files == first.files
        # float32 sums of 1800 terms in another order, relative to codes of about 3.
        np.testing.assert_allclose(other.w, first.w, rtol=0.0, atol=1e-5)


def test_complete_folder_is_left_as_it_is(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert codes(pictures, tmp_path / "w") == 0
    before = content(tmp_path / "w")
    capsys.readouterr()
    encoder = Tiny()
    assert codes(pictures, tmp_path / "w", encoder=encoder) == 0
    assert (encoder.batches, content(tmp_path / "w")) == (0, before)
    assert "9 codes (9 of them before)" in capsys.readouterr().out


def test_summary_as_json_and_progress_as_lines(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert codes(pictures, tmp_path / "w", "--json") == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert summary.pop("seconds") > 0
    output = str(tmp_path / "w")
    assert summary == {"encoded": 9, "encoded_before": 0, "skipped": 4, "output": output}
    assert "\r" not in err
    assert err.splitlines()[-1].startswith("13/13 pictures, ")
    assert err.splitlines()[-1].endswith("4 skipped")


def test_refusals_name_both_sides_and_exit_as_documented(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(batch: int) -> None:
        if batch == 1:
            raise KeyboardInterrupt

    output = tmp_path / "w"
    assert codes(pictures, output, "--batch", "3", encoder=Tiny(interrupt)) == 130
    assert codes(pictures, output, "--batch", "5") == 2
    assert "batch: found 5, allowed: 3, with which w was begun" in capsys.readouterr().err
    (pictures / "1.png").unlink()
    assert codes(pictures, output, "--batch", "3") == 2
    assert "pictures: 1.png: found 'no such file'" in capsys.readouterr().err
    assert codes(tmp_path / "none", output) == 2
    assert codes(pictures, pictures / "0.png") == 2
    (tmp_path / "empty").mkdir()
    assert codes(tmp_path / "empty", tmp_path / "w2") == 1
    with pytest.raises(SystemExit, match="2"):
        codes(pictures, output, "--batch", "0")


def test_unusable_encoder_is_an_error(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Tiny):
        def forward(self, pictures: Tensor) -> Tensor:
            return super().forward(pictures) * torch.nan

    assert codes(pictures, tmp_path / "w", encoder=Broken()) == 1
    assert "none of 13 pictures has a code" in capsys.readouterr().err
    for i in range(200):
        os.link(pictures / "0.png", pictures / f"more{i}.png")
    broken = Broken()
    assert codes(pictures, tmp_path / "w", encoder=broken) == 1
    assert "psp.pt: not one finite code in 3" in capsys.readouterr().err
    # 4 batches of 8 or a few more: hours of useless work are not done first.
    assert broken.batches <= 6


def test_reading_stays_three_batches_ahead_at_most(tmp_path: Path) -> None:
    started: list[str] = []
    batch, pictures = 2, [Picture(f"{i}.png", 1) for i in range(40)]
    plan = Plan("psp.pt", "0" * 64, SIDE, 2, "none", None, batch, "cpu", pictures)

    def read(picture: Picture) -> RGB:
        started.append(picture.name)
        return np.zeros((SIDE, SIDE, 3), np.uint8)

    def count(k: int) -> None:
        assert (k + 1) * batch <= len(started) <= (k + 3) * batch

    with opened(tmp_path, plan) as store:
        encode(Tiny(count), read, store, lambda done, skipped: None)
    assert sorted(started) == sorted(picture.name for picture in pictures)


def test_picture_that_changes_meanwhile_stops_the_run(pictures: Path, tmp_path: Path) -> None:
    def change(batch: int) -> None:
        if batch == 0:
            (pictures / "12.png").unlink()

    # Three batches are read ahead; the last picture is in the thirteenth.
    assert codes(pictures, tmp_path / "w", "--batch", "1", encoder=Tiny(change)) == 2
    with pytest.raises(CheckpointError, match="half-done"):
        read_codes(tmp_path / "w")


def test_landmarks_align_the_pictures_that_have_them(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "landmarks.json"
    points: dict[str, Any] = {f"{i}.png": (np.array(FIVE) * 2).tolist() for i in range(13)}
    points |= {"1.png": FIVE[:4], "2.png": [[9.0, 9.0]] * 5, "5.png": None, "6.png": [[1], [1, 2]]}
    del points["8.png"]
    # The same face by the 68 points: eyes are 36 to 47, mouth corners 48 and 54.
    left_eye, right_eye, _, left_mouth, right_mouth = points["0.png"]
    points["0-again.png"] = [[0.0, 0.0]] * 36 + [left_eye] * 6 + [right_eye] * 6
    points["0-again.png"] += [left_mouth] * 6 + [right_mouth] * 14
    shutil.copyfile(pictures / "0.png", pictures / "0-again.png")
    file.write_text(json.dumps(points))
    assert codes(pictures, tmp_path / "w", "--landmarks", str(file)) == 0
    assert codes(pictures, tmp_path / "centre") == 0
    read = read_codes(tmp_path / "w")
    assert read.files == ["0-again.png", *(f"{i}.png" for i in (0, 10, 11, 12))]
    # The same picture at another place of the batch: float32 sums of 1800 terms.
    np.testing.assert_allclose(read.w[0], read.w[1], rtol=0.0, atol=1e-5)
    for name in ("1.png", "2.png", "5.png", "6.png", "8.png"):
        assert read.skipped[name].startswith("landmarks: ")
    assert "landmarks" in read.preprocessing
    assert not np.allclose(read.w, read_codes(tmp_path / "centre").w[[0, 1, 7, 8, 9]])
    assert codes(pictures, tmp_path / "w") == 2


if __name__ == "__main__":  # A run that lasts long enough to be killed.
    torch.set_num_threads(1)
    slow = Tiny(lambda batch: time.sleep(20.0 if batch == 2 else 0.0))
    sys.exit(codes(Path(sys.argv[1]), Path(sys.argv[2]), "--batch", "2", encoder=slow))
