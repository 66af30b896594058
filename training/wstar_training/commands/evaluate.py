"""`wstar-train evaluate`: measure a run, print its tables, and hold it to what is required."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.commands.arguments import positive
from wstar_training.commands.opening import complete, open_study
from wstar_training.demo.measure_demo import reconstruction
from wstar_training.demo.train_demo import World
from wstar_training.editing import edit_agreement, editing_report
from wstar_training.evaluation.measure import measure, measure_baseline, on_all_labels, plain
from wstar_training.evaluation.report import markdown
from wstar_training.evaluation.requirements import explained, failures, requirement
from wstar_training.evaluation.space import readout_figures
from wstar_training.evaluation.yardsticks import TARGETS, probe_faces, progress
from wstar_training.readout.fitted import on_coordinates
from wstar_training.readout.served import load_readout
from wstar_training.study.stages import Study

EXIT_UNMET = 3
_EDIT_FACES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train evaluate`."""
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.add_argument(
        "--require",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME>=VALUE",
        help="bounds (also <=) that main figures must keep, or the exit code is 3; names below",
    )
    parser.add_argument(
        "--edit-faces",
        type=int,
        metavar="N",
        help="held-out faces edited of each attribute; 0 leaves edits out, which at 1024 px take "
        f"hours (default: {_EDIT_FACES}; of a demo world what its size says)",
    )
    parser.add_argument(
        "--swept",
        nargs="+",
        choices=ATTRIBUTES,
        metavar="NAME",
        help="attributes edited at every strength, compared at equal achieved change and encoded "
        "again, which takes most of the time of edits (default: all that are edited)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads torch may use")
    parser.epilog = f"{explained()}\n\n{parser.epilog or ''}"


def run(options: argparse.Namespace) -> int:
    """Carry out the command; tables go to standard output, what is not met to standard error."""
    required = [requirement(text) for text in options.require]
    if options.edit_faces is not None and options.edit_faces < 0:
        raise InvalidInput("edit_faces", options.edit_faces, "0 or more")
    for each in required:
        if each.name.startswith("edits.") and options.edit_faces == 0:
            raise InvalidInput("edit_faces", 0, f"1 or more, for {each.name} is required")
    # Progress stays out of the answer.
    with redirect_stdout(sys.stderr):
        study = open_study(options.run)
        complete(study)
        report = evaluate(study, options.edit_faces, options.swept)
    print(json.dumps(report, indent=1) if options.json else markdown(report))
    unmet = failures(required, report)
    for line in unmet:
        print(f"not met: {line}", file=sys.stderr)
    return EXIT_UNMET if unmet else 0


def evaluate(
    study: Study, edit_faces: int | None = None, swept: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure what a study serves; write `evaluation.json` and `evaluation.md`, and put the main
    figures into the served files.

    edit_faces: faces edited of each attribute; None as many as usual, 0 none.
    swept: attributes edited at every strength; None all that are edited.
    """
    flows = {space.value: study.flow(space) for space in Space}
    base = measure_baseline(study)
    report = measure(study, flows, base)
    for space in Space:
        report["spaces"][space.value]["readout"] = _readout(study, space)
        if space is not Space.W_PLUS:
            progress(f"SVMs in {space.value} on T's codes too")
            all_labels = on_all_labels(study, flows[space.value], base)
            report["spaces"][space.value]["all_labels"] = all_labels
    if isinstance(study, World):
        progress("reconstruction")
        report["reconstruction"] = reconstruction(study)
    if edit_faces is None:
        edit_faces = study.sizes.edit_faces if isinstance(study, World) else _EDIT_FACES
    if edit_faces:
        readouts = {space.value: load_readout(study.readout_path(space)) for space in Space}
        report["editing"] = editing_report(study, flows, readouts, edit_faces, swept=swept)
    report = dict(plain(report))
    write_file(study.path("evaluation.json"), (json.dumps(report, indent=1) + "\n").encode())
    write_file(study.path("evaluation.md"), markdown(report).encode())
    for space in Space:
        _serve(study, space, report)
    return report


def _readout(study: Study, space: Space) -> dict[str, float]:
    """The served read-out on fresh codes."""
    flow = study.flow(space)
    readout = on_coordinates(load_readout(study.readout_path(space)), flow)
    return readout_figures(readout, probe_faces(study, flow).test)


def _serve(study: Study, space: Space, report: dict[str, Any]) -> None:
    """Put the main figures into the file of what is served; clients see these names."""
    figures = report["spaces"][space.value]
    main = {
        "svm_accuracy": figures["svm"]["avg"]["value"],
        "readout_accuracy": figures["readout"]["accuracy"],
        "round_trip": figures["round_trip"],
    }
    if "reconstruction" in report:
        main["psnr_db"] = report["reconstruction"]["psnr_db"]["value"]
    for target in TARGETS:
        for key in ("two_alternative", "pearson", "spearman", "std"):
            main[f"{key}_{target}"] = figures["distance"][target][key]["value"]
    if "editing" in report:
        main["edit_agreement"] = edit_agreement(report["editing"], space.value)
    # What so few codes cannot tell is left out.
    known = {name: value for name, value in main.items() if value is not None}
    path = study.readout_path(space)
    checkpoint.save(path, {**checkpoint.load(path), "evaluation": known})
