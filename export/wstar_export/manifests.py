"""The manifest of each space, with a golden request answered by the exported graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space, classifiers, encoder, flow, flow_inverse, generator
from wstar.images import encode, reduced
from wstar.space import GENERATED_SIDE, Golden, SpaceManifest
from wstar_export.assembly import space_ids
from wstar_export.findings import Finding
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.tolerances import BOUNDS
from wstar_training.models.classifiers import Classifiers


def manifests(
    run: Run, sessions: Mapping[str, Session], findings: Iterable[Finding]
) -> dict[Space, SpaceManifest]:
    """Make the manifests of all spaces.

    sessions: the exported graphs by name; they answer the golden request.
    findings: parity of every graph; they become the tolerance card.
    """
    card: dict[str, dict[str, dict[str, float]]] = {}
    for finding in findings:
        figures = card.setdefault(finding.graph, {}).setdefault(finding.precision, {})
        figures[finding.name] = finding.value
    ids = space_ids(run, sessions["encoder"].precision)
    found = {}
    for space in Space:
        answer = golden(run, space, sessions)
        found[space] = _manifest(run, space, ids[space], answer, _of_space(card, run, space))
    return found


def golden(run: Run, space: Space, sessions: Mapping[str, Session]) -> Golden:
    """Embed and draw the first held-out picture with the graphs themselves, as a server would."""
    picture = np.asarray(run.pictures[0])
    (w,) = sessions["encoder"].run(picture[None])
    w_star, logits = sessions[flow(space, run.resolution).name].run(w)
    (image,) = sessions["generator"].run(w)
    return Golden(
        image_png=encode(picture, "PNG"),
        w_star=np.asarray(w_star[0], np.float32),
        logits=np.asarray(logits[0], np.float32),
        generated_png=encode(reduced(np.asarray(image[0], np.uint8), GENERATED_SIDE), "PNG"),
        tolerance=BOUNDS[sessions["encoder"].precision].golden,
    )


def _manifest(
    run: Run,
    space: Space,
    space_id: str,
    answer: Golden,
    card: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> SpaceManifest:
    read_out = run.read_outs[space]
    gram, biases = _hyperplanes(read_out.classifiers)
    return SpaceManifest(
        space=space,
        space_id=space_id,
        resolution=run.resolution,
        encoder_side=run.encoder_side,
        attributes=ATTRIBUTES,
        norms=np.sqrt(gram.diagonal()),
        biases=biases,
        gram=gram,
        quantiles=read_out.quantiles,
        perceptual_scale=read_out.perceptual_scale,
        golden=answer,
        evaluation=read_out.evaluation,
        tolerance_card=card,
        labels=read_out.labels,
    )


def _hyperplanes(read_out: Classifiers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A·Aᵀ and b of the served matrix, float64 (K, K) and (K,)."""
    weight = read_out.weight.double()
    gram = (weight @ weight.T).numpy()
    # Summed in two orders, the halves differ in their last bits.
    return (gram + gram.T) / 2, read_out.bias.double().numpy()


def _of_space(
    card: Mapping[str, Mapping[str, Mapping[str, float]]], run: Run, space: Space
) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """The part of the card that concerns a space: its graphs, the encoder and the generator."""
    names = [
        encoder(run.resolution, run.encoder_side).name,
        *(graph(space, run.resolution).name for graph in (flow, flow_inverse, classifiers)),
        generator(run.resolution).name,
    ]
    return {name: card[name] for name in names}
