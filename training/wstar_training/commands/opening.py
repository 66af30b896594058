"""Runs reopened from their folder: a demo world or a study of own files, whichever it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wstar.errors import CheckpointError
from wstar_training.demo.sizes import recall
from wstar_training.demo.train_demo import World
from wstar_training.demo.train_demo import build as build_world
from wstar_training.own.build import build as build_own
from wstar_training.own.files import OwnFiles
from wstar_training.own.sources import reopened
from wstar_training.study.stages import Study

_OPTIONS_FILE = "options.json"


def open_study(run: Path) -> Study:
    """The study of a run that was begun.

    Raises
    ------
    CheckpointError: the folder holds none, or the files of a study are where they were no longer.
    """
    path = run / _OPTIONS_FILE
    try:
        options: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; no run was begun here") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not the options of a run: {error}") from error
    if isinstance(options, dict) and "size" in options:
        return World(run, recall(run))
    if isinstance(options, dict) and "sha256" in options:
        return reopened(run, options)
    raise CheckpointError(f"{path}: neither of a demo world nor of own files")


def complete(study: Study) -> None:
    """Make whatever of a study is not there yet: a released one lacks what the rest makes."""
    if isinstance(study, World):
        build_world(study)
    elif isinstance(study, OwnFiles):
        build_own(study)
