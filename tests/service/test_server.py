"""What the server does around the calls: readiness, health, metrics, deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from tests.service.conftest import FakeRunner, World
from tests.service.stumbling import stumbled

import wstar
from wstar.errors import ContractMismatch
from wstar.graphs import Space
from wstar.images import encode
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.golden import check_golden
from wstar_service.runner import Array
from wstar_service.server import Server
from wstar_service.settings import Address, Settings

if TYPE_CHECKING:
    from tests.service.conftest import Running

SERVICE = "wstar.v1.LatentSpaceService"


async def health(running: Running, service: str = "") -> str:
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def test_not_serving_until_the_golden_requests_are_reproduced(world: World) -> None:
    async def scenario() -> None:
        async with world.serving(ready=False) as running:
            assert await health(running) == await health(running, SERVICE) == "NOT_SERVING"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.GetInfo(pb.GetInfoRequest())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await running.server.make_ready(running.runner)
            assert await health(running) == await health(running, SERVICE) == "SERVING"
            await running.stub.GetInfo(pb.GetInfoRequest())

    asyncio.run(scenario())


@pytest.mark.parametrize("spoiled", [1e-3, float("nan")])
@pytest.mark.parametrize(
    ("graph", "tensor"),
    [("encoder", "w_star"), ("flow_id", "w_star"), ("classifiers_plus", "logits")],
)
def test_another_answer_to_the_golden_request_is_refused(
    world: World, graph: str, tensor: str, spoiled: float
) -> None:
    async def scenario() -> ContractMismatch:
        async with world.serving(ready=False) as running:
            running.runner.spoiled = {graph: spoiled}
            with pytest.raises(ContractMismatch) as caught:
                await running.server.make_ready(running.runner)
            assert await health(running) == "NOT_SERVING"
            return caught.value

    error = asyncio.run(scenario())
    assert error.graph == {"encoder": "flow"}.get(graph, graph)
    assert error.tensor == f"{tensor} of the golden request"
    assert "(0.0001 standard deviations)" in str(error.expected)
    assert str(error.found) in ("0.001 off", "0.002 off", "nan off")


@dataclass
class Faulty(FakeRunner):
    """A runner whose manifests of W_STAR_ID or whose graphs were tampered with."""

    change: Callable[[SpaceManifest], SpaceManifest] = lambda manifest: manifest
    names: Mapping[str, str] | None = None

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """The manifests of the world, one changed."""
        found = dict(await super().manifests())
        found[Space.W_STAR_ID] = self.change(found[Space.W_STAR_ID])
        return found

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Answer with the graph that has taken the place of another."""
        return await super().run(
            *((self.names or {}).get(graph, graph) for graph in graphs), **arrays
        )


def golden(**parts: bytes) -> Callable[[SpaceManifest], SpaceManifest]:
    return lambda found: replace(found, golden=replace(found.golden, **parts))  # type: ignore[arg-type]


def turned(found: SpaceManifest) -> SpaceManifest:
    """Norms that are right, cosines that are not."""
    gram = found.gram.copy()
    gram[0, 1] = gram[1, 0] = 0.0
    return replace(found, gram=gram)


SWAPPED = {"flow_inverse": "flow_id_inverse", "flow_id_inverse": "flow_inverse"}
STEPS = "logits after one step per attribute"


@pytest.mark.parametrize(
    ("fault", "graph", "tensor"),
    [
        ({"names": SWAPPED}, "flow_inverse", "w of the golden request"),
        ({"spoiled": {"flow_plus_inverse": 0.01}}, "flow_plus_inverse", "w of the golden request"),
        ({"spoiled": {"generator": 3.0}}, "generator", "image of the golden code"),
        (
            {"change": lambda found: replace(found, gram=found.gram * 4, norms=found.norms * 2)},
            "flow_id_inverse",
            STEPS,
        ),
        ({"change": turned}, "flow_id_inverse", STEPS),
        (
            {"change": lambda found: replace(found, biases=found.biases + 0.01)},
            "classifiers_id",
            "logits at zero",
        ),
        ({"change": golden(image_png=b"")}, "flow_id", "golden.image_png of space.json"),
        ({"change": golden(generated_png=b"")}, "flow_id", "golden.generated_png of space.json"),
        (
            {"change": golden(generated_png=encode(np.zeros((16, 16, 3), np.uint8), "PNG"))},
            "flow_id",
            "golden.generated_png of space.json",
        ),
    ],
)
def test_every_graph_and_the_whole_manifest_are_proved(
    world: World, fault: dict[str, Any], graph: str, tensor: str
) -> None:
    async def scenario() -> None:
        runner = Faulty(world, **fault)
        await check_golden(runner, await runner.manifests())

    with pytest.raises(ContractMismatch) as caught:
        asyncio.run(scenario())
    assert (caught.value.graph, caught.value.tensor) == (graph, tensor)


