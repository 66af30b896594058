"""The dashboard is whole, and every query of it has an answer on a server that runs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.deploy import promql
from tests.deploy.everything import call_everything
from tests.deploy.monitoring import dashboard, panels, queries, rules, triton_metrics
from tests.deploy.prometheus import Prometheus, scraping
from tests.load.soak_watch import served
from tests.service.certificates import Authority
from tests.service.triton_process import eventually

# Names of Grafana's units: nothing, shares, seconds, calls, events and bytes per second.
UNITS = {"short", "percentunit", "s", "reqps", "cps", "Bps"}
WIDTH = 24
# With a scrape each second a rate needs a few of them; a cluster scrapes every 15 to 60 s.
VARIABLES = {"$namespace": "wstar", "$__rate_interval": "20s"}


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in panels():
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    all_panels = dashboard()["panels"]
    assert len({panel["id"] for panel in all_panels}) == len(all_panels)
    cells: set[tuple[int, int]] = set()
    for panel in all_panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH
        covered = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not covered & cells, panel["title"]
        cells |= covered


def test_variables_are_declared_and_every_query_keeps_to_its_namespace() -> None:
    declared = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert declared == {"datasource", "namespace"}
    for asker, query in queries().items():
        assert query.count("{") == query.count('namespace="$namespace"') > 0, asker


@pytest.mark.parametrize(
    "shown",
    [
        "wstar_stage_duration_seconds_bucket",
        "wstar_queue_depth",
        "wstar_batch_size_faces_sum",
        "nv_gpu_utilization",
        "wstar_refused_total",
        "wstar_space_info",
        "wstar_build_info",
        "wstar:queue_seconds_per_request",
        "wstar:failed_calls:ratio_5m",
    ],
)
def test_what_an_operator_looks_for_is_on_it(shown: str) -> None:
    assert any(shown in promql.metrics(query) for query in queries().values())


def test_descriptions_of_alerts_name_panels_that_exist() -> None:
    titles = {panel["title"] for panel in panels()}
    named = {
        part
        for rule in rules()
        for part in rule.get("annotations", {}).get("description", "").split('"')[1::2]
    }
    assert named and named <= titles


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have servers that start now show a certificate; return whom to trust for it."""
    authority = Authority()
    certificate, key = authority.issue("localhost").write(tmp_path)
    monkeypatch.setenv("WSTAR_TLS_CERTIFICATE", str(certificate))
    monkeypatch.setenv("WSTAR_TLS_KEY", str(key))
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.certificate)
    return path


def of_gpu(query: str) -> bool:
    return bool(promql.metrics(query) & triton_metrics()["with a GPU"])


def of_triton(query: str) -> bool:
    return any(name.startswith(("nv_", "wstar:queue")) for name in promql.metrics(query))


# Only a machine with a GPU tells of one: there these two panels were never seen with data.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("runner", "unanswered"),
    [
        pytest.param("embedded", of_triton),
        pytest.param("triton", of_gpu, marks=pytest.mark.triton),
    ],
)
def test_every_query_is_answered_by_a_server_that_runs(
    runner: str, unanswered: Callable[[str], bool], tls: Path, tmp_path: Path
) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not on this machine (Debian: apt install prometheus)")
    with served(runner) as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        targets = {"wstar": server.metrics}
        if server.triton is not None:
            targets["triton"] = str(server.triton.metrics)
        with scraping(tmp_path, targets) as prometheus:
            # Twice, and seen twice: a series that begins with its last value has no rate.
            for _ in range(2):
                call_everything(server.address, tls)
                wait_for_scrapes(prometheus)
            if server.triton is not None:
                # Its group of rules is evaluated every 15 s.
                eventually(lambda: bool(prometheus.numbers("wstar:queue_seconds_per_request")), 40)
            empty = {name for name, query in asked().items() if not prometheus.numbers(query)}
            broken = unhealthy(prometheus)
    assert empty == {name for name, query in queries().items() if unanswered(query)}
    assert not broken


def wait_for_scrapes(prometheus: Prometheus) -> None:
    """Return when every target was scraped twice since now."""
    seen = prometheus.scrapes()
    eventually(lambda: prometheus.scrapes() > seen + 2, 30.0)


def asked() -> dict[str, str]:
    """The queries as Grafana sends them."""
    found = queries()
    for variable, value in VARIABLES.items():
        found = {name: query.replace(variable, value) for name, query in found.items()}
    return found


def unhealthy(prometheus: Prometheus) -> list[dict[str, Any]]:
    """Rules that Prometheus could not evaluate, and alerts that fire on a server that is well."""
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    return [rule for rule in found if rule["health"] == "err" or rule.get("state") == "firing"]
