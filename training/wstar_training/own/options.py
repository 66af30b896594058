"""What a run of own files was begun with, kept in its folder: a run goes on with the same only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wstar.errors import CheckpointError, InvalidInput
from wstar.files import write_file

OPTIONS_FILE = "options.json"


def remember(
    run: Path,
    options: Mapping[str, Any],
    files: Mapping[str, str | None],
    free: Sequence[str] = (),
) -> None:
    """Write options and the places of files into a run folder.

    free: options, with dots between their names, that may differ from those of before.

    Raises
    ------
    InvalidInput: the run was begun with other options. Files may have moved.
    CheckpointError: what the run was begun with cannot be read.
    """
    # Tuples become lists, as in what is read back.
    asked: dict[str, Any] = json.loads(json.dumps(options))
    path = run / OPTIONS_FILE
    if not path.exists():
        write_json(path, {**asked, "files": dict(files)})
        return
    try:
        begun = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not the options of a run: {error}") from error
    _refuse_change("", {**begun, "settings": with_defaults(begun)}, asked, run, free)
    now = {**asked, "files": dict(files)}
    if begun != now:
        write_json(path, now)


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, with what an older version did and did not write."""
    return {"perceptual_scale": "match", **options["settings"]}


def _refuse_change(
    field: str, begun: object, asked: object, run: Path, free: Sequence[str]
) -> None:
    """Raise InvalidInput, naming what differs, unless `asked` is what the run was begun with."""
    if field in free:
        return
    if isinstance(asked, dict) and isinstance(begun, dict):
        for key, value in asked.items():
            _refuse_change(f"{field}.{key}".lstrip("."), begun.get(key), value, run, free)
    elif begun != asked:
        old = "others" if isinstance(begun, list) else repr(begun)
        allowed = f"{old}, with which {run} was begun; anything else needs another --run"
        raise InvalidInput(field or OPTIONS_FILE, asked, allowed)


def write_json(path: Path, content: object) -> None:
    """Write a file of JSON, whole or not at all."""
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())
