"""CPU time to decode a JPEG and bring it to the encoder's side: `deploy/figures.py` has the result.

`python -m tests.bench.decoding`: drawn faces, enlarged and with noise, JPEG of quality 90, one
thread, medians of 25.
"""

from __future__ import annotations

import io
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from wstar.images import decode, encoder_input

PICTURE = Path(__file__).resolve().parents[2] / "service/wstar_service/demo/pictures/face-01.png"
SIDES_PX = (256, 512, 1024)
ENCODER_SIDE_PX = 256
NOISE_LEVELS = 6.0


def main() -> None:
    """Print milliseconds and bytes by side."""
    face = Image.open(PICTURE).convert("RGB")
    random = np.random.default_rng(0)
    for side in SIDES_PX:
        enlarged = np.asarray(face.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        noisy = (enlarged + random.normal(0, NOISE_LEVELS, enlarged.shape)).clip(0, 255)
        buffer = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(buffer, "JPEG", quality=90)
        data, taken = buffer.getvalue(), []
        for _ in range(25):
            start = time.thread_time()
            encoder_input(decode(data, max_bytes=2**24, max_pixels=4096**2), ENCODER_SIDE_PX, None)
            taken.append(time.thread_time() - start)
        print(f"{side:5} px  {1000 * statistics.median(taken):6.2f} ms  {len(data)} bytes")


if __name__ == "__main__":
    main()
