"""Everything measured of a demo world, on held-out faces that trained nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.files import write_file
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.ceiling import train_ceiling
from wstar_training.codes import Batch, compose, over_batches, regenerated
from wstar_training.demo import judges
from wstar_training.demo.autoencoder import psnr_each
from wstar_training.demo.pictures import Split
from wstar_training.demo.train_demo import World
from wstar_training.directions import load_readout
from wstar_training.edit_evaluation import (
    EDITED,
    Studio,
    edit_figures,
    faces_to_edit,
)
from wstar_training.evaluation import (
    Distances,
    attribute_figures,
    conditioning,
    distance_figures,
    over_faces,
    perceptual_distances,
    readout_figures,
    space_distances,
)
from wstar_training.metrics import Trials, draw_trials, holm, mcnemar
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.pretrain import on_codes, on_coordinates
from wstar_training.probes import Faces, SvmResult
from wstar_training.study import flow_data

TARGETS = ("input", "regenerated")
PROBABILITIES = (0.9, 0.99)
_ROUNDS = 10


def measure(world: World) -> dict[str, Any]:
    """Measure, write `evaluation.json`, and put the main figures into the served files."""
    report: dict[str, Any] = {"faces": dict(world.sizes.pictures)}
    _progress("reconstruction")
    report["reconstruction"] = _reconstruction(world)
    _progress("distances")
    report["spaces"] = {space.value: _conditioning(world, space) for space in Space}
    report["ceiling"] = {}
    _distances(world, report)
    _progress("attributes")
    _attributes(world, report)
    _progress("edits")
    report["edits"] = {
        space.value: _edits(world, world.flow(space), load_readout(world.readout_path(space)))
        for space in Space
    }
    # W+ with hyperplanes made for editing too: what is due to T stands apart from what is not.
    plus = world.flow(Space.W_PLUS)
    for_edits = on_codes(world.editing_readout(plus), plus)
    report["edits"]["W_PLUS_FOR_EDITS"] = _edits(world, plus, for_edits)

    write_file(world.path("evaluation.json"), (json.dumps(report, indent=1) + "\n").encode())
    for space in Space:
        _serve(world, space, report)
    return report


def _progress(stage: str) -> None:
    """Say what is measured next, beside the tables that go to standard output."""
    print(f"evaluation: {stage}", file=sys.stderr, flush=True)


def _coordinates(world: World, space: Space, split: Split, count: int) -> NDArray[np.float32]:
    flow = world.flow(space)
    with torch.no_grad():
        y: NDArray[np.float32] = flow.map(flow.coordinates(world.codes.w[split][:count])).numpy()
    return y


def _reconstruction(world: World) -> dict[str, Any]:
    """PSNR, and what the referee sees in held-out pictures and in their reconstructions."""
    test = world.pictures("test")
    referee = judges.load_referee(world.path("referee.pt"))
    rebuilt = regenerated(world.autoencoder.generator, world.codes.w["test"])
    given = over_batches(len(test), compose(referee, test.batch)).numpy() > 0
    again = over_batches(len(test), compose(referee, rebuilt)).numpy() > 0
    return {
        "psnr_db": asdict(over_faces(psnr_each(world.autoencoder, test, len(test)))),
        "referee_on_pictures": asdict(over_faces((given == test.attributes).mean(1))),
        "referee_on_reconstructions": asdict(over_faces((again == test.attributes).mean(1))),
        "referee_agreement": asdict(over_faces((given == again).mean(1))),
    }


def _conditioning(world: World, space: Space) -> dict[str, Any]:
    return dict(conditioning(world.flow(space), world.codes.w["test"]))


def _distances(world: World, report: dict[str, Any]) -> None:
    """Distances of every space and of the ceiling, on fresh codes and on T's own."""
    count = min(world.sizes.pictures["test"], world.trained)
    trials = draw_trials(count, _ROUNDS, seed=0)
    judge = world.judge
    judge.scale = world.perceptual_scale
    splits: tuple[tuple[str, Split], ...] = (("distance", "test"), ("distance_train", "flow"))
    for target in TARGETS:
        data, validation = flow_data(world, target)
        free = train_ceiling(data, validation, world.sizes.ceiling_steps)
        unit = data.mean_distance()
        for key, split in splits:
            w = world.codes.w[split][:count]
            given: Batch = world.pictures(split).batch
            pictures = given if target == "input" else regenerated(world.autoencoder.generator, w)
            wanted = perceptual_distances(judge, pictures, count, trials)
            for space in Space:
                y = _coordinates(world, space, split, count)
                found = space_distances(world.flow(space), y, trials)
                figures = distance_figures(found, wanted, trials, count)
                report["spaces"][space.value].setdefault(key, {})[target] = figures
            with torch.no_grad():
                z = free(torch.from_numpy(_coordinates(world, Space.W_PLUS, split, count))).numpy()
            free_found = _plain_distances(unit, z, trials)
            figures = distance_figures(free_found, wanted, trials, count)
            report["ceiling"].setdefault(key, {})[target] = figures


