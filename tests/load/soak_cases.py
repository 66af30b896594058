"""The requests of the soak, each with its answer computed alone: one call, one face at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tests.load.fuzz_seeds import saved
from tests.load.soak_answers import Facts, facts
from tests.service.triton_process import DEMO

from wstar.codes import Code
from wstar.errors import WstarError
from wstar.graphs import Space
from wstar.images import Format, encode
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service.answers import Answers
from wstar_service.calls import Call
from wstar_service.capabilities import served
from wstar_service.contract import joined, parts
from wstar_service.embedded import EmbeddedRunner
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.runner import Array
from wstar_service.settings import Settings
from wstar_service.stages import collected
from wstar_service.status import code_of, reason, status_of

FACES = 24
STREAM_FACES = 64
_FORMATS: tuple[Format, ...] = ("PNG", "JPEG", "WEBP")
_SIDES = (64, 96, 200)
_SPACES = (pb.SPACE_W_STAR, pb.SPACE_W_STAR_ID, pb.SPACE_W_PLUS)

# Name, method, messages, and the status that it is made to have.
Asked = tuple[str, str, tuple[Any, ...], str]


@dataclass(frozen=True)
class Case:
    """A request (of a stream: all its messages) and its answer, a status name where it fails."""

    name: str
    method: str
    requests: tuple[Any, ...]
    expected: Facts | str


class Alone:
    """Runs the graphs one face at a time."""

    def __init__(self, runner: EmbeddedRunner) -> None:
        self._runner = runner
        self.graphs = runner.graphs

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Run a batch face by face."""
        return joined([await self._runner.run(*graphs, **part) for part in parts(arrays, 1)])


@dataclass(frozen=True)
class World:
    """Faces to ask about: pictures, and their codes by space."""

    pictures: Sequence[pb.Face]
    codes: Mapping[Space, Sequence[pb.Face]]
    halves: Sequence[pb.Face]
    attributes: Sequence[str]


async def all_cases() -> list[Case]:
    """Make all requests and answer each alone."""
    runner = EmbeddedRunner.open(DEMO, 1)
    manifests = await runner.manifests()
    alone = Alone(runner)
    pipeline = Pipeline(alone, manifests)  # type: ignore[arg-type]
    settings = Settings(DEMO)
    pictures = Pictures(settings.max_image_bytes, settings.max_image_pixels, 1)
    answers = Answers(
        pipeline, pictures, manifests, settings, runner.description, served(runner.graphs)
    )
    world = await _world(pipeline, manifests)
    asked = [*_embeds(world), *_distances(world), *_edits(world), _stream(world)]
    asked += [
        (f"wrong: {name}", method, requests, status)
        for name, method, requests, status in _wrong(world)
    ]
    try:
        return [
            Case(name, method, requests, await _expected(answers, method, requests, status))
            for name, method, requests, status in asked
        ]
    finally:
        pictures.close()
        await runner.close()


async def _expected(
    answers: Answers, method: str, requests: Sequence[Any], status: str
) -> Facts | str:
    """Answer one case; a case made to be wrong must be refused, and another must not."""
    if method == "EmbedStream":
        return facts([await _item(answers, request) for request in requests])
    try:
        found: Facts | str = facts(await _answer(answers, method, requests[0]))
    except WstarError as error:
        found = code_of(error).name
    if (found if isinstance(found, str) else "OK") != status:
        raise RuntimeError(f"{method}: made to be {status}, is {found}")
    return found


async def _answer(answers: Answers, method: str, request: Any) -> Any:  # noqa: ANN401
    with collected() as stages:
        work = {
            "GetInfo": answers.get_info,
            "Embed": answers.embed,
            "Distance": answers.distance,
            "Classify": answers.classify,
            "Edit": answers.edit,
            "EmbedStream": answers.embed_item,
        }[method]
        return await work(request, Call(method, "reference", stages))  # type: ignore[operator]


