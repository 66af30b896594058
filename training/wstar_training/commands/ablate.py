"""`wstar-train ablate`: the paper's variants trained for several seeds, in its tables."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar_training.ablation.jobs import jobs, measure_jobs, train_jobs
from wstar_training.ablation.tables import markdown, summary
from wstar_training.ablation.variants import VARIANTS, variant
from wstar_training.commands.arguments import positive
from wstar_training.commands.opening import complete, open_study
from wstar_training.learning.distributed import ALONE, Group, joined
from wstar_training.own.files import OwnFiles
from wstar_training.study.stages import Study

_SEEDS = (0, 1, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train ablate`."""
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=[one.name for one in VARIANTS],
        metavar="NAME",
        help="some of " + "; ".join(f"{one.name}, {one.says}" for one in VARIANTS)
        + " (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=list(_SEEDS),
        metavar="N",
        help=f"each variant is trained once per seed (default: {' '.join(map(str, _SEEDS))})",
    )
    parser.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help="at most so many steps of each: a trial, in folders of its own",
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for ablation.json and ablation.md (default: that of the trainings, "
        "RUN/ablation)",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where T of own files trains; all else is done on the CPU (default: cpu)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads torch may use")


def run(options: argparse.Namespace) -> int:
    """Carry out the command; the tables go to standard output, progress to standard error."""
    names = options.variants or [one.name for one in VARIANTS]
    chosen = [variant(name) for name in dict.fromkeys(names)]
    seeds = list(dict.fromkeys(options.seeds))
    for seed in seeds:
        if seed < 0:
            raise InvalidInput("seeds", seed, "0 or more")
    wanted = jobs(options.run, chosen, seeds, options.steps)
    # Progress stays out of the answer.
    with redirect_stdout(sys.stderr):
        study = open_study(options.run)
        complete(study)
        with joined(options.device) as group:
            train_jobs(_with(study, group), wanted)
        found = summary(measure_jobs(study, wanted), options.steps)
    folder = options.output or wanted[0].folder.parent
    text = json.dumps(found, indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "ablation.json", text.encode())
    write_file(folder / "ablation.md", markdown(found).encode())
    print(text if options.json else markdown(found), end="")
    return 0


def _with(study: Study, group: Group) -> Study:
    """The study on the device of a group.

    Raises
    ------
    InvalidInput: several processes, or a demo world on a GPU.
    """
    if group.size > 1:
        raise InvalidInput("processes", group.size, "1; start commands for other seeds beside it")
    if group == ALONE:
        return study
    if not isinstance(study, OwnFiles):
        raise InvalidInput("device", group.device.type, "cpu: a demo world trains there")
    return replace(study, group=group)
