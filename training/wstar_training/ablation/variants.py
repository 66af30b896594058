"""The variants of T that the paper compares, and a few more: each a change of a study's settings.

What variants of one space share - steps, batch, rate, coordinates - is the study's, so that these
differ in what their name says and in nothing else. Settings of the two spaces may differ in more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.loop import load_flow
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Readout
from wstar_training.study.flow import fitted_classifiers, train_flow
from wstar_training.study.stages import Study

Source = Literal["fitted", "random", "one random layer"]


@dataclass(frozen=True)
class Variant:
    """A row of the paper's tables, or one beside them.

    name: short, fit for a folder. says: what differs in it.
    space: whose settings it starts from: W_STAR (eq. 3) or W_STAR_ID (eq. 5).
    couplings: how many. changes: other settings of `FlowOptions` that are not the study's.
    classifiers: where C comes from, which is frozen in any case.
    ours: the paper does not have it.
    """

    name: str
    says: str
    space: Space
    couplings: int
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    classifiers: Source = "fitted"
    ours: bool = False

    def options(self, study: Study, seed: int) -> FlowOptions:
        """The study's settings with what this variant changes."""
        return replace(
            study.flow_options[self.space], couplings=self.couplings, seed=seed, **self.changes
        )


# Stages whose files variants are trained from.
VARIANTS_NEED = ("features.pt", "classifiers.pt")

_LARGE, _SMALL, _SMALL_OF_TABLE_3 = 13, 3, 4
_ATTRIBUTES_ONLY = {"distance_weight": 0.0}
_ALTERNATING, _BOUNDED = {"masks": "alternating"}, {"tanh_t": True}


def _weight(identity: float) -> Mapping[str, float]:
    return {"identity_weight": identity}


VARIANTS = (
    Variant("H", "high capacity: 13 couplings", Space.W_STAR, _LARGE),
    Variant("L3", "low capacity: 3 couplings (Table 2)", Space.W_STAR, _SMALL),
    Variant(
        "L4", "low capacity: 4 couplings (section 7.3, Table 3)", Space.W_STAR, _SMALL_OF_TABLE_3
    ),
    Variant("R", "random classifiers", Space.W_STAR, _LARGE, classifiers="random"),
    Variant(
        "1R",
        "one random layer for all attributes",
        Space.W_STAR,
        _LARGE,
        classifiers="one random layer",
    ),
    Variant("A", "attributes only: no distance loss", Space.W_STAR, _LARGE, _ATTRIBUTES_ONLY),
    Variant("ID1", "identity loss, weight 1", Space.W_STAR_ID, _SMALL, _weight(1.0)),
    Variant("ID01", "identity loss, weight 0.1", Space.W_STAR_ID, _SMALL, _weight(0.1)),
    Variant(
        "ID_R", "identity loss, random classifiers", Space.W_STAR_ID, _SMALL, _weight(1.0), "random"
    ),
    Variant(
        "ID0", "settings of ID1, no identity loss", Space.W_STAR_ID, _SMALL, _weight(0.0), ours=True
    ),
    Variant("ID10", "identity loss, weight 10", Space.W_STAR_ID, _SMALL, _weight(10.0), ours=True),
    Variant("H_alt", "masks that alternate", Space.W_STAR, _LARGE, _ALTERNATING, ours=True),
    Variant("H_tanh", "t bounded by tanh", Space.W_STAR, _LARGE, _BOUNDED, ours=True),
)


def variant(name: str) -> Variant:
    """The variant of a name.

    Raises
    ------
    InvalidInput: there is none.
    """
    for one in VARIANTS:
        if one.name == name:
            return one
    raise InvalidInput("variant", name, ", ".join(one.name for one in VARIANTS))


def train_variant(study: Study, variant: Variant, seed: int, folder: Path) -> Flow:
    """Train a variant in a folder of its own; a killed one goes on, a complete one is read.

    The files of `VARIANTS_NEED` must be there. Raises InvalidInput for a complete one of other
    settings.
    """
    path, options = folder / "flow.pt", variant.options(study, seed)
    if study.group.agreed(path.exists()):
        check_options(path, options)
        return load_flow(path)
    return train_flow(study, path, options, _classifiers(study, variant, seed))


def check_options(path: Path, options: FlowOptions) -> None:
    """Raise InvalidInput if a complete T was trained with other settings than these."""
    found = checkpoint.load(path).get("options", {})
    for name, value in asdict(options).items():
        if found.get(name) != value:
            allowed = f"{value}; delete the folder to train it again"
            raise InvalidInput(f"{name} of {path}", found.get(name), allowed)


def _classifiers(study: Study, variant: Variant, seed: int) -> Readout:
    """C of a variant, on the coordinates that T acts on."""
    fitted = fitted_classifiers(study)
    if variant.classifiers == "fitted":
        return fitted
    attributes, dim = fitted.weight.shape
    return random_classifiers(attributes, dim, seed, each=variant.classifiers == "random")


def random_classifiers(attributes: int, dim: int, seed: int, each: bool) -> Readout:
    """C drawn instead of fitted.

    Weights are normal with variance 1/dim, and biases 0: coordinates have variance 1 on average,
    so logits have it too, and every face starts out uncertain.

    Parameters
    ----------
    each: draw a layer of one output for every attribute, from a random stream of its own; else one
    layer for all of them, from one stream. As maps the two are of one kind; the paper has both.
    """
    if each:
        streams = [np.random.default_rng([seed, k]) for k in range(attributes)]
        weight = np.stack([stream.standard_normal(dim) for stream in streams])
    else:
        weight = np.random.default_rng([seed, attributes]).standard_normal((attributes, dim))
    return Readout(weight / np.sqrt(dim), np.zeros(attributes))
