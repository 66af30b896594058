"""Rules, dashboard and adapter ask for series, labels and values that the code has."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import grpc
import pytest
import yaml
from deploy.monitoring.prometheus_rule import prometheus_rule
from tests.deploy import promql
from tests.deploy.monitoring import (
    ADAPTER,
    RULES,
    RULES_TEST,
    expressions,
    manifests,
    rules,
    triton_metrics,
)
from tests.service.triton_process import DEMO, TritonProcess

import wstar.errors
from wstar.errors import WstarError
from wstar.graphs import graphs
from wstar.remote import reason_of
from wstar_service import capabilities, stages
from wstar_service.metrics import Metrics
from wstar_service.status import STATUS_CODES

# Of every target, by whoever finds it: `up`, and where the series comes from.
TARGET = {"namespace", "pod", "job"}
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}
SCALING = "wstar:queue_seconds_per_request"


def service_series() -> set[str]:
    """Names of all samples that the service's own registry has."""
    return {
        family.name + suffix
        for family in Metrics().registry.collect()
        for suffix in SUFFIXES[family.type]
    }


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def service_labels() -> set[str]:
    """Names of all labels of the service's series, asked of the series themselves."""
    found = {
        name for series in vars(Metrics()).values() for name in getattr(series, "_labelnames", ())
    }
    assert found, "prometheus_client has another way to tell labels now"
    return found


@pytest.mark.parametrize("expression", expressions().values(), ids=expressions())
def test_every_series_exists(expression: str) -> None:
    triton = set().union(*triton_metrics().values())
    asked = promql.metrics(expression) | promql.values(expression, "__name__")
    assert asked and asked <= service_series() | triton | recorded() | {"up"}


def test_names_are_found_wherever_they_stand() -> None:
    text = (
        '1e-6 * sum by (a, b) (rate(nv_x{c=~"wstar_y"}[5m])) / (z > 0) or up unless on (d) m:r_5m'
    )
    assert promql.metrics(text) == {"nv_x", "z", "up", "m:r_5m"}
    assert promql.labels(text) == {"a", "b", "c", "d"}
    assert promql.values(text, "c") == {"wstar_y"}


def test_every_label_exists() -> None:
    # Of Triton's own, seen in the scrape below; `gpu_uuid` is out of NVIDIA's manual.
    triton = {"model", "reason", "gpu_uuid"}
    asked = set().union(*map(promql.labels, expressions().values()))
    assert asked <= service_labels() | TARGET | triton | {"le", "__name__"}


def test_every_value_of_a_label_is_one_that_the_service_says() -> None:
    asked = expressions().values()
    reasons = {
        reason_of(error)
        for error in vars(wstar.errors).values()
        if isinstance(error, type) and issubclass(error, WstarError)
    }
    said = {
        "code": {code.name for code in STATUS_CODES.values()},
        "reason": reasons,
        "stage": {stages.QUEUE, stages.DECODE, stages.ENCODE, *(g.name for g in graphs(64, 10))},
        "capability": set(capabilities.ALL),
        # A ServiceMonitor names a job after the Service.
        "job": {service["metadata"]["name"] for service in manifests("Service")},
    }
    for label, known in said.items():
        used = set().union(*(promql.values(expression, label) for expression in asked))
        assert used and used <= known, label


def test_failures_are_the_statuses_that_are_no_fault_of_the_caller() -> None:
    (failed,) = {
        frozenset(promql.values(rule["expr"], "code"))
        for rule in rules()
        if rule.get("record", "").startswith("wstar:failed_calls:")
    }
    callers_fault = {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
    assert failed == {code.name for code in set(STATUS_CODES.values()) - callers_fault}


def test_ratios_of_the_error_budget_differ_in_their_window_only() -> None:
    ratios = {
        rule["record"].rpartition("_")[2]: rule["expr"]
        for rule in rules()
        if rule.get("record", "").startswith("wstar:failed_calls:")
    }
    assert {re.sub(rf"\[{window}\]", "[]", text) for window, text in ratios.items()} == {
        re.sub(r"\[\w+\]", "[]", ratios["5m"])
    }


def test_every_alert_says_what_to_do_and_is_tested_both_ways() -> None:
    cases = [
        case
        for test in yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    for rule in rules():
        if "alert" not in rule:
            continue
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert any(c["alertname"] == rule["alert"] and c["exp_alerts"] for c in cases), rule


def test_the_adapter_serves_the_scaling_rule_under_the_name_that_autoscalers_ask_for() -> None:
    (rule,) = yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["external"]
    assert promql.values(rule["seriesQuery"], "__name__") == {SCALING} <= recorded()
    name = re.sub(rule["name"]["matches"], rule["name"]["as"].replace("$1", r"\1"), SCALING)
    asked = {
        metric["external"]["metric"]["name"]
        for autoscaler in manifests("HorizontalPodAutoscaler")
        for metric in autoscaler["spec"]["metrics"]
        if metric["type"] == "External"
    }
    assert asked == {name}


def test_keda_asks_for_the_scaling_rule_of_the_namespace_that_is_deployed() -> None:
    for scaled in manifests("ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        query = trigger["metadata"]["query"]
        assert promql.metrics(query) == {SCALING}
        spaces = {each["metadata"]["name"] for each in manifests("Namespace")}
        assert promql.values(query, "namespace") <= spaces


@pytest.mark.parametrize("command", [("check", "rules", RULES), ("test", "rules", RULES_TEST)])
def test_promtool_agrees(command: tuple[str | Path, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on this machine (Debian: apt install prometheus)")
    done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.triton
def test_triton_tells_what_is_stated(tmp_path: Path) -> None:
    triton = TritonProcess(DEMO, tmp_path / "log")
    try:
        url = f"http://{triton.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=10) as page:
            text = page.read().decode()
    finally:
        assert triton.stop() == 0
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    # A machine with a GPU, and a build that knows it, tells of that too.
    assert told - triton_metrics()["with a GPU"] == triton_metrics()["every server"]
    for label in ("model", "reason"):
        assert f'{label}="' in text


def test_the_operator_reads_the_same_rules() -> None:
    found = yaml.safe_load(prometheus_rule())
    assert (found["kind"], found["metadata"]["namespace"]) == ("PrometheusRule", "monitoring")
    assert found["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))
