"""`wstar-train flow`: its options reach what is made, and what may change between two starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.training.own_run import arguments, make_files

from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.cli import main
from wstar_training.commands.opening import open_study
from wstar_training.learning.supervision import Sketched, mean_distance
from wstar_training.own.files import OwnFiles


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small study."""
    return make_files(tmp_path)


def test_a_training_that_failed_goes_on_with_another_rate(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # So high a rate that weights overflow; nothing is clipped that far away.
    wild = {
        "rate": "1e30",
        "steps": "30",
        "validate-every": "1",
        "patience": "30",
    }
    assert main(arguments(files, **wild)) == 1
    assert "try a lower rate than 1e+30" in capsys.readouterr().err
    run = files / "run"
    assert not (run / "flow.pt").exists()
    calm = {**wild, "rate": "1e-4"}
    assert main(arguments(files, **calm)) == 0, capsys.readouterr().err
    assert json.loads((run / "options.json").read_text())["settings"]["flow"]["rate"] == 1e-4
    assert checkpoint.load(run / "flow.pt")["options"]["rate"] == 1e-4
    # Now that it is complete it stays what it is, and so does everything else.
    assert main(arguments(files, **{**calm, "rate": "1e-5"})) == 2
    assert "settings.flow.rate: found 1e-05, allowed: 0.0001" in capsys.readouterr().err
    (run / "flow.pt").unlink()
    # What is served was made from the old one.
    assert main(arguments(files, **{**calm, "rate": "1e-5"})) == 2
    assert "settings.flow.rate" in capsys.readouterr().err
    (run / "space_W_STAR.pt").unlink()
    assert main(arguments(files, **{**calm, "rate": "1e-5", "id-rate": "1e-4"}, sketch="64")) == 2
    assert "settings.sketch: found 64, allowed: 4096" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "scale"), [(None, 10.0), ("3.5", 3.5), ("match", None)])
def test_the_perceptual_scale_is_the_one_asked_for(
    files: Path, asked: str | None, scale: float | None
) -> None:
    changes = {} if asked is None else {"perceptual-scale": asked}
    assert main(arguments(files, **changes)) == 0
    study = open_study(files / "run")
    assert study.perceptual_scale == pytest.approx(study.perceptual_scale if not scale else scale)
    # Sketches at the scale, and the distances of W+ beside them.
    sketched = Sketched(study.flow_features("both")).mean
    exact = mean_distance(study.exact_distances("both").pairs, study.trained)
    assert sketched == pytest.approx(exact, rel=0.3)  # Few faces, and not the same pairs.
    w = study.codes.w["flow"]
    x = study.flow(Space.W_PLUS).coordinates(w).flatten(1).double()
    latent = float(2.0 * x.var(0).sum() * study.codes.axes.std**2 / w[0].numel())
    assert (sketched == pytest.approx(latent, rel=0.01)) == (scale is None)


def test_options_of_the_training_reach_it(files: Path) -> None:
    changes = {
        "masks": "alternating", "warmup": "1", "weight-decay": "0.1", "scale-weight": "0.5",
        "validate-every": "2", "save-every": "2", "patience": "7", "sketch": "128",
        "identity-target": "input", "id-rate": "0.003", "tau": "0.3",
        "perceptual-scale": "match",
    }  # fmt: skip
    assert main([*arguments(files, **changes), "--tanh-t"]) == 0
    study = open_study(files / "run")
    assert isinstance(study, OwnFiles) and study.settings.sketch == 128
    one, two = study.settings.flow, study.settings.flow_id
    for name, value in {
        "masks": "alternating", "warmup": 1, "weight_decay": 0.1, "scale_weight": 0.5,
        "validate_every": 2, "save_every": 2, "patience": 7, "tanh_t": True,
    }.items():  # fmt: skip
        assert getattr(one, name) == getattr(two, name) == value
    assert (two.rate, one.rate) == (0.003, 1e-4)
    assert (two.identity_target, two.noise) == ("input", 0.3)
    assert study.flow_features("input").shape[1] == 128
