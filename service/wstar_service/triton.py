"""Runs the graphs on a Triton server: with its client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeVar

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from wstar.errors import ContractMismatch, DeadlineExceeded, RunnerUnavailable
from wstar.graphs import GraphSpec, Space, flow_name
from wstar.space import SpaceManifest, agreed_graphs
from wstar_service.contract import OPTIONAL_GRAPH, joined, not_served, parts
from wstar_service.runner import Array, Observer, remaining_s
from wstar_service.settings import Address
from wstar_service.stages import stage
from wstar_service.triton_errors import failure
from wstar_service.triton_finishing import Finishing
from wstar_service.triton_models import Model, manifests_of
from wstar_service.triton_regions import Regions, same_host
from wstar_service.triton_tensors import given, taken, wanted

Reply = TypeVar("Reply")

# Pictures are bytes, and codes are not: a code is too small for shared memory to pay.
_PICTURE = "uint8"
_LOOK_EVERY_S = 2.0
_LOOK_S = 5.0
# A busy machine may answer late once or twice.
_LATE_LOOKS = 3
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A Triton that returns is to be found soon, whatever other channels to it have met.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class TritonRunner:
    """A connection to one Triton server whose models were compared with the contract.

    Each run names the version that was compared, and the server is looked at every 2 s: when it
    is gone, a version, tensor or manifest changed, the generator came or went, or a model that
    failed fails again, `lost` returns and no run is answered any more: open another runner then.
    """

    def __init__(
        self,
        wire: Wire,
        models: Mapping[str, Model],
        manifests: Mapping[Space, SpaceManifest],
        specs: Sequence[GraphSpec],
        *,
        shared_memory: bool,
        observer: Observer | None = None,
    ) -> None:
        self._wire = wire
        self._models = models
        self._manifests = manifests
        self._specs = {spec.name: spec for spec in specs}
        self._observer = observer
        self._regions = Regions(wire, usable=shared_memory and same_host(wire.target.host))
        self._doubted: set[str] = set()
        self._watch = asyncio.ensure_future(self._watched())

    @classmethod
    async def open(
        cls, target: Address, shared_memory: bool, *, observer: Observer | None = None
    ) -> TritonRunner:
        """Connect, read the manifests of all spaces, and compare every model.

        A Triton that has no model `generator` ready is served without it.

        shared_memory: whether pictures pass through it when Triton answers on this host.
        observer: is told of every request that Triton answered.

        Raises
        ------
        ContractMismatch: a model or manifest is missing, is not that of the contract, or the
            spaces disagree.
        RunnerUnavailable, DeadlineExceeded: Triton does not answer.
        """
        wire = Wire(target)
        try:
            await wire.greet()
            models = await wire.models([flow_name(space) for space in Space])
            manifests = manifests_of(models)
            specs = agreed_graphs(manifests, "manifest")
            models |= await wire.models([s.name for s in specs if s.name not in models])
            for spec in specs:
                if spec.name in models:
                    models[spec.name].check(spec)
            return cls(
                wire, models, manifests, specs, shared_memory=shared_memory, observer=observer
            )
        except BaseException:
            await wire.close()
            raise

    @property
    def description(self) -> str:
        """Engine and version."""
        return f"Triton {self._wire.version}"

    @property
    def graphs(self) -> frozenset[str]:
        """Names of the graphs served."""
        return frozenset(self._models)

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """Return the manifest of each space."""
        return self._manifests

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Run graphs, each on the outputs of the one before, in parts of at most its `max_batch`.

        Raises
        ------
        RunnerUnavailable: Triton is lost, or the model failed or is not served.
        ContractMismatch: an output of another type or shape.
        Overloaded, DeadlineExceeded: Triton's queue is full, or it would answer too late.
        """
        found: dict[str, Array] = {}
        for graph in graphs:
            arrays = await self._run(graph, arrays)
            found |= arrays
        return found

    async def lost(self) -> str:
        """Return, saying why, when Triton is gone or serves something else."""
        return await asyncio.shield(self._wire.lost)

    async def close(self) -> None:
        """Let go of shared memory and the connection; a run in progress ends unavailable."""
        self._wire.lose("it was closed")
        self._watch.cancel()
        self._wire.abandon()
        await self._regions.close()
        await self._wire.close()

    async def _run(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if graph not in self._models:
            raise not_served(graph)
        spec = self._specs[graph]
        try:
            with stage(graph):
                found = [await self._infer(spec, p) for p in parts(arrays, spec.max_batch)]
            return joined(found)
        except RunnerUnavailable:
            self._doubted.add(graph)
            raise

    async def _infer(self, spec: GraphSpec, arrays: Mapping[str, Array]) -> dict[str, Array]:
        batch = len(arrays[spec.inputs[0].name])
        async with AsyncExitStack() as held:
            regions = {
                tensor.name: await held.enter_async_context(
                    self._regions.lent(batch * math.prod(tensor.shape))
                )
                for tensor in (*spec.inputs, *spec.outputs)
                if tensor.dtype == _PICTURE
            }
            model = self._models[spec.name]
            inputs = [given(t, arrays[t.name], regions.get(t.name)) for t in spec.inputs]
            outputs = [wanted(t, batch, regions.get(t.name)) for t in spec.outputs]
            reply = await self._wire.infer(model, inputs, outputs)
            found = {
                t.name: taken(spec.name, t, batch, reply, regions.get(t.name)) for t in spec.outputs
            }
        if self._observer is not None:
            self._observer.ran(spec.name, batch)
        return found

    async def _watched(self) -> None:
        late = 0
        while not self._wire.lost.done():
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._look()
                late = 0
            except DeadlineExceeded as error:
                late += 1
                if late >= _LATE_LOOKS:
                    self._wire.lose(str(error))
            except Exception as error:  # A look that fails for any reason is no look.
                self._wire.lose(str(error))

    async def _look(self) -> None:
        models = await self._wire.models(list(self._specs))
        changed = [name for name in self._specs if models.get(name) != self._models.get(name)]
        if changed:
            self._wire.lose(f"changed: {', '.join(changed)}")
        # Triton says ready of a model whose backend process has died. One failure may have been
        # the fault of its inputs; zeros are nobody's fault.
        for graph in list(self._doubted):
            zeros = {t.name: np.zeros((1, *t.shape), t.dtype) for t in self._specs[graph].inputs}
            await self.run(graph, **zeros)
            self._doubted.discard(graph)


class Wire:
    """The client, with deadlines, the errors of `wstar.errors`, and the news that it is lost."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.version = "of unknown version"
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._client = InferenceServerClient(str(target), channel_args=_CHANNEL)
        self._asked: set[asyncio.Future[Any]] = set()
        self._finishing = Finishing()

    def lose(self, why: str) -> None:
        """Answer no run any more."""
        if not self.lost.done():
            self.lost.set_result(why)

    async def greet(self) -> None:
        """Ask for the version of the server; raises RunnerUnavailable, DeadlineExceeded."""
        answer = await self._answer(
            f"the server at {self.target}",
            self._client.get_server_metadata(client_timeout=_LOOK_S),
        )
        self.version = str(answer.version)

    async def models(self, names: Sequence[str]) -> dict[str, Model]:
        """Ask for what Triton says of its models; raises ContractMismatch for one it has not
        ready, and leaves that out if it is the optional one.
        """
        found = await _all(self._model(name) for name in names)
        return {model.name: model for model in found if model is not None}

    async def infer(
        self,
        model: Model,
        inputs: Sequence[InferInput],
        outputs: Sequence[InferRequestedOutput],
    ) -> Any:  # noqa: ANN401
        """Run a model, telling Triton how long the caller waits."""
        left = remaining_s()
        if self.lost.done():
            raise RunnerUnavailable(f"Triton at {self.target} is lost: {self.lost.result()}")
        if left is not None and left <= 0.0:
            raise DeadlineExceeded(f"the deadline passed before graph {model.name!r} ran")
        given: dict[str, Any] = {"model_version": model.version, "outputs": outputs}
        given["timeout"] = None if left is None else math.ceil(1e6 * left)
        what, ask = f"graph {model.name!r}", partial(self._client.infer, model.name, inputs)
        return await self._answer(what, self._finishing.waited(what, partial(ask, **given), left))

    async def register(self, name: str, size: int) -> None:
        """Let Triton map the region `name`; raises WstarError."""
        asked = self._client.register_system_shared_memory(
            name, f"/{name}", size, client_timeout=_LOOK_S
        )
        # No reason to doubt the models: another host or another user cannot open it.
        await self._answer(f"shared memory {name}", asked, telling=False)

    async def unregister(self, name: str) -> bool:
        """Let Triton unmap a region; False while a request uses it."""
        asked = self._client.unregister_system_shared_memory(name, client_timeout=_LOOK_S)
        try:
            await asked
        except InferenceServerException as error:
            return "in use" not in (error.message() or "")
        return True

    def abandon(self) -> None:
        """Let whoever waits for an answer go without."""
        for asked in self._asked:
            asked.cancel()

    async def close(self) -> None:
        """End the connection, after what is under way if that is soon."""
        await self._finishing.rest(_LOOK_S)
        await self._client.close()

    async def _model(self, name: str) -> Model | None:
        try:
            return Model.read(
                *await _all(
                    ask(name, client_timeout=_LOOK_S)
                    for ask in (self._client.get_model_metadata, self._client.get_model_config)
                )
            )
        except InferenceServerException as error:
            if error.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"):
                if name == OPTIONAL_GRAPH:
                    return None
                text = error.message()
                raise ContractMismatch(name, "model", "a model that is ready", text) from error
            raise failure(f"graph {name!r}", error.status(), error.message()).error from error

    async def _answer(self, what: str, asked: Awaitable[Reply], *, telling: bool = True) -> Reply:
        waiting = asyncio.ensure_future(asked)
        self._asked.add(waiting)
        waiting.add_done_callback(self._asked.discard)
        try:
            return await waiting
        except InferenceServerException as error:
            found = failure(what, error.status(), error.message())
            if found.lost and telling:
                self.lose(str(found.error))
            raise found.error from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # It is not the caller who went away.
            raise RunnerUnavailable(f"{what}: the connection to Triton was closed") from None


async def _all(asked: Iterable[Awaitable[Any]]) -> list[Any]:
    """Wait for all answers, then raise the first error among them.

    One that was left would be cancelled by a closing connection, which can end tritonserver 2.51.
    """
    found = await asyncio.gather(*asked, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
