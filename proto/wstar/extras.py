"""Packages that only some commands need, imported when they do."""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackage(ImportError):
    """A package of the extra `cli` that is not installed; the message says how to install it."""


def extra(module: str) -> Any:  # noqa: ANN401
    """Import a module of a package of the extra `cli`; MissingPackage if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("sklearn", "scikit-learn")
        text = f"{package} is not installed, which this needs: pip install 'wstar[cli]'"
        raise MissingPackage(text) from error
