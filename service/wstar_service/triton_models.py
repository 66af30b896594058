"""What a Triton server says of its models, compared with the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, Space, flow_name
from wstar.space import MANIFEST_PARAMETER, SpaceManifest
from wstar_service.contract import Found, check_tensors

_DTYPES = {"UINT8": "uint8", "FP32": "float32"}
_FREE = -1
_PARAMETER = f"parameter {MANIFEST_PARAMETER}"


@dataclass(frozen=True)
class Model:
    """A live model; two that are equal are taken for the same.

    version: the newest that is ready, which is the one asked from then on.
    manifest: the JSON text in the configuration of a flow, None without one.
    """

    name: str
    version: str
    max_batch: int
    inputs: tuple[Found, ...]
    outputs: tuple[Found, ...]
    manifest: str | None

    @classmethod
    def read(cls, metadata: Any, config: Any) -> Model:  # noqa: ANN401
        """Read a ModelMetadataResponse and a ModelConfigResponse of one model."""
        parameters = config.config.parameters
        manifest = None
        if MANIFEST_PARAMETER in parameters:
            manifest = parameters[MANIFEST_PARAMETER].string_value
        return cls(
            metadata.name,
            max(metadata.versions, key=int, default=""),
            config.config.max_batch_size,
            _tensors(metadata.inputs),
            _tensors(metadata.outputs),
            manifest,
        )

    def check(self, spec: GraphSpec) -> None:
        """Compare with the contract; raises ContractMismatch."""
        check_tensors(spec.name, "input", spec.inputs, self.inputs)
        check_tensors(spec.name, "output", spec.outputs, self.outputs)
        if self.max_batch != spec.max_batch:
            raise ContractMismatch(spec.name, "max_batch_size", spec.max_batch, self.max_batch)


def manifests_of(models: Mapping[str, Model]) -> dict[Space, SpaceManifest]:
    """Read the manifest of each space out of its flow; raises ContractMismatch."""
    found = {}
    for space in Space:
        flow = flow_name(space)
        text = models[flow].manifest
        if text is None:
            raise ContractMismatch(flow, _PARAMETER, "a space manifest", "nothing")
        found[space] = SpaceManifest.from_json(text, f"{flow}, {_PARAMETER}")
    return found


def _tensors(found: Any) -> tuple[Found, ...]:  # noqa: ANN401
    return tuple(
        Found(
            tensor.name,
            _DTYPES.get(tensor.datatype, tensor.datatype),
            tuple(None if side == _FREE else int(side) for side in tensor.shape),
        )
        for tensor in found
    )
