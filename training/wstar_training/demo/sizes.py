"""How large a demo world is: the full one, and a quick one that only proves that all runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wstar.attributes import ATTRIBUTES
from wstar.errors import CheckpointError, InvalidInput
from wstar.files import write_file
from wstar_training.demo.autoencoder import AutoencoderOptions
from wstar_training.demo.judges import JudgeOptions
from wstar_training.demo.pictures import Split
from wstar_training.learning.config import FlowOptions


@dataclass(frozen=True)
class Sizes:
    """Settings of every stage.

    pictures: faces drawn per split; those of `further` fit the probes of an evaluation, with those
        of `probe`: 12 000, as in the paper.
    identity_people, identity_views: people that F, and others that the identity referee learns to
        tell apart, and pictures of each.
    axes: r, dimensions of W+ that T moves; codes vary in no more (`DemoEncoder.features`).
    sketch: numbers kept of the features of a picture.
    held_out: codes of the split `flow` that validate T instead of training it.
    penalty: L2 penalty of C and of the served read-outs of W+ and W*.
    edit_penalties, chosen_by: penalties that each attribute of W*_ID chooses from, weakest first,
        and how many edited faces choose.
    edit_faces, edited: held-out faces edited per attribute, and the attributes edited, when edits
        are measured.
    """

    pictures: dict[Split, int]
    judge: JudgeOptions
    identity: JudgeOptions
    referee: JudgeOptions
    identity_referee: JudgeOptions
    identity_people: int
    identity_views: int
    autoencoder: AutoencoderOptions
    axes: int
    sketch: int
    held_out: int
    flow: FlowOptions
    flow_id: FlowOptions
    ceiling_steps: int
    penalty: float = 1e-3
    edit_penalties: tuple[float, ...] = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    chosen_by: int = 24
    edit_faces: int = 20
    edited: tuple[str, ...] = ATTRIBUTES


# Faster than the paper's settings: 30 000 codes are seen 13 times in 3000 steps.
_FLOW = FlowOptions(
    couplings=13, steps=3000, hidden=128, batch=128, rate=3e-3, weight_decay=0.1, schedule="cosine",
    distance_weight=30.0, identity_batch=16,
)  # fmt: skip

FULL = Sizes(
    pictures={
        "networks": 40_000, "validation": 2000, "flow": 30_000, "probe": 8000, "test": 4000,
        "further": 4000,
    },
    judge=JudgeOptions(images=100_000, width=8, seed=0),
    identity=JudgeOptions(images=80_000, width=8, seed=1),
    referee=JudgeOptions(images=100_000, width=10, batch=48, seed=2),
    identity_referee=JudgeOptions(images=80_000, width=10, batch=48, seed=3),
    identity_people=2000,
    identity_views=12,
    autoencoder=AutoencoderOptions(images=300_000),
    axes=128,
    sketch=4096,
    held_out=1000,
    flow=_FLOW,
    flow_id=replace(
        _FLOW, couplings=3, steps=400, distance_weight=1.0, identity_weight=10.0, noise=0.3,
        validate_every=100, save_every=100,
    ),
    ceiling_steps=3000,
)  # fmt: skip

QUICK = Sizes(
    pictures={
        "networks": 320, "validation": 60, "flow": 300, "probe": 200, "test": 120, "further": 40,
    },
    judge=JudgeOptions(images=640, width=4, seed=0),
    identity=JudgeOptions(images=640, width=4, seed=1),
    referee=JudgeOptions(images=640, width=4, seed=2),
    identity_referee=JudgeOptions(images=640, width=4, seed=3),
    identity_people=20,
    identity_views=4,
    autoencoder=AutoencoderOptions(images=320),
    axes=128,
    sketch=512,
    held_out=60,
    flow=replace(_FLOW, steps=40, hidden=32, batch=32, validate_every=20),
    flow_id=replace(
        _FLOW, couplings=3, steps=10, hidden=32, batch=32, identity_batch=4, identity_weight=1.0,
        validate_every=5,
    ),
    ceiling_steps=40,
    edit_penalties=(0.001, 0.1),
    chosen_by=2,
    edit_faces=4,
    edited=("Smiling", "Male", "Bangs"),
)  # fmt: skip

_SIZES = {"full": FULL, "quick": QUICK}
_FILE = "options.json"


def remember(run: Path, name: str) -> Sizes:
    """Write the settings of a size into a run folder, once, and return them.

    Raises
    ------
    InvalidInput: the folder holds a run of the other size.
    """
    path = run / _FILE
    if path.exists():
        found = json.loads(path.read_text())["size"]
        if found != name:
            raise InvalidInput("size", name, f"{found}, the size of what is in {run}")
    else:
        run.mkdir(parents=True, exist_ok=True)
        content = {"size": name, "settings": asdict(_SIZES[name])}
        write_file(path, (json.dumps(content, indent=1) + "\n").encode())
    return _SIZES[name]


def recall(run: Path) -> Sizes:
    """The size of a run that was begun.

    Raises
    ------
    CheckpointError: the folder holds none.
    """
    try:
        return _SIZES[json.loads((run / _FILE).read_text())["size"]]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{run / _FILE}: no such file; no demo world was begun here"
        ) from error
