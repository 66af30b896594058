"""Studies of own files read from where their files are: for the first time, or from their run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.data.attributes import read_attributes
from wstar_training.data.celeba_hq import read_hq_mapping
from wstar_training.data.labels import (
    Labels,
    celeba_hq_labels,
    celeba_labels,
    celeba_mask_labels,
    hq_number,
)
from wstar_training.data.partition import drawn_partition, read_partition
from wstar_training.encoding.landmarks import read_landmarks
from wstar_training.encoding.manifest import read_codes
from wstar_training.own.files import Networks, OwnFiles, Settings, Sources
from wstar_training.own.options import OPTIONS_FILE, with_defaults

T = TypeVar("T")


def opened(
    run: Path,
    networks: Networks,
    settings: Settings,
    sources: Sources,
    identity_referee: Path | None = None,
) -> OwnFiles:
    """Read what a study is made from, networks left out.

    Raises
    ------
    CheckpointError: a file cannot be used.
    InvalidInput: the files do not belong together.
    """
    encoded = read_codes(sources.codes)
    landmarks = None if sources.landmarks is None else read_landmarks(sources.landmarks)
    found = None if landmarks is None else landmarks.sha256
    if found != encoded.landmarks_sha256:
        raise InvalidInput("landmarks", found, f"those of the codes: {encoded.landmarks_sha256}")
    return OwnFiles(
        run=run,
        networks=networks,
        settings=settings,
        encoded=encoded,
        pictures=sources.pictures,
        landmarks=landmarks,
        labelled=_labels(encoded.files, sources),
        sources=sources,
        identity_referee_file=identity_referee,
    )


def reopened(run: Path, options: Mapping[str, Any]) -> OwnFiles:
    """The study that a run was begun with, from its options.

    Raises
    ------
    CheckpointError: the options are of an older version, or a file cannot be used.
    InvalidInput: the files do not belong together any more.
    """
    try:
        files = {name: place and Path(place) for name, place in options["files"].items()}
        networks = Networks(**{field.name: files[field.name] for field in fields(Networks)})
        sources = Sources(**{field.name: files[field.name] for field in fields(Sources)})
        settings = _restored(Settings, with_defaults(options))
        referee = files["identity_referee"]
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run / OPTIONS_FILE}: written by an older version, which did not say where files "
            f"are ({type(error).__name__}: {error}); run its `wstar-train flow` command once more"
        ) from error
    return opened(run, networks, settings, sources, referee)


def _restored(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass of settings from its JSON."""
    hints = get_type_hints(kind)
    values = {}
    for name, value in content.items():
        if is_dataclass(hints[name]):
            values[name] = _restored(hints[name], value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _labels(files: list[str], sources: Sources) -> Labels:
    """Join the pictures with the lists that are given."""
    table = read_attributes(sources.attributes)
    mapping = None if sources.mapping is None else read_hq_mapping(sources.mapping)
    if sources.partition is not None:
        partition = read_partition(sources.partition)
    elif mapping is None:
        partition = drawn_partition(files)
    else:
        originals = (
            mapping.originals.get(number) for number in map(hq_number, files) if number is not None
        )
        partition = drawn_partition([name for name in originals if name is not None])
    if mapping is None:
        return celeba_labels(files, table, partition)
    join = celeba_hq_labels if hq_number(table.names[0]) is None else celeba_mask_labels
    return join(files, table, partition, mapping)
