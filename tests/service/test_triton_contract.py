"""A Triton that serves something else than the contract is refused, and the reason is named."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import onnx
import pytest
from tests.service.triton_process import TritonProcess

from wstar.errors import ContractMismatch, RunnerUnavailable
from wstar_service.settings import Address
from wstar_service.triton import TritonRunner

pytestmark = pytest.mark.triton
Config = dict[str, Any]


async def opened(address: Address) -> None:
    await (await TritonRunner.open(address, shared_memory=False)).close()


def refused(triton: TritonProcess) -> ContractMismatch:
    with pytest.raises(ContractMismatch) as caught:
        asyncio.run(opened(triton.grpc))
    return caught.value


def manifest(config: Config, **changes: object) -> None:
    value = config["parameters"]["wstar_space"]
    value["string_value"] = json.dumps({**json.loads(value["string_value"]), **changes})


CONFIGURATIONS: dict[str, tuple[str, Callable[[Config], object], tuple[str, object, object]]] = {
    "batch": (
        "flow",
        lambda config: config.update(
            max_batch_size=32, dynamic_batching={"max_queue_delay_microseconds": 0}
        ),
        ("max_batch_size", 64, 32),
    ),
    "no manifest": (
        "flow_plus",
        lambda config: config.pop("parameters"),
        ("parameter wstar_space", "a space manifest", "nothing"),
    ),
    "no such version": (
        "flow",
        lambda config: manifest(config, contract_version=0),
        ("contract_version", 1, 0),
    ),
    "other resolution": (
        "flow_id",
        lambda config: manifest(config, encoder_side=32),
        ("manifest encoder_side", 64, 32),
    ),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_configuration_of_another_contract_is_refused(
    own_triton: TritonProcess, case: str
) -> None:
    graph, change, expected = CONFIGURATIONS[case]
    own_triton.load(graph, change)
    error = refused(own_triton)
    own_triton.load(graph)
    assert error.graph.startswith(graph)
    assert (error.tensor, error.expected, error.found) == expected
    asyncio.run(opened(own_triton.grpc))


@contextmanager
def replaced(path: Path, *changes: tuple[str, str]) -> Iterator[None]:
    """Change the text of a file for a while; every change must apply."""
    before = text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


@contextmanager
def renamed_output(path: Path, name: str) -> Iterator[None]:
    """Give the output of a graph another name, for a while."""
    before = path.read_bytes()
    model = onnx.load(path)
    model.graph.node[-1].output[0] = model.graph.output[0].name = name
    onnx.save(model, path)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_a_graph_of_another_contract_is_refused(own_triton: TritonProcess) -> None:
    folder = own_triton.repository / "encoder"
    with (
        renamed_output(folder / "1/model.onnx", "latent"),
        replaced(
            folder / "configs/cpu.pbtxt",
            ('output [\n  { name: "w"', 'output [\n  { name: "latent"'),
        ),
    ):
        own_triton.load("encoder")
        error = refused(own_triton)
    own_triton.load("encoder")
    assert (error.graph, error.tensor) == ("encoder", "outputs")
    assert (error.expected, error.found) == (["w"], ["latent"])


def test_an_unloaded_graph_is_missed(own_triton: TritonProcess) -> None:
    own_triton.unload("encoder")
    error = refused(own_triton)
    own_triton.load("encoder")
    assert (error.graph, error.tensor) == ("encoder", "model")


def loading(triton: TritonProcess, graph: str) -> str:
    """What Triton says when it cannot load a model."""
    with pytest.raises(HTTPError) as caught:
        triton.load(graph)
    with caught.value as reply:
        return reply.read().decode()


def test_the_backend_compares_the_graph_with_its_configuration(own_triton: TritonProcess) -> None:
    with renamed_output(own_triton.repository / "encoder/1/model.onnx", "latent"):
        assert "outputs of the configuration" in loading(own_triton, "encoder")
    # What was loaded before goes on.
    asyncio.run(opened(own_triton.grpc))


def test_the_backend_compares_files_with_the_checksums(own_triton: TritonProcess) -> None:
    path = own_triton.repository / "flow/1/model.onnx"
    sums = own_triton.repository / "SHA256SUMS"
    before = path.read_bytes()
    sums.write_text(f"{hashlib.sha256(before).hexdigest()}  flow/1/model.onnx\n")
    own_triton.load("flow")
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert "flow/1/model.onnx: not as in SHA256SUMS" in loading(own_triton, "flow")
    path.write_bytes(before)
    (path.parent / "extra").touch()
    assert "flow/1/extra: not as in SHA256SUMS" in loading(own_triton, "flow")
    (path.parent / "extra").unlink()
    sums.unlink()
    own_triton.load("flow")


def test_another_manifest_under_the_same_version_is_noticed(own_triton: TritonProcess) -> None:
    async def scenario() -> str:
        runner = await TritonRunner.open(own_triton.grpc, shared_memory=False)
        change = lambda config: manifest(config, space_id="w_star-other")  # noqa: E731
        await asyncio.to_thread(own_triton.load, "flow", change)
        try:
            # It is looked at every 2 s.
            async with asyncio.timeout(10):
                why = await runner.lost()
            with pytest.raises(RunnerUnavailable, match="is lost: changed: flow"):
                await runner.run("flow", w=np.zeros((1, 10, 512), np.float32))
            return why
        finally:
            await runner.close()
            own_triton.load("flow")

    assert asyncio.run(scenario()) == "changed: flow"


def test_nobody_there() -> None:
    with pytest.raises(RunnerUnavailable, match=r"the server at 127\.0\.0\.1:1: .*UNAVAILABLE"):
        asyncio.run(opened(Address("127.0.0.1", 1)))
