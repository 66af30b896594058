"""The manifest of a space: what a code means, and how to check that a server agrees.

Export writes one manifest per space, as JSON inside the `parameters` of the space's flow
configuration and as `space.json` beside it, so that a service needs only Triton's address.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch, InvalidInput
from wstar.graphs import CONTRACT_VERSION, W_DIM, GraphSpec, Space, flow_name, graphs, n_latent

MANIFEST_PARAMETER = "wstar_space"
# The key under which an ONNX file of a space carries the space's id.
SPACE_ID_STAMP = "wstar_space_id"
QUANTILES = 101
GENERATED_SIDE = 64
# Above it the golden request would let other models pass.
MAX_TOLERANCE = 0.05

Kind = TypeVar("Kind")


def space_id(space: Space, parts: Iterable[bytes]) -> str:
    """Name a coordinate system by its content.

    `parts` are the bytes of encoder weights, flow weights, hyperplanes and preprocessing, in
    that order; any change of one of them is another space.
    """
    digest = hashlib.sha256(f"{CONTRACT_VERSION}/{space.value}".encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return f"{space.value.lower()}-{digest.hexdigest()[:16]}"


@dataclass(frozen=True)
class Golden:
    """A request and the answer a faithful server gives.

    image_png: an aligned picture of `encoder_side` px, PNG bytes.
    w_star: float32 (n, 512), the code in this space.
    logits: float32 (K,), calibrated.
    generated_png: G(w) of the same face, averaged over boxes to at most 64 px a side so that it
    stays small at any resolution, PNG bytes.
    tolerance: largest accepted |difference| over the standard deviation of `w_star` (and of
    `logits`), for the precision served; above 0, at most 0.05.
    """

    image_png: bytes
    w_star: NDArray[np.float32]
    logits: NDArray[np.float32]
    generated_png: bytes
    tolerance: float


@dataclass(frozen=True)
class SpaceManifest:
    """Everything a service must know of a space (design: the space manifest).

    norms, biases, gram: float64 (K,), (K,), (K, K): ‖a_k‖, b_k and A·Aᵀ of the served read-out
    ℓ(w_star) = A·w_star + b, whose sigmoid is a probability.
    quantiles: float64 (101,), squared distance of reference pairs at 0, 1, ... 100 %.
    perceptual_scale: factor of the perceptual distance T was trained on.
    evaluation: measured figures, name to number.
    tolerance_card: graph, then precision, then measured parity with torch, name to number.
    labels: what the models are (`demo world`, names of checkpoints); shown by `GetInfo`.
    """

    space: Space
    space_id: str
    resolution: int
    encoder_side: int
    attributes: tuple[str, ...]
    norms: NDArray[np.float64]
    biases: NDArray[np.float64]
    gram: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    perceptual_scale: float
    golden: Golden
    evaluation: Mapping[str, float] = field(default_factory=dict)
    tolerance_card: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a manifest whose parts do not fit together."""
        attributes = len(self.attributes)
        expected = {
            "norms": (attributes,),
            "biases": (attributes,),
            "gram": (attributes, attributes),
            "quantiles": (QUANTILES,),
        }
        for name, shape in expected.items():
            array: NDArray[np.float64] = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise InvalidInput(name, f"shape {array.shape}", f"finite numbers of shape {shape}")
        if not np.allclose(self.norms**2, np.diag(self.gram), rtol=1e-6):
            raise InvalidInput("norms", "another matrix than gram", "square roots of its diagonal")
        if (np.diff(self.quantiles) < 0).any() or self.quantiles[0] < 0:
            raise InvalidInput("quantiles", "a decreasing list", "0 or more, never decreasing")
        code = (self.n, W_DIM)
        if self.golden.w_star.shape != code:
            raise InvalidInput("golden.w_star", f"shape {self.golden.w_star.shape}", f"{code}")
        if self.golden.logits.shape != (attributes,):
            raise InvalidInput(
                "golden.logits", f"shape {self.golden.logits.shape}", f"{(attributes,)}"
            )
        if not 0.0 < self.golden.tolerance <= MAX_TOLERANCE:
            raise InvalidInput(
                "golden.tolerance", self.golden.tolerance, f"above 0, at most {MAX_TOLERANCE}"
            )

    @property
    def n(self) -> int:
        """Rows of a code."""
        return n_latent(self.resolution)

    def to_json(self) -> str:
        """Write the manifest as JSON; arrays of codes as base64 of little-endian float32."""
        return json.dumps(
            {
                "contract_version": CONTRACT_VERSION,
                "space": self.space.value,
                "space_id": self.space_id,
                "resolution": self.resolution,
                "encoder_side": self.encoder_side,
                "attributes": list(self.attributes),
                "norms": self.norms.tolist(),
                "biases": self.biases.tolist(),
                "gram": self.gram.tolist(),
                "quantiles": self.quantiles.tolist(),
                "perceptual_scale": self.perceptual_scale,
                "golden": {
                    "image_png": _base64(self.golden.image_png),
                    "w_star": _base64(self.golden.w_star.astype("<f4").tobytes()),
                    "logits": _base64(self.golden.logits.astype("<f4").tobytes()),
                    "generated_png": _base64(self.golden.generated_png),
                    "tolerance": self.golden.tolerance,
                },
                "evaluation": dict(self.evaluation),
                "tolerance_card": {
                    graph: {precision: dict(figures) for precision, figures in card.items()}
                    for graph, card in self.tolerance_card.items()
                },
                "labels": dict(self.labels),
            }
        )

    @classmethod
    def from_json(cls, text: str, source: str) -> SpaceManifest:
        """Read a manifest written by `to_json`; `source` names it in errors.

        Raises
        ------
        ContractMismatch: another contract version, a missing key or a value of the wrong kind.
        """
        try:
            found = json.loads(text)
            if found["contract_version"] != CONTRACT_VERSION:
                raise ContractMismatch(
                    source, "contract_version", CONTRACT_VERSION, found["contract_version"]
                )
            return cls._from_fields(found)
        except (KeyError, TypeError, ValueError, OverflowError, InvalidInput) as error:
            raise ContractMismatch(
                source, "manifest", "a complete space manifest", f"{type(error).__name__}: {error}"
            ) from error

    @classmethod
    def _from_fields(cls, found: dict[str, Any]) -> SpaceManifest:
        golden = found["golden"]
        code = (n_latent(_of(int, found["resolution"], "resolution")), W_DIM)
        return cls(
            space=Space(found["space"]),
            space_id=_of(str, found["space_id"], "space_id"),
            resolution=_of(int, found["resolution"], "resolution"),
            encoder_side=_of(int, found["encoder_side"], "encoder_side"),
            attributes=tuple(_of(str, name, "attributes") for name in found["attributes"]),
            norms=np.asarray(found["norms"], np.float64),
            biases=np.asarray(found["biases"], np.float64),
            gram=np.asarray(found["gram"], np.float64),
            quantiles=np.asarray(found["quantiles"], np.float64),
            perceptual_scale=float(found["perceptual_scale"]),
            golden=Golden(
                image_png=base64.b64decode(golden["image_png"], validate=True),
                w_star=_float32(golden["w_star"]).reshape(code),
                logits=_float32(golden["logits"]),
                generated_png=base64.b64decode(golden["generated_png"], validate=True),
                tolerance=float(golden["tolerance"]),
            ),
            evaluation=_numbers(found["evaluation"], "evaluation"),
            tolerance_card={
                graph: {
                    precision: _numbers(figures, "tolerance_card")
                    for precision, figures in _of(dict, card, "tolerance_card").items()
                }
                for graph, card in _of(dict, found["tolerance_card"], "tolerance_card").items()
            },
            labels={
                name: _of(str, label, f"labels.{name}")
                for name, label in _of(dict, found["labels"], "labels").items()
            },
        )


def agreed_graphs(manifests: Mapping[Space, SpaceManifest], source: str) -> tuple[GraphSpec, ...]:
    """Return the graphs that the manifests of all spaces describe together.

    source: what a message calls a manifest.

    Raises
    ------
    ContractMismatch: they disagree about space, resolution, encoder side or attributes.
    """
    first = manifests[Space.W_STAR]
    for space, manifest in manifests.items():
        for name, expected in (
            ("space", space),
            ("resolution", first.resolution),
            ("encoder_side", first.encoder_side),
            ("attributes", ATTRIBUTES),
        ):
            found = getattr(manifest, name)
            if found != expected:
                raise ContractMismatch(flow_name(space), f"{source} {name}", expected, found)
    return graphs(first.resolution, first.encoder_side)


_KINDS: Mapping[type, str] = {str: "a text", int: "a whole number", dict: "an object"}


def _of(kind: type[Kind], value: object, name: str) -> Kind:
    # JSON's true is an int in Python.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidInput(name, value, _KINDS[kind])
    return value


def _numbers(values: object, name: str) -> dict[str, float]:
    found = _of(dict, values, name)
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(f"{name}.{key}", value, "a number")
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _float32(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
