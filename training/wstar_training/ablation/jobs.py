"""An ablation: every variant of T trained for every seed, and all of them measured alike.

Each training has a folder of its own, NAME-seedS; what was measured of it is kept there, with
hashes of what it was measured from. So whatever was finished is read, and the rest is made.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from wstar.errors import CheckpointError, InvalidInput
from wstar.files import write_file
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.ablation.variants import Variant, check_options, train_variant
from wstar_training.encoding.store import locked
from wstar_training.evaluation.kept_identity import held_out_identity
from wstar_training.evaluation.measure import (
    BASELINE,
    Baseline,
    measure,
    measure_baseline,
    plain,
)
from wstar_training.evaluation.space import PAPER_PAIRS, space_distances
from wstar_training.evaluation.yardsticks import TARGETS, Yardsticks, yardsticks
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.loop import load_flow
from wstar_training.learning.record import FILE as STARTS
from wstar_training.models.flow import Flow
from wstar_training.study.stages import Study

FREE = "FREE"

# The perceptual scale of the paper's section 7.1, which its Table 3 leaves out.
PAPER_FACTOR = 10.0

_FILE = "measured.json"
_YARDSTICKS = "yardsticks.pt"


@dataclass(frozen=True, kw_only=True)
class Shortened(Variant):
    """A variant that trains for so many steps at most: a trial."""

    steps: int

    def options(self, study: Study, seed: int) -> FlowOptions:
        """Those of the variant, cut short."""
        whole = super().options(study, seed)
        steps = min(self.steps, whole.steps)
        return replace(whole, steps=steps, warmup=min(whole.warmup, steps - 1))


def shortened(variant: Variant, steps: int) -> Shortened:
    """The trial of a variant."""
    own = {field.name: getattr(variant, field.name) for field in fields(variant)}
    return Shortened(**own, steps=steps)


@dataclass(frozen=True)
class Job:
    """One training of one variant, and its folder."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name

    @property
    def flow(self) -> Path:
        """The file of its T."""
        return self.folder / "flow.pt"


def jobs(
    run: Path, variants: Sequence[Variant], seeds: Sequence[int], steps: int | None = None
) -> list[Job]:
    """Every variant for every seed: all of one seed, then of the next.

    steps: of a trial, which has folders of its own; None trains as the study says.
    """
    root = run / "ablation"
    if steps is not None:
        root = root / f"trial-{steps}-steps"
        variants = [shortened(variant, steps) for variant in variants]
    return [
        Job(variant, seed, root / f"{variant.name}-seed{seed}")
        for seed in seeds
        for variant in variants
    ]


def train_jobs(study: Study, wanted: Sequence[Job]) -> None:
    """Train what is not complete yet.

    Raises
    ------
    InvalidInput: a complete one was trained with other settings, or from other files.
    CheckpointError: another process is at work in a folder.
    """
    present = cache(lambda name: _present(study, name))
    for job in wanted:
        _check(study, job, present)
    ahead = [job for job in wanted if not job.flow.exists()]
    took: dict[str, list[float]] = {}
    for index, job in enumerate(ahead):
        rest = time_left(took, [other.variant.name for other in ahead[index:]])
        _say(f"training {index + 1} of {len(ahead)}: {job.name}{_told(rest)}")
        started = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        with locked(job.folder):
            train_variant(study, job.variant, job.seed, job.folder)
        took.setdefault(job.variant.name, []).append(time.monotonic() - started)


def _check(study: Study, job: Job, present: Callable[[str], str | None]) -> None:
    """Refuse a complete T that is not the one asked for, and settings that cannot train.

    present: hashes of the run's files by name.
    """
    wanted = job.variant.options(study, job.seed)
    if not job.flow.exists():
        return
    check_options(job.flow, wanted)
    again = "delete the folder to train it again"
    for name, sha256 in _learned_from(job.folder).items():
        if present(name) not in (None, sha256):
            raise InvalidInput(f"{name} that {job.flow} learned", sha256, f"the run's; {again}")


def _present(study: Study, name: str) -> str | None:
    """The hash of a file of the run; None of one that is gone, and made again when needed."""
    path = study.path(name)
    return checkpoint.file_sha256(path) if path.exists() else None


def _learned_from(folder: Path) -> Mapping[str, str]:
    """Hashes of the files that the last start of a training read."""
    path = folder / STARTS
    try:
        last: Mapping[str, str] = json.loads(path.read_text())[-1]["data_sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path}: not a list of starts: {error}") from error
    return last


