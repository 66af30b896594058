"""The loop learns, keeps the best, and stops when it should; its parts do what they say."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, nn

from wstar.errors import InvalidInput
from wstar_training import checkpoint
from wstar_training.learning.average import Average
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import ALONE, Group
from wstar_training.learning.loop import FlowData, load_flow, train
from wstar_training.learning.objective import Objective
from wstar_training.learning.record import FILE, record_start
from wstar_training.learning.schedule import learning_rate
from wstar_training.learning.supervision import Sketched
from wstar_training.learning.watch import Watch
from wstar_training.models.flow import Coupling, Flow

if TYPE_CHECKING:
    from tests.training.conftest import SmallTraining

OPTIONS = FlowOptions(
    couplings=3, steps=100, hidden=16, batch=32, rate=3e-3, schedule="cosine", validate_every=20
)


def lines(path: Path) -> list[dict[str, float]]:
    """A log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_equal_weights(one: Flow, other: Flow) -> None:
    """Bit for bit."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_training_learns_distances(small_training: SmallTraining, tmp_path: Path) -> None:
    made = small_training.train(tmp_path / "t.pt", replace(OPTIONS, steps=200))
    log = lines(tmp_path / "t.jsonl")
    assert log[-1]["distance"] < 0.5 * log[0]["distance"]
    assert {"s_std", "round_trip", "order", "pearson", "attribute", "rate"} <= set(log[-1])
    w = torch.randn(2, 2, 512)
    assert torch.equal(load_flow(tmp_path / "t.pt")(w), made(w))
    assert not (tmp_path / "t.state").exists()
    assert list((tmp_path / "tensorboard" / "t").glob("events.*"))


def test_the_best_validated_flow_is_kept(small_training: SmallTraining, tmp_path: Path) -> None:
    # A rate at which the loss goes up and down.
    options = replace(OPTIONS, steps=15, rate=0.1, schedule="constant", validate_every=5)
    small_training.train(tmp_path / "t.pt", options)
    log = lines(tmp_path / "t.jsonl")
    best = min(log, key=lambda line: line["total"])
    kept = checkpoint.load(tmp_path / "t.pt")
    assert best != log[-1]
    assert kept["step"] == best["step"] and kept["validation"]["total"] == best["total"]


def test_training_stops_when_validation_improves_no_more(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    # A rate too low for a float32 loss to change.
    options = replace(OPTIONS, rate=1e-30, validate_every=5, patience=3)
    small_training.train(tmp_path / "t.pt", options)
    assert [line["step"] for line in lines(tmp_path / "t.jsonl")] == [5, 10, 15, 20]


class Spoilt(Sketched):
    """Distances that are not numbers, or far too large, from some step on."""

    left = 0
    factor = math.nan

    def pairs(self, rows: Tensor) -> Tensor:
        """As of the sketches, times the factor."""
        Spoilt.left -= 1
        return super().pairs(rows) * (1.0 if Spoilt.left >= 0 else Spoilt.factor)


def spoilt(data: FlowData, after: int, factor: float) -> FlowData:
    """Data whose distances are multiplied after some steps."""
    Spoilt.left, Spoilt.factor = after, factor
    return replace(data, distances=Spoilt(cast(Sketched, data.distances).features))


@pytest.mark.parametrize(
    ("factor", "message"),
    [(math.nan, "the loss is nan"), (math.inf, "is inf"), (1e4, "the loss diverges")],
)
def test_a_loss_that_goes_wrong_stops_and_keeps_the_last_good_state(
    factor: float, message: str, small_training: SmallTraining, tmp_path: Path
) -> None:
    options = replace(OPTIONS, save_every=10)
    data = spoilt(small_training.data, 25, factor)
    with pytest.raises(FloatingPointError, match=message) as raised:
        small_training.train(tmp_path / "t.pt", options, data)
    said = str(raised.value)
    assert "t.best.pt holds the best validated T, step 20; " in said
    assert "t.state the last good state, step 20: delete it to begin anew; try a lower" in said
    state = checkpoint.load(tmp_path / "t.state")
    assert state["step"] == 20
    assert all(torch.isfinite(value).all() for value in state["flow"].values())
    # With good data it goes on as if nothing had happened.
    again = small_training.train(tmp_path / "t.pt", options)
    never = small_training.train(tmp_path / "never.pt", options)
    assert_equal_weights(again, never)
    assert not (tmp_path / "t.best.pt").exists()


def test_a_loss_that_goes_wrong_before_any_state_was_saved_keeps_the_best_validated_flow(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    small_training.train(tmp_path / "short.pt", replace(OPTIONS, steps=20, schedule="constant"))
    options = replace(OPTIONS, schedule="constant", save_every=1000)
    with pytest.raises(
        FloatingPointError, match=r"t\.best\.pt holds the best validated T, step 20"
    ):
        small_training.train(tmp_path / "t.pt", options, spoilt(small_training.data, 25, math.nan))
    assert not (tmp_path / "t.pt").exists() and not (tmp_path / "t.state").exists()
    assert_equal_weights(load_flow(tmp_path / "t.best.pt"), load_flow(tmp_path / "short.pt"))


def test_a_loss_that_is_no_number_at_once_says_that_nothing_was_saved(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    with pytest.raises(FloatingPointError, match="step 0; nothing was validated or saved yet"):
        small_training.train(tmp_path / "t.pt", OPTIONS, spoilt(small_training.data, 0, math.nan))
    assert not (tmp_path / "t.state").exists()


def test_a_validation_that_is_no_number_stops(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    attributes = torch.full_like(small_training.validation.attributes, math.nan)
    bad = replace(
        small_training, validation=replace(small_training.validation, attributes=attributes)
    )
    with pytest.raises(FloatingPointError, match="the validation loss is nan"):
        bad.train(tmp_path / "t.pt", OPTIONS)


def test_one_spike_is_no_divergence() -> None:
    watch = Watch()
    for loss in [1.0, *[5e3] * 19, 1.0, *[5e3] * 19, 1.0]:
        watch.look(loss, 1.0)
    assert watch.calm
    with pytest.raises(FloatingPointError, match="diverges"):
        for _ in range(20):
            watch.look(5e3, 1.0)


def test_a_loss_near_zero_may_grow_a_thousandfold_below_its_first() -> None:
    watch = Watch()
    for loss in [1.0, 1e-6, *[0.5] * 100]:
        watch.look(loss, 1.0)
    assert watch.calm


def test_a_gradient_that_is_not_finite_stops() -> None:
    with pytest.raises(FloatingPointError, match="the gradient is inf"):
        Watch().look(1.0, math.inf)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_an_average_follows_its_recurrence(decay: float, small_training: SmallTraining) -> None:
    flow = small_training.flow()
    average = Average(flow, decay)
    wanted = [parameter.detach().clone() for parameter in flow.parameters()]
    for step in range(5):
        with torch.no_grad():
            for parameter, mean in zip(flow.parameters(), wanted, strict=True):
                parameter.add_(torch.randn_like(parameter))
                now = min(decay, (1 + step) / (10 + step))
                mean.copy_(now * mean + (1 - now) * parameter)
        average.update(flow, step)
    average.catch_up(flow)
    for found, mean, weight in zip(
        average.flow.parameters(), wanted, flow.parameters(), strict=True
    ):
        torch.testing.assert_close(found, mean)
        assert decay or torch.equal(found, weight)


def test_what_is_validated_and_kept_is_the_average(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    options = replace(OPTIONS, steps=20, rate=0.01, schedule="constant")
    plain = small_training.train(tmp_path / "plain.pt", options)
    averaged = small_training.train(tmp_path / "ema.pt", replace(options, ema=0.99))
    start = small_training.flow()

    def moved(flow: Flow) -> float:
        pairs = zip(flow.parameters(), start.parameters(), strict=True)
        return sum((a - b).square().sum().item() for a, b in pairs)

    # Weights that run away from the start, and an average that lags behind.
    assert 0 < moved(averaged) < 0.9 * moved(plain)
    logs = [lines(tmp_path / f"{name}.jsonl")[-1] for name in ("plain", "ema")]
    assert logs[0]["train_total"] == logs[1]["train_total"]
    assert logs[0]["total"] != logs[1]["total"]


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    options = FlowOptions(couplings=1, steps=100, rate=2.0, warmup=10)
    assert learning_rate(options, 0) == pytest.approx(0.2)
    assert [learning_rate(options, step) for step in (9, 10, 99)] == [2.0, 2.0, 2.0]
    options = replace(options, schedule="cosine")
    assert learning_rate(options, 50) == pytest.approx(1.0)
    assert learning_rate(options, 99) == pytest.approx(1 + math.cos(0.99 * math.pi))
    rates = [learning_rate(options, step) for step in range(100)]
    assert rates.index(max(rates)) == 9 and min(rates) > 0


def objective(small: SmallTraining, flow: Flow, options: FlowOptions = OPTIONS) -> Objective:
    """The loss of a flow that has left the identity."""
    for coupling in flow.couplings:
        for net in (cast(Coupling, coupling).s, cast(Coupling, coupling).t):
            nn.init.normal_(cast(nn.Linear, net[4]).weight, std=0.1)
    return Objective(flow, small.classifiers, small.data.distances.mean, options, ALONE, None)


def batch(small: SmallTraining) -> tuple[Tensor, Tensor, Tensor]:
    """Eight faces."""
    rows = torch.arange(8)
    data = small.data
    return data.x[rows], data.attributes[rows], data.distances.pairs(rows)


def test_every_parameter_gets_a_gradient_from_eq_3(small_training: SmallTraining) -> None:
    flow = small_training.flow()
    objective(small_training, flow)(*batch(small_training))["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())


def test_the_total_is_the_weighted_sum_of_the_parts(small_training: SmallTraining) -> None:
    options = replace(OPTIONS, distance_weight=7.0, scale_weight=3.0)
    parts = objective(small_training, small_training.flow(), options)(*batch(small_training))
    wanted = parts["attribute"] + 7.0 * parts["distance"] + 3.0 * parts["scale"]
    torch.testing.assert_close(parts["total"], wanted)


def test_bfloat16_is_that_of_the_networks_only(small_training: SmallTraining) -> None:
    torch.manual_seed(0)
    flow = small_training.flow()
    exact = objective(small_training, flow)(*batch(small_training))
    x = batch(small_training)[0]
    before = flow.map(x)
    flow.networks_in_bfloat16()
    y, scales = flow.stretched(x)
    assert y.dtype == torch.float32 and all(s.dtype == torch.float32 for s in scales)
    # What a coupling keeps passes in all its bits; 8 bits of s and t are left of the rest.
    kept = cast(Coupling, flow.couplings[0]).kept
    assert torch.equal(cast(Coupling, flow.couplings[0])(x)[:, kept], x[:, kept])
    assert not torch.equal(y, before)
    torch.testing.assert_close(y, before, rtol=0.02, atol=0.02)
    # And the inverse of what is computed is that of what is computed.
    torch.testing.assert_close(flow.map_inverse(y), x, rtol=0, atol=1e-5)
    mixed = objective(small_training, flow)
    assert mixed(*batch(small_training))["total"].isfinite() and exact["total"].isfinite()


def test_training_in_bfloat16_ends_near_that_in_float32(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    small_training.train(tmp_path / "a.pt", OPTIONS)
    small_training.train(tmp_path / "b.pt", replace(OPTIONS, precision="bf16"))
    exact, mixed = (lines(tmp_path / f"{name}.jsonl")[-1] for name in "ab")
    assert mixed["total"] == pytest.approx(exact["total"], rel=0.1)
    # Validated and kept is a T of float32.
    assert mixed["round_trip"] < 1e-5


@pytest.mark.slow
# torch 2.13's compiler uses a part of torch that torch itself deprecates.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_is_the_same(small_training: SmallTraining, tmp_path: Path) -> None:
    small_training.train(tmp_path / "a.pt", replace(OPTIONS, steps=20))
    small_training.train(tmp_path / "b.pt", replace(OPTIONS, steps=20, compile=True))
    plain, compiled = (lines(tmp_path / f"{name}.jsonl")[-1] for name in "ab")
    # The order of sums differs: 20 steps of float32 rounding.
    assert compiled["total"] == pytest.approx(plain["total"], rel=1e-4)


def test_an_identity_path_needs_what_f_saw_before(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    from wstar_training.learning.objective import IdentityPath

    data = replace(small_training.data, before=None)
    path = IdentityPath(nn.Identity(), nn.Flatten())
    options = replace(OPTIONS, identity_weight=1.0)
    with pytest.raises(InvalidInput, match="before"):
        train(
            tmp_path / "t.pt", options, small_training.flow(), data, data,
            small_training.classifiers, path,
        )  # fmt: skip


def test_processes_that_cannot_share_a_batch_are_refused(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    data, readout = small_training.data, small_training.classifiers
    with pytest.raises(InvalidInput, match="a multiple of the 3 processes"):
        train(
            tmp_path / "t.pt", OPTIONS, small_training.flow(), data, data, readout,
            group=Group(0, 3),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("couplings", 0), ("steps", 0), ("hidden", 0), ("batch", 1), ("rate", 0.0),
        ("rate", math.nan), ("betas", (0.9, 1.0)), ("weight_decay", -0.1), ("warmup", 100),
        ("ema", 1.0), ("distance_weight", -1.0), ("identity_weight", -1.0), ("noise", -0.1),
        ("identity_batch", 0), ("save_every", 0), ("validate_every", 0), ("patience", 0),
        ("masks", "thirds"), ("precision", "fp16"), ("schedule", "step"), ("perceptual", "vgg"),
        ("identity_target", "both"), ("seed", -1),
    ],
)  # fmt: skip
def test_settings_that_cannot_train_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: found"):
        replace(OPTIONS, **{name: value})  # type: ignore[arg-type]


def test_every_start_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "codes.pt").write_bytes(b"codes")
    for _ in range(2):
        record_start(tmp_path, "flow", {"steps": 3}, [tmp_path / "codes.pt"], ALONE)
    starts = json.loads((tmp_path / FILE).read_text())
    assert len(starts) == 2
    for start in starts:
        assert start["options"] == {"steps": 3}
        assert start["data_sha256"] == {"codes.pt": hashlib.sha256(b"codes").hexdigest()}
        assert start["environment"]["packages"]["torch"] == torch.__version__
        assert start["environment"]["threads"] == 1
        assert start["git"] is None or len(start["git"].partition("-")[0]) == 40
