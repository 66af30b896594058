"""Parity and round trip: good graphs pass, others are named."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wstar.errors import ContractMismatch
from wstar.graphs import Space, flow, flow_inverse
from wstar_export.assembly import Graph
from wstar_export.findings import Finding, deviation, refuse
from wstar_export.onnx import export
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.verify import order, parity, round_trip
from wstar_export.wrappers import FlowGraph, FlowInverseGraph, GeneratorGraph
from wstar_training.models.flow import Coupling, Flow, half_masks


def test_every_graph_and_every_space_is_measured(exported: tuple[Path, list[Finding]]) -> None:
    _, findings = exported
    # Faces and noise; code, logits, inverse, read-out; picture; round trip, order, whole way.
    assert len(findings) == 2 + 3 * (2 + 1 + 1) + 2 + 3 * (1 + 2 + 2)
    assert all(finding.passed and finding.precision == "fp32" for finding in findings)
    worst = max(finding.value for finding in findings if finding.name == "round_trip_error")
    assert worst <= 1e-5


def test_inputs_are_as_many_as_a_call_may_hold(made: list[Graph]) -> None:
    for graph in made:
        assert [tuple(tensor.shape) for tensor in graph.inputs] == [
            (graph.spec.max_batch, *tensor.shape) for tensor in graph.spec.inputs
        ]


def test_wrong_weights_are_found(made: list[Graph], repository: Path, run: Run) -> None:
    """The graph of W_STAR against the module of W_STAR_ID: same contract, other weights."""
    (other,) = (graph for graph in made if graph.spec.name == "flow_id")
    spec = flow(Space.W_STAR, 64)
    session = Session(repository / "flow" / "1" / "model.onnx", spec)
    mixed = replace(other, spec=spec)
    findings = parity(mixed, session) + order(mixed, session, run.codes.numpy())
    assert not any(finding.passed for finding in findings)
    with pytest.raises(ContractMismatch, match="'flow', w_star_error: expected 'at most 0.0001'"):
        refuse(findings)


def test_unreadable_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ContractMismatch, match=r"'flow', model\.onnx"):
        Session(tmp_path / "model.onnx", flow(Space.W_STAR, 64)).run()


def test_ill_conditioned_flow_does_not_survive_the_round_trip(run: Run, tmp_path: Path) -> None:
    """A legal T, its scales bounded by Tanh, of which fp32 cannot find the way back."""
    couplings = [Coupling(mask, hidden=16) for mask in half_masks(512, 6, seed=3)]
    for coupling in couplings:
        for layers in (coupling.s, coupling.t):
            for layer in layers:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=1.0)
    t = Flow(couplings, run.codes.mean(0), float(run.codes.std())).eval().requires_grad_(False)
    read_out = run.read_outs[Space.W_STAR].classifiers
    forward, inverse = flow(Space.W_STAR, 64), flow_inverse(Space.W_STAR, 64)
    w, coefficients = run.codes[:2], torch.zeros(2, 40)
    sessions = []
    for spec, module, example in (
        (forward, FlowGraph(t, read_out), (w,)),
        (inverse, FlowInverseGraph(t, read_out), (w, coefficients)),
    ):
        export(module, spec, example, tmp_path / spec.name, {})
        sessions.append(Session(tmp_path / spec.name, spec))
    finding = round_trip(forward, sessions[0], sessions[1], run.codes.numpy())
    assert not finding.passed
    with pytest.raises(ContractMismatch, match="'flow', round_trip_error"):
        refuse([finding])


@pytest.mark.parametrize("value", [2.0, math.nan, math.inf])
def test_figure_above_its_bound_or_without_value_is_refused(value: float) -> None:
    with pytest.raises(ContractMismatch, match="expected 'at most 1'"):
        refuse([Finding("flow", "w_star_error", value, 1.0)])


def test_deviation_takes_the_mean_code_off() -> None:
    codes = 1e3 * np.arange(6.0).reshape(1, 6) + np.array([[-1.0], [1.0]])
    assert deviation(codes.astype(np.float32)) == pytest.approx(1.0)


def test_edit_moves_along_unit_normals_and_dead_attributes_do_nothing(run: Run) -> None:
    read_out = run.read_outs[Space.W_PLUS].classifiers
    module = FlowInverseGraph(run.flows[Space.W_PLUS], read_out)
    w = run.codes[:1]
    for k, normal in enumerate(read_out.normals[:10]):
        coefficients = torch.zeros(1, 40)
        coefficients[0, k] = 3.0
        # W_PLUS is the identity: what comes back is the step itself. 1e-6: fp32 at |w| of 8.
        step = (module(w, coefficients) - w).flatten()
        torch.testing.assert_close(step, 3.0 * normal, atol=2e-6, rtol=0)
        assert torch.linalg.vector_norm(normal) == pytest.approx(float(read_out.weight[k].any()))


def test_generator_bytes_are_rounded_and_clamped() -> None:
    levels = torch.tensor([-2.0, -1.0, 0.0, 0.003, 1.0, 2.0])
    picture = levels.view(1, 1, 1, 6).expand(1, 3, 2, 6)
    (row,) = GeneratorGraph(nn.Identity())(picture)[:, 0, :, 0]
    # 127.5 x + 128, truncated: -1 is 0.5, 0.003 is 128.38.
    assert row.tolist() == [0, 0, 128, 128, 255, 255]
