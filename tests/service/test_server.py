"""What the server does around the calls: readiness, health, metrics, deadlines, stopping."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.service.conftest import FakeRunner, World

from wstar.errors import ContractMismatch
from wstar.graphs import Space
from wstar.images import encode
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service.golden import check_golden
from wstar_service.runner import Array
from wstar_service.settings import Address

if TYPE_CHECKING:
    from tests.service.conftest import Running

SERVICE = "wstar.v1.LatentSpaceService"


async def health(running: Running, service: str = "") -> str:
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def scrape(address: Address | None) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


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

    async def run(self, graph: str, **arrays: Array) -> dict[str, Array]:
        """Answer with the graph that has taken the place of another."""
        return await super().run((self.names or {}).get(graph, graph), **arrays)


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


def test_calls_take_turns_at_pictures(world: World) -> None:
    """Many pictures of one call do not hold up the one picture of another."""

    async def scenario() -> int:
        async with world.serving() as running:
            many = pb.EmbedRequest(faces=[world.face()] * 64)
            slow = asyncio.ensure_future(running.stub.Embed(many))
            await asyncio.sleep(0.005)
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            first = running.runner.calls[0][1]
            await slow
            return first

    assert asyncio.run(scenario()) == 1


def test_reflection_lists_the_service_unless_switched_off(world: World) -> None:
    async def scenario(reflection: bool) -> list[str]:
        async with world.serving(reflection=reflection) as running:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            async for reply in stub.ServerReflectionInfo(iter([request])):
                return [service.name for service in reply.list_services_response.service]
            return []

    assert SERVICE in asyncio.run(scenario(True))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        asyncio.run(scenario(False))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_count_calls_faces_refusals_and_time(world: World) -> None:
    async def scenario() -> dict[str, float]:
        async with world.serving(metrics=Address("127.0.0.1", 0), max_batch=2) as running:
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face(), world.code(51)]))
            for faces in ([], [world.code(51)] * 3):
                with pytest.raises(grpc.aio.AioRpcError):
                    await running.stub.Embed(pb.EmbedRequest(faces=faces))
            return await asyncio.to_thread(scrape, running.metrics)

    found = asyncio.run(scenario())
    assert found['wstar_requests_total{code="OK",method="Embed"}'] == 1
    assert found['wstar_requests_total{code="INVALID_ARGUMENT",method="Embed"}'] == 1
    assert found['wstar_requests_total{code="RESOURCE_EXHAUSTED",method="Embed"}'] == 1
    assert found['wstar_refused_total{reason="INVALID_INPUT"}'] == 1
    assert found['wstar_refused_total{reason="LIMIT_EXCEEDED"}'] == 1
    assert found['wstar_faces_total{method="Embed"}'] == 2
    assert found["wstar_in_flight"] == 0
    assert found['wstar_stage_seconds_count{method="Embed",stage="total"}'] == 3
    assert found['wstar_stage_seconds_count{method="Embed",stage="graphs"}'] == 1
    assert found['wstar_space{space="W_STAR_ID",space_id="w_star_id-test"}'] == 1
    assert any(name.startswith('wstar_info{runner="fake"') for name in found)


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
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("request=abc-1 method=Embed code=OK faces=1 ms=")
    assert second.startswith(f"request={made_up} method=Embed code=OK")
    assert made_up != "a b"


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
    assert "code=DEADLINE_EXCEEDED" in record.getMessage()


def test_a_message_above_the_limit_is_refused(world: World) -> None:
    async def scenario() -> grpc.StatusCode:
        async with world.serving(max_message_bytes=20_000) as running:
            await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)] * 2))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)] * 3))
            return caught.value.code()

    assert asyncio.run(scenario()) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_stopping_lets_calls_in_flight_finish(world: World) -> None:
    async def scenario() -> pb.EmbedResponse:
        async with world.serving() as running:
            stub: Any = health_pb2_grpc.HealthStub(running.channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            running.runner.gate.clear()
            running.runner.entered.clear()
            call = running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            await running.runner.entered.wait()
            stop = asyncio.ensure_future(running.server.stop())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await watch.read() is grpc.aio.EOF  # type: ignore[attr-defined]
            # The port stays open for those who ask, while the call is under way.
            assert await health(running) == "NOT_SERVING"
            with pytest.raises(grpc.aio.AioRpcError, match="starting, stopping"):
                await running.stub.GetInfo(pb.GetInfoRequest())
            running.runner.gate.set()
            reply: pb.EmbedResponse = await call
            await stop
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.GetInfo(pb.GetInfoRequest())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            return reply

    assert len(asyncio.run(scenario()).embeddings) == 1


def test_open_watches_do_not_hold_up_a_stop(world: World) -> None:
    async def scenario() -> float:
        async with world.serving(grace_s=30.0) as running:
            stub: Any = health_pb2_grpc.HealthStub(running.channel)
            watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
            for watch in watches:
                await watch.read()
            started = time.perf_counter()
            await running.server.stop()
            return time.perf_counter() - started

    assert asyncio.run(scenario()) < 5.0


def test_stopping_ends_calls_that_outlast_the_grace(world: World) -> None:
    async def scenario() -> grpc.StatusCode:
        async with world.serving(grace_s=0.1) as running:
            running.runner.gate.clear()
            running.runner.entered.clear()
            call = running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            await running.runner.entered.wait()
            await running.server.stop()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            return caught.value.code()

    assert asyncio.run(scenario()) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
