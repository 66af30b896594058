"""Every series by name, kind and labels, and what moves it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import grpc
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.service.conftest import World

from wstar.graphs import Space
from wstar_service.metrics import CAPABILITIES, Metrics
from wstar_service.runner import Observer

# Kind and labels of each; a dashboard may count on them.
SERIES: dict[str, tuple[str, set[str]]] = {
    "wstar_request_duration_seconds": ("histogram", {"method", "code"}),
    "wstar_stage_duration_seconds": ("histogram", {"stage"}),
    "wstar_batch_size_faces": ("histogram", {"graph"}),
    "wstar_received_bytes": ("counter", {"method"}),
    "wstar_sent_bytes": ("counter", {"method"}),
    "wstar_faces": ("counter", {"method"}),
    "wstar_stream_items": ("counter", {"code"}),
    "wstar_refused": ("counter", {"reason"}),
    "wstar_proof_failures": ("counter", set()),
    "wstar_queue_depth": ("gauge", {"queue"}),
    "wstar_in_flight_calls": ("gauge", set()),
    "wstar_open_streams": ("gauge", set()),
    "wstar_ready": ("gauge", {"capability"}),
    "wstar_build_info": ("gauge", {"version", "runner"}),
    "wstar_space_info": ("gauge", {"space", "space_id"}),
    "wstar_certificate_expiry_timestamp_seconds": ("gauge", set()),
    "wstar_event_loop_tasks": ("gauge", set()),
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def answer(metrics: Metrics, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
    stages = {"decode": 0.002, "encoder": 0.25}
    metrics.answered(
        *("Embed", code.name, 0.3), faces=2, received_bytes=1000, sent_bytes=70, stages=stages
    )


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(sample, labels)


def test_the_series_are_those_of_the_table(metrics: Metrics, world: World) -> None:
    answer(metrics)
    metrics.item("OK", {"decode": 0.001})
    metrics.refused("OVERLOADED")
    metrics.ran("encoder", 3)
    metrics.describe("1.0", "engine", {Space.W_STAR: world.manifest(Space.W_STAR)})
    found = {}
    for family in metrics.registry.collect():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        found[family.name] = (family.type, labels)
    assert found == SERIES


def test_the_names_are_there_before_the_first_call(metrics: Metrics) -> None:
    assert {family.name for family in metrics.registry.collect()} == set(SERIES)


def test_the_page_is_parsed_and_says_what_happened(metrics: Metrics) -> None:
    answer(metrics)
    answer(metrics, grpc.StatusCode.UNAVAILABLE)
    metrics.item("INVALID_ARGUMENT", {"decode": 0.5})
    metrics.refused("RUNNER_UNAVAILABLE")
    metrics.proof_failed()
    metrics.certificate_expires(2e9)
    text = generate_latest(metrics.registry).decode()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    expected = {
        ("wstar_request_duration_seconds_count", "Embed", "OK"): 1,
        ("wstar_request_duration_seconds_count", "Embed", "UNAVAILABLE"): 1,
        ("wstar_request_duration_seconds_sum", "Embed", "OK"): 0.3,
        ("wstar_stage_duration_seconds_count", "decode"): 3,
        ("wstar_stage_duration_seconds_sum", "encoder"): 0.5,
        ("wstar_faces_total", "Embed"): 4,
        ("wstar_received_bytes_total", "Embed"): 2000,
        ("wstar_sent_bytes_total", "Embed"): 140,
        ("wstar_stream_items_total", "INVALID_ARGUMENT"): 1,
        ("wstar_refused_total", "RUNNER_UNAVAILABLE"): 1,
        ("wstar_proof_failures_total",): 1,
        ("wstar_certificate_expiry_timestamp_seconds",): 2e9,
    }
    assert {key: samples[key] for key in expected} == expected
    assert "_created" not in text


@pytest.mark.parametrize("stage_s", [0.0001, 30.0])
def test_buckets_reach_from_a_tenth_of_a_millisecond_to_half_a_minute(
    metrics: Metrics, stage_s: float
) -> None:
    metrics.item("OK", {"queue": stage_s})
    buckets = {
        float(sample.labels["le"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "wstar_stage_duration_seconds_bucket"
    }
    assert buckets[stage_s] == 1
    assert all(count == (bound >= stage_s) for bound, count in buckets.items())


@pytest.mark.parametrize(
    ("held", "sample", "labels"),
    [
        (Metrics.in_flight, "wstar_in_flight_calls", {}),
        (Metrics.stream, "wstar_open_streams", {}),
        (Metrics.queued, "wstar_queue_depth", {"queue": "calls"}),
    ],
)
def test_what_is_held_is_let_go_however_it_ends(
    metrics: Metrics,
    held: Callable[[Metrics], AbstractContextManager[None]],
    sample: str,
    labels: dict[str, str],
) -> None:
    with held(metrics), held(metrics):
        assert value(metrics, sample, **labels) == 2
    with pytest.raises(RuntimeError), held(metrics):
        raise RuntimeError
    assert value(metrics, sample, **labels) == 0


def test_it_observes_a_runner(metrics: Metrics) -> None:
    observer: Observer = metrics
    observer.waiting(5)
    observer.waiting(-3)
    observer.ran("flow", 3)
    assert value(metrics, "wstar_queue_depth", queue="graphs") == 2
    assert value(metrics, "wstar_batch_size_faces_sum", graph="flow") == 3
    assert value(metrics, "wstar_batch_size_faces_bucket", graph="flow", le="2.0") == 0
    assert value(metrics, "wstar_batch_size_faces_bucket", graph="flow", le="4.0") == 1


def test_what_was_served_before_is_0(metrics: Metrics, world: World) -> None:
    manifest = world.manifest(Space.W_STAR)
    metrics.describe("1.0", "old", {Space.W_STAR: manifest, Space.W_PLUS: manifest})
    metrics.describe("1.0", "new", {Space.W_STAR: manifest})
    assert value(metrics, "wstar_build_info", version="1.0", runner="old") == 0
    assert value(metrics, "wstar_build_info", version="1.0", runner="new") == 1
    served = {
        space: value(metrics, "wstar_space_info", space=space, space_id=manifest.space_id)
        for space in ("W_STAR", "W_PLUS")
    }
    assert served == {"W_STAR": 1, "W_PLUS": 0}


def test_capabilities_are_0_until_served(metrics: Metrics) -> None:
    def ready() -> dict[str, float | None]:
        return {name: value(metrics, "wstar_ready", capability=name) for name in CAPABILITIES}

    assert ready() == dict.fromkeys(CAPABILITIES, 0)
    metrics.ready({"embed", "distance", "classify"})
    assert ready() == {"embed": 1, "distance": 1, "classify": 1, "edit": 0}
    metrics.ready(())
    assert ready() == dict.fromkeys(CAPABILITIES, 0)