def measure_jobs(study: Study, wanted: Sequence[Job]) -> dict[Job, dict[str, Any]]:
    """What is kept of every job, measured where it is not; all are trained.

    A measurement is {"made_from", "options", "report", "unscaled", "identity"}: hashes, the
    settings of the training, the report of `measure` for W+ and this T, `unscaled` of both and of
    the free network, and L_ID of both on held-out codes.
    """
    base = cache(lambda: measure_baseline(study))
    yardsticks(study)
    yard_sha256 = checkpoint.file_sha256(study.path(_YARDSTICKS))
    made_from = {
        job: {"flow.pt": checkpoint.file_sha256(job.flow), _YARDSTICKS: yard_sha256}
        for job in wanted
    }
    ahead: dict[str, list[Job]] = {}
    for job in wanted:
        if measurement(job, made_from[job]) is None:
            ahead.setdefault(job.variant.name, []).append(job)
    took: dict[str, list[float]] = {}
    for index, (name, together) in enumerate(ahead.items()):
        rest = time_left(took, list(ahead)[index:])
        _say(f"measuring {index + 1} of {len(ahead)}: variant {name}{_told(rest)}")
        started = time.monotonic()
        with ExitStack() as stack:
            for job in together:
                stack.enter_context(locked(job.folder))
            _measure(study, base(), together, made_from)
        took[name] = [time.monotonic() - started]
    found = {job: measurement(job, made_from[job]) for job in wanted}
    return {job: kept for job, kept in found.items() if kept is not None}


def _measure(
    study: Study,
    base: Baseline,
    together: Sequence[Job],
    made_from: Mapping[Job, Mapping[str, str]],
) -> None:
    """Measure the seeds of a variant."""
    flows, yard = {job.name: load_flow(job.flow) for job in together}, base.yard
    report = plain(measure(study, flows, base))
    plus = unscaled(study, yard, study.flow(Space.W_PLUS))
    kept_identity = held_out_identity(study, study.flow(Space.W_PLUS))
    for job in together:
        kept = {
            "made_from": made_from[job],
            "options": asdict(job.variant.options(study, job.seed)),
            "report": {
                **{key: report[key] for key in ("world", "codes", "ceiling")},
                "spaces": {name: report["spaces"][name] for name in (BASELINE, job.name)},
            },
            "unscaled": {
                BASELINE: plus,
                job.name: unscaled(study, yard, flows[job.name]),
                FREE: unscaled(study, yard, None),
            },
            "identity": {
                BASELINE: kept_identity,
                job.name: held_out_identity(study, flows[job.name]),
            },
        }
        write_file(job.folder / _FILE, (json.dumps(plain(kept), indent=1) + "\n").encode())


def unscaled(study: Study, yard: Yardsticks, flow: Flow | None) -> dict[str, dict[str, float]]:
    """Mean and STD of D* − d/10 by target: the paper's Table 3 leaves out the factor 10 of its d.

    They are over the pairs of Table 1. flow: None is the free network, which imitates d.
    """
    drawn, figures = yard.drawn["test"], {}
    for target in TARGETS:
        if flow is None:
            found = yard.free["test", target].pairs[:PAPER_PAIRS]
        else:
            w = study.codes.w["test"][: drawn.count]
            found = space_distances(flow, w, drawn.trials).pairs[:PAPER_PAIRS]
        wanted = yard.perceptual["test", target].pairs[:PAPER_PAIRS] / PAPER_FACTOR
        error = found - wanted
        figures[target] = {"mean": float(error.mean()), "std": float(error.std())}
    return figures


def measurement(job: Job, made_from: Mapping[str, str]) -> dict[str, Any] | None:
    """What was measured of a job; None when it was not, or of other files.

    Raises
    ------
    CheckpointError: the file is not what was written.
    """
    path = job.folder / _FILE
    if not path.exists():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept if kept["made_from"] == made_from else None
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path}: not what an ablation measured: {error}") from error


def time_left(took: Mapping[str, Sequence[float]], ahead: Sequence[str]) -> float | None:
    """Seconds that the variants ahead should take; None before anything is known.

    took: seconds of those that are done, by variant. One of which none is done takes their mean.
    """
    if not took:
        return None
    each = {name: statistics.mean(seconds) for name, seconds in took.items()}
    usual = statistics.mean(each.values())
    return sum(each.get(name, usual) for name in ahead)


def _told(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"; about {seconds / 60:.0f} min left" if seconds >= 90 else f"; {seconds:.0f} s left"


def _say(message: str) -> None:
    print(f"ablation: {message}", file=sys.stderr, flush=True)