def test_an_attribute_that_a_space_cannot_tell_moves_nothing(world: World) -> None:
    world.a[7] = 0.0

    async def scenario() -> None:
        runner = FakeRunner(world)
        await check_golden(runner, await runner.manifests())

    asyncio.run(scenario())


def test_bytes_that_are_no_message_are_refused(world: World) -> None:
    async def scenario() -> grpc.aio.AioRpcError:
        async with world.serving() as running:
            call = running.channel.unary_unary(f"/{SERVICE}/Embed", bytes, bytes)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff\xff\xff")
            await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
            return caught.value

    error = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(error.details()).startswith("request: found 'bytes'")


def test_a_shared_port_is_opened_when_ready(world: World) -> None:
    """The system would give connections to a server that answers nothing yet."""

    async def scenario() -> None:
        settings = Settings(Path(), listen=Address("127.0.0.1", 0), reuse_port=True, grace_s=1.0)
        server = Server(settings)
        try:
            assert server.address is None
            await server.make_ready(FakeRunner(world))
            async with grpc.aio.insecure_channel(str(server.address)) as channel:
                stub: Any = LatentSpaceServiceStub(channel)
                await stub.GetInfo(pb.GetInfoRequest())
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_reflection_lists_the_service_unless_switched_off(world: World) -> None:
    async def scenario(reflection: bool) -> list[str]:
        async with world.serving(reflection=reflection) as running:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            async for reply in stub.ServerReflectionInfo(iter([request])):
                return [service.name for service in reply.list_services_response.service]
            return []

    def refused() -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            asyncio.run(scenario(False))
        return refused() if stumbled(caught.value) else caught.value

    assert SERVICE in asyncio.run(scenario(True))
    assert refused().code() is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_count_calls_faces_refusals_and_time(world: World) -> None:
    async def scenario() -> CollectorRegistry:
        async with world.serving(max_batch=2) as running:
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face(), world.code(51)]))
            for faces in ([], [world.code(51)] * 3):
                with pytest.raises(grpc.aio.AioRpcError):
                    await running.stub.Embed(pb.EmbedRequest(faces=faces))
            return running.server.metrics.registry

    found = asyncio.run(scenario()).get_sample_value
    count = "wstar_request_duration_seconds_count"
    assert found(count, {"method": "Embed", "code": "OK"}) == 1
    assert found(count, {"method": "Embed", "code": "INVALID_ARGUMENT"}) == 1
    assert found(count, {"method": "Embed", "code": "RESOURCE_EXHAUSTED"}) == 1
    assert found("wstar_refused_total", {"reason": "INVALID_INPUT"}) == 1
    assert found("wstar_refused_total", {"reason": "LIMIT_EXCEEDED"}) == 1
    assert found("wstar_faces_total", {"method": "Embed"}) == 2
    assert found("wstar_in_flight_calls") == 0
    assert found("wstar_stage_duration_seconds_count", {"stage": "decode"}) == 1
    space = {"space": "W_STAR_ID", "space_id": "w_star_id-test"}
    assert found("wstar_space_info", space) == 1
    assert found("wstar_build_info", {"version": wstar.__version__, "runner": "fake"}) == 1


def test_one_line_per_call_with_the_caller_s_request_id(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstar.calls")

    async def scenario() -> str:
        async with world.serving() as running:
            request = pb.EmbedRequest(faces=[world.code(51)])
            call = running.stub.Embed(request, metadata=(("x-request-id", "abc-1"),))
            await call
            forged = running.stub.Embed(request, metadata=(("x-request-id", "a b"),))
            await forged
            assert dict(await call.trailing_metadata())["x-request-id"] == "abc-1"
            return str(dict(await forged.trailing_metadata())["x-request-id"])

    made_up = asyncio.run(scenario())
    facts = [vars(record) for record in caplog.records]
    assert [line["request_id"] for line in facts] == ["abc-1", made_up]
    assert made_up != "a b"
    for line in facts:
        assert (line["msg"], line["method"], line["code"]) == ("call", "Embed", "OK")
        assert line["faces"] == 1 and line["duration_ms"] > 0.0


def test_work_of_a_caller_who_has_gone_is_not_started(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstar.calls")

    async def scenario() -> list[tuple[str, int]]:
        async with world.serving() as running:
            running.runner.gate.clear()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                request = pb.EmbedRequest(faces=[world.face()])
                await running.stub.Embed(request, timeout=0.1)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            while not caplog.records:
                await asyncio.sleep(0.01)
            running.runner.gate.set()
            await asyncio.sleep(0.05)
            return list(running.runner.calls)

    assert asyncio.run(scenario()) == []
    (record,) = caplog.records
    assert vars(record)["code"] == "DEADLINE_EXCEEDED"


def test_a_message_above_the_limit_is_refused(world: World) -> None:
    async def scenario() -> grpc.StatusCode:
        async with world.serving(max_message_bytes=20_000) as running:
            await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)] * 2))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)] * 3))
            return caught.value.code()

    assert asyncio.run(scenario()) is grpc.StatusCode.RESOURCE_EXHAUSTED
