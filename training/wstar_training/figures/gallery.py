"""Every figure by name: what it is made of is gathered from a study and from its report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training.commands.opening import complete
from wstar_training.editing.edits import EditSpace
from wstar_training.figures import material, measured
from wstar_training.figures.curves import curves
from wstar_training.figures.edits import edits
from wstar_training.figures.embedding import embedding, on_a_plane
from wstar_training.figures.histograms import histograms
from wstar_training.figures.leakage import NAMES, leakage
from wstar_training.figures.losses import losses, read_log
from wstar_training.figures.material import NothingToDraw
from wstar_training.figures.retouched import edited_faces, ways_of
from wstar_training.figures.scatter import scatter
from wstar_training.figures.style import Heading, world_name
from wstar_training.figures.triplets import Triplet, disagreement, triplets
from wstar_training.models.flow import Flow
from wstar_training.readout.served import load_readout
from wstar_training.study.stages import Study

# W+ comes first: it is what the others are compared with.
_SPACES = (Space.W_PLUS, Space.W_STAR, Space.W_STAR_ID)
_TRIPLETS = 1000
_SHOWN_TRIPLETS = 6
_CODES = 2000
_COLOURED = ("Male", "Smiling", "Eyeglasses", "Young", "Bangs", "Blond_Hair")
_COLOURS = 4
_EDITED = ("Smiling", "Eyeglasses", "Male", "Young", "Bangs", "Blond_Hair")

# Files without their endings, and what goes into them.
Drawn = Iterator[tuple[str, Figure]]


@dataclass(frozen=True)
class Source:
    """A run and what was measured of it, None where it was not; the rest is made on first use."""

    run: Study
    report: Mapping[str, Any] | None

    @cached_property
    def study(self) -> Study:
        """The run made whole: a released one lacks what the rest makes."""
        # The names of files alone go to standard output.
        with redirect_stdout(sys.stderr):
            complete(self.run)
        return self.run

    @property
    def world(self) -> str:
        """Name of the study, as figures give it."""
        return world_name(self.run.labels)

    @cached_property
    def flows(self) -> Mapping[Space, Flow]:
        """T of every space, W+ first."""
        return {space: self.study.flow(space) for space in _SPACES}

    @cached_property
    def distances(self) -> material.Distances:
        """Distances of W+ and W*, and what the judge says."""
        study = self.study
        flows = {space: self.flows[space] for space in (Space.W_PLUS, Space.W_STAR)}
        return material.distances(
            flows, study.codes.w["test"], study.judge, study.perceptual_scale,
            study.faces("test"), _TRIPLETS,
        )  # fmt: skip


def _scatter(source: Source) -> Drawn:
    found = source.distances
    latent = {space: each[:, 0] for space, each in found.latent.items()}
    yield "scatter", scatter(source.world, found.perceptual[:, 0], latent)


def _histograms(source: Source) -> Drawn:
    found = source.distances
    latent = {space: each[:, 0] for space, each in found.latent.items()}
    yield "histograms", histograms(source.world, found.perceptual[:, 0], latent)


def _triplets(source: Source) -> Drawn:
    found, pictures = source.distances, source.study.faces("test")
    apart = disagreement(found.perceptual, found.latent)
    if not len(apart.rows):
        raise NothingToDraw(f"W+ and W* agree on all of {apart.asked} triplets")
    shown = [
        Triplet(
            material.as_bytes(pictures(found.triplets[row])),
            found.perceptual[row],
            {space: each[row] for space, each in found.latent.items()},
        )
        for row in apart.rows[:_SHOWN_TRIPLETS]
    ]
    yield "triplets", triplets(source.world, shown, apart)


def _embedding(source: Source) -> Drawn:
    study, w = source.study, source.study.codes.w
    has = study.attributes("test")
    columns = material.told_apart(has[:_CODES], _COLOURED, _COLOURS)
    names = [ATTRIBUTES[column] for column in columns]
    planes, accuracy = {}, {}
    for space, flow in source.flows.items():
        planes[space] = on_a_plane(flow(w["test"][:_CODES]).numpy())
        if source.report is not None:
            accuracy[space] = measured.svm_accuracies(source.report, space, names)
        else:
            fit = w["probe"], study.attributes("probe")[:, columns]
            accuracy[space] = material.svm_accuracy(flow, fit, (w["test"], has[:, columns]))
    attributes = {name: has[:_CODES, column] for name, column in zip(names, columns, strict=True)}
    yield "tsne", embedding(source.world, planes, attributes, accuracy)


def _edits(source: Source) -> Drawn:
    study, w = source.study, source.study.codes.w["test"]
    plus, star_id = (
        EditSpace(source.flows[space], load_readout(study.readout_path(space)))
        for space in (Space.W_PLUS, Space.W_STAR_ID)
    )
    ways = ways_of(plus, star_id, w)
    told = [name for name in _EDITED if name in plus.told and name in star_id.told]
    for name in told:
        faces = edited_faces(
            ways, w, _one_of_each(study, name), name, study.faces("test"),
            study.identity_path.generator, study.referee,
        )  # fmt: skip
        yield f"edits-{name}", edits(source.world, name, faces)
    if len(told) < len(_EDITED):
        untold = ", ".join(name for name in _EDITED if name not in told)
        raise NothingToDraw(f"a space cannot tell {untold}")


def _one_of_each(study: Study, attribute: str) -> NDArray[np.int64]:
    """The first test face without an attribute and the first with it, where there are such."""
    has = study.attributes("test")[:, ATTRIBUTES.index(attribute)]
    return np.sort(np.unique(has, return_index=True)[1])


def _losses(source: Source) -> Drawn:
    paths = {space: source.run.path(f"flow{space.suffix}.jsonl") for space in _SPACES[1:]}
    logs = {space: read_log(path) for space, path in paths.items() if path.exists()}
    logs = {space: log for space, log in logs.items() if log}
    if not logs:
        raise NothingToDraw(f"no training log in {source.run.run}")
    yield "losses", losses(source.world, logs)


def _leakage(source: Source) -> Drawn:
    found = measured.editing(source.report)
    step = found["leakage"]["strength"]["step"]
    details = (
        f"up to {found['faces']} test faces per row, moved by {step:g} standard deviations of the "
        "codes; own: change of the edited attribute itself; grey: that, or not edited"
    )
    for space, matrix in measured.leakage_matrices(found).items():
        heading = Heading(f"Leakage of step edits in {NAMES[space]}", source.world, details)
        yield f"leakage-{space}", leakage(heading, found["leakage"]["attributes"], matrix)


def _curves(source: Source) -> Drawn:
    found = measured.editing(source.report)
    ways = measured.equal_change_curves(found)
    details = (
        f"means over the same {found['curves']['edits']} edits in every way, those that all ways "
        "bring to the largest change; by independent networks"
    )
    yield "curves", curves(source.world, details, ways)


FIGURES: Mapping[str, Callable[[Source], Drawn]] = {
    "scatter": _scatter,
    "histograms": _histograms,
    "triplets": _triplets,
    "tsne": _embedding,
    "edits": _edits,
    "losses": _losses,
    "leakage": _leakage,
    "curves": _curves,
}