async def _item(answers: Answers, request: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
    try:
        reply: pb.EmbedStreamResponse = await _answer(answers, "EmbedStream", request)
    except WstarError as error:
        status = status_of(error, "reference")
        told = pb.ItemError(
            code=status.code, reason=reason(error), field=getattr(error, "field", "")
        )
        return pb.EmbedStreamResponse(id=request.id, error=told)
    return reply


async def _world(pipeline: Pipeline, manifests: Mapping[Space, SpaceManifest]) -> World:
    """Faces of the demo world: its golden one, and what the generator makes of moved codes."""
    rng = np.random.default_rng(0)
    manifest = manifests[Space.W_STAR]
    start = np.frombuffer(manifest.golden.w_star.astype("<f4").tobytes(), "<f4")
    codes = start.reshape(manifest.n, 512) + rng.normal(
        0, 0.6 * start.std(), (FACES, manifest.n, 512)
    )
    w = await pipeline.inverse(Space.W_STAR, codes.astype(np.float32))
    images = await pipeline.generate(w)
    faces = []
    for i, image in enumerate(images):
        side = _SIDES[i % len(_SIDES)]
        noisy = Image.fromarray(image).resize((side, side + i % 5))
        noise = rng.integers(-6, 7, (side + i % 5, side, 3))
        pixels = np.clip(np.asarray(noisy) + noise, 0, 255).astype(np.uint8)
        data = encode(pixels, _FORMATS[i // 3 % 3])
        faces.append(pb.Face(picture=pb.Picture(data=data)))
    packed = {}
    for space, own in manifests.items():
        values = (await pipeline.flow(space, w))[0]
        packed[space] = [
            pb.Face(code=Code(value, space, own.space_id).to_message()) for value in values
        ]
    halves = [
        pb.Face(
            code=Code(
                np.frombuffer(face.code.data, "<f4").reshape(-1, 512).astype(np.float16),
                Space.W_STAR,
                manifest.space_id,
            ).to_message()
        )
        for face in packed[Space.W_STAR]
    ]
    return World(faces, packed, halves, manifest.attributes)


def _embeds(world: World) -> list[Asked]:
    found: list[Asked] = [("info", "GetInfo", (pb.GetInfoRequest(),), "OK")]
    start = 0
    for count in range(1, 9):
        faces = [world.pictures[(start + i) % FACES] for i in range(count)]
        start += count
        request = pb.EmbedRequest(
            faces=faces, space=_SPACES[count % 3], include_w_plus=count % 2 == 0
        )
        found.append((f"embed {count} pictures", "Embed", (request,), "OK"))
        classify = pb.ClassifyRequest(
            faces=faces[: 1 + count // 2], attributes=world.attributes[: 5 * (count % 3)]
        )
        found.append((f"classify {1 + count // 2} pictures", "Classify", (classify,), "OK"))
    for space, codes in world.codes.items():
        for target, start in zip(_SPACES, (1, 2, 3), strict=True):
            request = pb.EmbedRequest(
                faces=codes[start : start + 5],
                space=target,
                include_w_plus=True,
                include_scores=True,
                dtype=pb.DTYPE_F16 if start == 2 else pb.DTYPE_F32,
            )
            found.append((f"embed codes of {space.value}", "Embed", (request,), "OK"))
        classify = pb.ClassifyRequest(faces=codes[:16], space=pb.SPACE_W_STAR)
        found.append((f"classify codes of {space.value}", "Classify", (classify,), "OK"))
    mixed = [world.pictures[3], world.codes[Space.W_PLUS][4], world.halves[5]]
    request = pb.EmbedRequest(faces=mixed, include_scores=True)
    return [*found, ("embed pictures and codes", "Embed", (request,), "OK")]


def _distances(world: World) -> list[Asked]:
    codes, pictures = world.codes[Space.W_STAR], world.pictures
    some = list(world.attributes[:3])
    requests = {
        "pairs of codes": pb.DistanceRequest(a=codes[:12], b=codes[12:24]),
        "pairs of half codes": pb.DistanceRequest(a=world.halves[:6], b=codes[6:12]),
        "matrix of codes": pb.DistanceRequest(
            a=codes[:10], b=codes[10:], mode=pb.DISTANCE_MODE_MATRIX
        ),
        "codes, ignoring": pb.DistanceRequest(
            a=codes[:6], b=codes[6:12], ignore_attributes=some, mode=pb.DISTANCE_MODE_MATRIX
        ),
        "codes, explained": pb.DistanceRequest(a=codes[:4], b=codes[4:8], explain=True),
        "pictures": pb.DistanceRequest(a=pictures[:3], b=pictures[3:6]),
        "pictures and codes, all": pb.DistanceRequest(
            a=pictures[6:8],
            b=codes[8:11],
            mode=pb.DISTANCE_MODE_MATRIX,
            ignore_attributes=some,
            explain=True,
            space=pb.SPACE_W_STAR_ID,
        ),
    }
    return [(f"distance {name}", "Distance", (r,), "OK") for name, r in requests.items()]


def _edits(world: World) -> list[Asked]:
    first, second, third = world.attributes[0], world.attributes[20], world.attributes[31]
    step = [pb.AttributeEdit(attribute=third, step=2.0)]
    target = [pb.AttributeEdit(attribute=third, target_probability=0.9)]
    picture, code = world.pictures[1], world.codes[Space.W_STAR_ID][2]
    requests = {
        "step": pb.EditRequest(face=picture, edits=step, preserve=[first]),
        "step, JPEG": pb.EditRequest(face=code, edits=step, format=pb.IMAGE_FORMAT_JPEG),
        "target, holding": pb.EditRequest(face=code, edits=target, preserve=[first, second]),
        "target in W_STAR": pb.EditRequest(
            face=world.pictures[5], edits=target, space=pb.SPACE_W_STAR
        ),
        "film strip": pb.EditRequest(
            face=picture, edits=target, strengths=[0, 0.5, 1], format=pb.IMAGE_FORMAT_WEBP
        ),
        "budget": pb.EditRequest(
            face=picture, edits=target, strengths=[1, 2], max_squared_distance=1e-3
        ),
        "remeasured": pb.EditRequest(face=code, edits=step, strengths=[0, 1], remeasure=True),
    }
    return [(f"edit {name}", "Edit", (request,), "OK") for name, request in requests.items()]


def _stream(world: World) -> Asked:
    requests = []
    for i in range(STREAM_FACES):
        face = (world.pictures, world.codes[Space.W_PLUS])[i % 3 == 2][i % FACES]
        request = pb.EmbedStreamRequest(id=f"{i:03}", face=face, include_scores=i % 4 == 0)
        if i % 16 == 5:
            request.face.CopyFrom(pb.Face(picture=pb.Picture(data=b"no picture")))
        if i % 32 == 7:
            request.face.Clear()
        requests.append(request)
    return ("stream", "EmbedStream", tuple(requests), "OK")


def _wrong(world: World) -> list[Asked]:
    invalid, code = "INVALID_ARGUMENT", world.codes[Space.W_STAR][0]
    foreign, short, far = pb.Face(), pb.Face(), pb.Face()
    foreign.CopyFrom(code)
    foreign.code.space_id = "another"
    short.CopyFrom(code)
    short.code.data = short.code.data[:-4]
    far.CopyFrom(code)
    far.code.data = np.full(len(far.code.data) // 4, np.nan, "<f4").tobytes()
    cut = pb.Face(picture=pb.Picture(data=world.pictures[0].picture.data[:80]))
    tiff = pb.Face(picture=pb.Picture(data=saved(np.zeros((9, 9, 3), np.uint8), "TIFF")))
    good = world.pictures[0]
    embed, distance = pb.EmbedRequest, pb.DistanceRequest
    edit = pb.AttributeEdit(attribute="No_Such", step=1)
    return [
        ("no faces", "Embed", (embed(),), invalid),
        ("65 faces", "Embed", (embed(faces=[code] * 65),), "RESOURCE_EXHAUSTED"),
        ("unknown space", "Embed", (_unknown(embed(faces=[good])),), invalid),
        ("cut picture", "Embed", (embed(faces=[good, cut]),), invalid),
        ("another format", "Classify", (pb.ClassifyRequest(faces=[tiff]),), invalid),
        ("foreign code", "Embed", (embed(faces=[foreign]),), "FAILED_PRECONDITION"),
        ("short code", "Distance", (distance(a=[code], b=[short]),), invalid),
        ("NaN", "Classify", (pb.ClassifyRequest(faces=[far]),), invalid),
        ("lists differ", "Distance", (distance(a=[code], b=[code, code]),), invalid),
        ("half code", "Edit", (pb.EditRequest(face=world.halves[0]),), invalid),
        ("unknown attribute", "Edit", (pb.EditRequest(face=good, edits=[edit]),), invalid),
    ]


def _unknown(request: pb.EmbedRequest) -> pb.EmbedRequest:
    """Ask for a space of a later version, which only the wire can name."""
    request.MergeFromString(b"\x10\x09")
    return request
