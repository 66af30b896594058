"""Every test starts from the same seeds, without WSTAR_ settings, on one thread."""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

SEED = 20210704

# How long an example takes is not what tests are about, and a busy machine makes it long.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed the generators in use and clear the settings of the machine."""
    for name in [name for name in os.environ if name.startswith("WSTAR_")]:
        monkeypatch.delenv(name)
    random.seed(SEED)
    np.random.seed(SEED)
    # Contract and service tests must not pay for importing torch.
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)
        torch.set_num_threads(1)
