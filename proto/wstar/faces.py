"""Faces as a caller has them, turned into faces as requests hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from wstar.codes import Code
from wstar.info import Limits
from wstar.landmarks import five_points
from wstar.v1 import wstar_pb2 as pb

# A path to a picture or its bytes: JPEG, PNG or WebP.
Picture = str | os.PathLike[str] | bytes

_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

# Room for the other fields of a request beside its faces.
_OVERHEAD_BYTES = 65_536


@dataclass(frozen=True)
class UnalignedPicture:
    """A picture that is no aligned crop yet.

    landmarks: points (x, y) in pixels after EXIF orientation. Five: left eye, right eye, nose,
    left and right corner of the mouth; left and right as seen. Or dlib's 68, which are sent as
    these five.
    """

    picture: Picture
    landmarks: ArrayLike

    def __post_init__(self) -> None:
        """Refuse another number of points, and numbers that are not finite."""
        five_points(self.landmarks)


# A picture, taken as an aligned crop unless it has landmarks, or a code of an earlier reply.
Face = Picture | UnalignedPicture | Code


def face_message(face: Face) -> pb.Face:
    """Turn one face into its message; OSError if it is a path that cannot be read."""
    if isinstance(face, Code):
        return pb.Face(code=face.to_message())
    if isinstance(face, UnalignedPicture):
        points = {
            name: pb.Point(x_px=x, y_px=y)
            for name, (x, y) in zip(_POINTS, five_points(face.landmarks), strict=True)
        }
        landmarks = pb.Landmarks(**points)
        return pb.Face(picture=pb.Picture(data=_data(face.picture), landmarks=landmarks))
    return pb.Face(picture=pb.Picture(data=_data(face)))


def listed(faces: Face | Sequence[Face]) -> list[Face]:
    """Return a list of faces; one face alone stands for a list of one."""
    if isinstance(faces, str | bytes | os.PathLike | UnalignedPicture | Code):
        return [faces]
    return list(faces)


def face_messages(faces: Face | Sequence[Face]) -> list[pb.Face]:
    """Turn a list of faces into messages; OSError if one is a path that cannot be read."""
    return [face_message(face) for face in listed(faces)]


def batches(faces: list[pb.Face], limits: Limits) -> Iterator[tuple[int, list[pb.Face]]]:
    """Split faces into requests within the limits; yield each with the index of its first face.

    A face too large for any request travels alone, so that the server's refusal names it.
    """
    room_bytes = limits.max_message_bytes - _OVERHEAD_BYTES
    start, used_bytes = 0, 0
    for index, face in enumerate(faces):
        size_bytes = face.ByteSize()
        full = index - start == limits.max_batch or used_bytes + size_bytes > room_bytes
        if full and index > start:
            yield start, faces[start:index]
            start, used_bytes = index, 0
        used_bytes += size_bytes
    yield start, faces[start:]


def _data(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()
