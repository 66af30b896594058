"""A rollout behind a balancer loses no call, with the probes and times of the rendered manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.deploy import manifests
from tests.load import balancer, lifecycle
from tests.load.lifecycle import Lifecycle
from tests.load.pods import PROPAGATION_S
from tests.load.rollout import roll

from wstar_service.arguments import read_settings
from wstar_service.settings import Settings


@pytest.fixture
def kept() -> Lifecycle:
    """How the manifest keeps servers; skips the test where no manifest can be rendered."""
    if why := manifests.missing():
        pytest.skip(why)
    return lifecycle.read()


def settings(kept: Lifecycle) -> Settings:
    """What a server of the manifest reads out of its environment, files left out."""
    told = {name: text for name, text in kept.environment.items() if not text.startswith("/")}
    return read_settings([], told)


def test_what_is_told_to_servers_are_settings_that_they_have(kept: Lifecycle) -> None:
    flags = {f"WSTAR_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert kept.environment.keys() <= flags
    assert settings(kept).metrics is not None


def test_a_server_has_time_to_stop(kept: Lifecycle) -> None:
    told = settings(kept)
    # It must still answer when the balancer learns, and the kernel's SIGKILL must find nobody.
    assert kept.pre_stop_s + told.drain_s > PROPAGATION_S
    assert kept.pre_stop_s + told.drain_s + told.grace_s < kept.termination_s


def test_probes_ask_pages_that_there_are_and_mean_what_they_say(kept: Lifecycle) -> None:
    assert kept.startup.path in {"/livez", "/readyz"}
    assert kept.readiness.path == "/readyz"
    # A server that waits for Triton lives, and must not be restarted for it.
    assert kept.liveness.path == "/livez"


@pytest.mark.slow
def test_a_rollout_loses_no_call(kept: Lifecycle, tmp_path: Path) -> None:
    if why := balancer.missing():
        pytest.skip(why)
    # `make rollout` replaces all, again and again, under 10,000 calls.
    found = roll(tmp_path, kept, replaced=1, calls=1)
    assert not list(found.violations())
    assert len(found.stop_s) == 1
    assert found.tally.statuses["OK"] > 0
    assert max(found.stop_s) < kept.termination_s


@pytest.mark.slow
def test_without_the_time_to_stop_the_same_rollout_loses_calls(
    kept: Lifecycle, tmp_path: Path
) -> None:
    if why := balancer.missing():
        pytest.skip(why)
    at_once = replace(kept, pre_stop_s=0.0, environment={**kept.environment, "WSTAR_DRAIN_S": "0"})
    found = roll(tmp_path, at_once, replaced=2, calls=1)
    assert found.refused > 0
    assert not found.faults and found.tally.wrong == 0