def _plain_distances(unit: float, z: NDArray[np.float32], trials: Trials) -> Distances:
    """unit·‖a − b‖² of trials among points z (N, out)."""
    t = trials.triplets
    each = [
        unit * ((z[p[:, 0]].astype(np.float64) - z[p[:, 1]]) ** 2).sum(1)
        for p in (trials.pairs, t[:, [0, 1]], t[:, [0, 2]])
    ]
    return Distances(each[0], np.stack(each[1:], 1))


def _attributes(world: World, report: dict[str, Any]) -> None:
    """SVM, DCI and the served read-out of every space; W+ against W* attribute by attribute."""
    results: dict[Space, SvmResult] = {}
    for space in Space:
        probe, test, trained = (
            Faces(
                _coordinates(world, space, split, count), world.pictures(split).attributes[:count]
            )
            for split, count in _attribute_splits(world)
        )
        figures, results[space] = attribute_figures(probe, test, trained)
        readout = on_coordinates(load_readout(world.readout_path(space)), world.flow(space))
        figures["readout"] = readout_figures(readout, test)
        report["spaces"][space.value] |= figures
    plus, star = results[Space.W_PLUS], results[Space.W_STAR]
    gain = star.right.mean(1) - plus.right.mean(1)
    report["svm_gain"] = asdict(over_faces(gain))
    p = [mcnemar(a, b) for a, b in zip(plus.right.T, star.right.T, strict=True)]
    report["attributes"] = {
        name: {
            **{space.value: float(results[space].accuracy[k]) for space in Space},
            "balanced_W_PLUS": float(plus.balanced[k]),
            "balanced_W_STAR": float(star.balanced[k]),
            "p_holm": float(corrected),
        }
        for k, (name, corrected) in enumerate(zip(ATTRIBUTES, holm(np.array(p)), strict=True))
    }


def _attribute_splits(world: World) -> tuple[tuple[Split, int], ...]:
    """Codes that fit the probes, that test them, and T's own (as many as the first two)."""
    sizes = world.sizes.pictures
    trained = min(sizes["probe"] + sizes["test"], world.trained)
    return (("probe", sizes["probe"]), ("test", sizes["test"]), ("flow", trained))


def _edits(world: World, flow: Flow, readout: Classifiers) -> dict[str, Any]:
    """Targeted edits of held-out faces: by probability, then attribute, then figure."""
    studio = Studio(
        world.autoencoder.generator,
        judges.load_referee(world.path("referee.pt")),
        judges.load_identity(world.path("identity.pt")),
    )
    w, truth = world.codes.w["test"], world.pictures("test").attributes
    figures: dict[str, Any] = {}
    for probability in PROBABILITIES:
        each: dict[str, dict[str, float]] = {}
        for name in EDITED:
            if readout.weight[ATTRIBUTES.index(name)].abs().sum() == 0:
                continue
            rows = faces_to_edit(truth, name, world.sizes.edit_faces)
            edit = edit_figures(
                studio, flow, readout, w[torch.from_numpy(rows)], truth[rows], name, probability
            )
            each[name] = asdict(edit)
        mean = {key: float(np.mean([e[key] for e in each.values()])) for key in _EDIT_KEYS}
        figures[str(probability)] = {**each, "mean": mean} if each else {}
    return figures


_EDIT_KEYS = ("agreement", "before", "leakage", "flipped", "identity")


def _serve(world: World, space: Space, report: dict[str, Any]) -> None:
    """Put the main figures into the file of what is served."""
    figures = report["spaces"][space.value]
    main = {
        "svm_accuracy": figures["svm"]["avg"]["value"],
        "readout_accuracy": figures["readout"]["accuracy"],
        "round_trip": figures["round_trip"],
        "psnr_db": report["reconstruction"]["psnr_db"]["value"],
    }
    for target in TARGETS:
        distance = figures["distance"][target]
        for key in ("two_alternative", "pearson", "std"):
            main[f"{key}_{target}"] = distance[key]["value"]
    if edits := report["edits"][space.value].get("0.99"):
        main["edit_agreement"] = edits["mean"]["agreement"]
    path = world.readout_path(space)
    checkpoint.save(path, {**checkpoint.load(path), "evaluation": main})
