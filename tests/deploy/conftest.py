"""Rendered overlays, for every test that reads them."""

from __future__ import annotations

import pytest
from tests.deploy import manifests
from tests.deploy.manifests import OVERLAYS, Manifests


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Manifests:
    """Each overlay; skips the test where none can be rendered."""
    if why := manifests.missing():
        pytest.skip(why)
    return manifests.rendered(request.param)
