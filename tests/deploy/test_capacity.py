"""The calculator adds up, says what it rests on, and made the tables that are committed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml
from deploy import capacity
from deploy.figures import FIGURES, value_of
from deploy.sizing import Plan, load_of, plan

from wstar.graphs import W_DIM, n_latent
from wstar_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
# Where each measured figure stands, as it stands there.
SOURCES = {
    "call": ("service/README.md", "**2.3 to 2.4 ms**"),
    "further_face": ("service/README.md", "| 25 ms | 3.1 ms |"),
    "hop_picture": ("service/README.md", "| 2.18 ms, 1079/s |"),
    "hop_code": ("service/README.md", "| 3.22 ms, 997/s |"),
    "embedded_faces": ("service/README.md", "| 1.2 faces/s | 102 %"),
    "service_memory": ("service/README.md", "121 and 118 (Triton)"),
    "embedded_memory": ("training/README.md", "| 10 | 2790 |"),
    "gpu_faces": ("export/README.md", "| encoder, 1 | 87 % | 402 ms |"),
    "engines": ("export/README.md", "| encoder | 683 | 1070 | 1078 |"),
}


def test_the_document_holds_the_tables_that_the_calculator_prints() -> None:
    assert capacity.tables() in (ROOT / "deploy/capacity.md").read_text(encoding="utf-8")


def test_it_runs_on_python_alone() -> None:
    command = [sys.executable, "-S", "-m", "deploy.capacity", "--requests-per-s", "10", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert found["plan"] == asdict(plan(load_of(10, 256)))
    assert {figure["basis"] for figure in found["figures"].values()} == {
        "measured",
        "contract",
        "assumed",
    }


@pytest.mark.parametrize("name", SOURCES)
def test_a_measured_figure_stands_where_it_is_said_to_stand(name: str) -> None:
    path, text = SOURCES[name]
    assert path in FIGURES[name].source
    assert text in (ROOT / path).read_text(encoding="utf-8")


def test_every_measured_figure_has_its_source_and_nothing_of_a_gpu_is_called_measured() -> None:
    measured = {name for name, figure in FIGURES.items() if figure.basis == "measured"}
    assert measured == (SOURCES.keys() - {"gpu_faces"}) | {
        name for name in FIGURES if FIGURES[name].source == "tests/bench/decoding.py"
    }
    assert FIGURES["gpu_faces"].basis == FIGURES["activations"].basis == "assumed"
    assert capacity.RESTS_ON.keys() == {field.name for field in fields(Plan)}


def test_what_the_code_fixes_is_as_in_the_code() -> None:
    assert value_of("code_bytes") == n_latent(1024) * W_DIM * 4
    assert value_of("encoder_bytes") == 256 * 256 * 3
    assert value_of("max_concurrency") == Settings().max_concurrency
    base = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text())
    (container,) = base["spec"]["template"]["spec"]["containers"]
    assert value_of("replica_cores") == float(container["resources"]["limits"]["cpu"])
    assert container["resources"]["requests"]["memory"] == f"{value_of('replica_memory'):g}Gi"
    triton = ROOT / "deploy/kubernetes/components/triton/deployment.yaml"
    (container,) = yaml.safe_load(triton.read_text())["spec"]["template"]["spec"]["containers"]
    asked = container["resources"]["requests"]
    assert float(asked["cpu"]) == value_of("triton_cores")
    assert asked["memory"] == f"{value_of('triton_memory'):g}Gi"
    scaled = ROOT / "deploy/kubernetes/overlays/gpu-scaled/autoscalers.yaml"
    tritons, service = (each["spec"] for each in yaml.safe_load_all(scaled.read_text()))
    most = value_of("replicas_per_gpu") * tritons["maxReplicas"]
    assert service["minReplicas"] == most


def test_a_plan_by_hand() -> None:
    found = plan(load_of(1000, 256, gpu_faces_per_s=200, network_gbit=10))
    # 2.4 + 0.85 + 1.85 + 2.0 ms of a core for each of 1000 requests.
    assert found.service_cores == pytest.approx(7.1)
    assert found.gpus == math.ceil(1000 / (200 * 0.6)) + 1
    # More than the cores ask for, ceil(7.1 / (2 * 0.6)) + 1: each replica has one Triton.
    assert found.service_replicas == 2 * found.gpus
    assert found.requested_cores == 2 * found.service_replicas + 4 * found.gpus
    assert found.requested_memory_gib == found.service_replicas + 16 * found.gpus
    few = plan(load_of(1000, 1024, gpu_faces_per_s=2000))
    assert few.service_replicas == math.ceil(few.service_cores / (2 * 0.6)) + 1
    assert found.codes_out_gbit == pytest.approx(1000 * 36_864 * 8 / 1e9)
    assert found.to_triton_gbit == pytest.approx(1000 * (196_608 + 36_864) * 8 / 1e9)
    assert found.cpu_only_cores == pytest.approx(1000 / 0.6)


def test_requests_of_several_faces_cost_less_per_face_and_the_same_gpus() -> None:
    single, several = plan(load_of(800, 512)), plan(load_of(100, 512, faces_per_request=8))
    assert several.service_cores < single.service_cores
    assert (several.gpus, several.codes_out_gbit) == (single.gpus, single.codes_out_gbit)


def test_a_slower_network_and_a_faster_gpu_change_what_they_should() -> None:
    known = plan(load_of(100_000, 1024))
    assert plan(load_of(100_000, 1024, gpu_faces_per_s=2000)).gpus < known.gpus / 9
    slow = plan(load_of(100_000, 1024, network_gbit=0.1))
    assert slow.service_replicas == slow.nodes_by_network + 1 > known.service_replicas


@pytest.mark.parametrize("side", [100, 256, 400, 512, 800, 1024, 3000])
def test_larger_pictures_never_cost_less(side: int) -> None:
    smaller, larger = plan(load_of(10, side)), plan(load_of(10, side + 1))
    assert smaller.service_cores <= larger.service_cores
    assert smaller.pictures_in_gbit < larger.pictures_in_gbit


@pytest.mark.parametrize("wrong", [[], ["--requests-per-s", "0"], ["--requests-per-s", "nan"]])
def test_wrong_numbers_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        capacity.main(wrong)
    assert ended.value.code == 2
