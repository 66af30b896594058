"""Where the pickles lie inside what torch.save wrote: archives, and the stream it wrote before.

A stream is five pickles (a mark, a version, facts about the machine, the object, the keys of its
storages), then per storage its number of elements as int64 and its bytes.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO

import torch

from wstar_training.models.weights.pickle_machine import Machine

ZIP = b"PK\x03\x04"
_MARK = 0x1950A86A20F9469CFC6C
_VERSION = 1001
# The pickled mark, behind a protocol number and, in newer protocols, the length of a frame.
_PICKLED_MARK = re.compile(rb"\x80.(\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", re.DOTALL)
# The part of a zip entry's own header before its name, and where the two lengths in it are.
_ENTRY = struct.Struct("<26xHH")


def is_stream(head: bytes) -> bool:
    """Whether a file that starts so is a stream of torch.save."""
    return _PICKLED_MARK.match(head) is not None


def stream_object(
    stream: IO[bytes],
    names: Mapping[tuple[str, str], object],
    storage: Callable[[object], object],
) -> object:
    """The object of a stream, which is left where the keys of the storages begin.

    Raises
    ------
    Refused: a name that is not among `names`.
    Exception: of nearly any kind, from a damaged file.
    """
    mark = Machine(stream, names).load()
    version = Machine(stream, names).load()
    facts = Machine(stream, names).load()
    found = Machine(stream, names, storage).load()
    if (mark, version) != (_MARK, _VERSION):
        raise ValueError("no stream of torch.save")
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise ValueError("bytes in the order of another machine")
    return found


def stream_storage(raw: bytes, names: Mapping[tuple[str, str], object]) -> torch.Tensor:
    """A stream that holds one storage and nothing else: its elements (N), in its dtype."""
    stream = io.BytesIO(raw)
    kind, key, count = storage_id(stream_object(stream, names, lambda identity: identity))
    if Machine(stream, names).load() != [key]:
        raise ValueError("a stream with another storage in it")
    if struct.unpack("<q", stream.read(8)) != (count,):
        raise ValueError("a storage of two sizes")
    data = bytearray(stream.read(count * kind.itemsize))
    if len(data) != count * kind.itemsize:
        raise ValueError("a storage cut short")
    return torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)


def storage_id(identity: object) -> tuple[torch.dtype, str, int]:
    """Type, key and number of elements of a storage, of the persistent id that stands for it."""
    match identity:
        case ("storage", torch.dtype() as kind, str(key), str(), int(count), *view):
            if count >= 0 and view in ([], [None]):
                return kind, key, count
    raise ValueError("no storage")


def archive_pickle(file: IO[bytes]) -> IO[bytes]:
    """The pickle in an archive, as it lies there; the storages beside it stay unread."""
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
    if len(entries) != 1 or entries[0].compress_type != zipfile.ZIP_STORED:
        raise ValueError("a zip archive without an uncompressed data.pkl")
    # Read here and not by zipfile: torch can be told to write no check sums.
    file.seek(entries[0].header_offset)
    file.seek(sum(_ENTRY.unpack(file.read(_ENTRY.size))), io.SEEK_CUR)
    return io.BytesIO(file.read(entries[0].file_size))
