"""The work of the five calls: a request becomes arrays, the pipeline works, arrays a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import wstar
from wstar.codes import space_name
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service import messages
from wstar_service.calls import Call
from wstar_service.faces import CodeFace, Face, PictureFace
from wstar_service.limits import check_batch
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.settings import Settings


class Answers:
    """The replies of one set of proved graphs; the `.proto` says what each call promises.

    It never changes: a call that started with it ends with its manifests, whatever is served by
    then.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        pictures: Pictures,
        manifests: Mapping[Space, SpaceManifest],
        settings: Settings,
        runner: str,
    ) -> None:
        self._pipeline = pipeline
        self._pictures = pictures
        self._manifests = manifests
        self._attributes = manifests[Space.W_STAR].attributes
        self._side = manifests[Space.W_STAR].encoder_side
        self._max_batch = settings.max_batch
        self._info = _info(manifests, settings, runner)

    async def get_info(self, request: pb.GetInfoRequest, call: Call) -> pb.GetInfoResponse:
        """What is served."""
        return self._info

    async def embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """Faces to codes."""
        check_batch("faces", len(request.faces), self._max_batch)
        space = messages.read_space(request.space, Space.W_STAR)
        half = messages.read_half(request.dtype)
        faces = await self._read(call, faces=request.faces)
        with call.stage("graphs"):
            found = await self._pipeline.embed(
                faces, space, w=request.include_w_plus, logits=request.include_scores
            )
        manifest, plus = self._manifests[space], self._manifests[Space.W_PLUS]
        reply = pb.EmbedResponse(space_id=manifest.space_id)
        for code in found.codes:
            reply.embeddings.add(code=messages.write_code(code, manifest, half=half))
        for embedding, w in zip(reply.embeddings, found.w, strict=False):
            embedding.w_plus.CopyFrom(messages.write_code(w, plus, half=half))
        for embedding, logits in zip(reply.embeddings, found.logits, strict=False):
            embedding.scores.extend(messages.write_scores(logits, self._attributes))
        reply.timings.CopyFrom(call.timings())
        return reply

    async def distance(self, request: pb.DistanceRequest, call: Call) -> pb.DistanceResponse:
        """Two lists of faces to distances."""
        check_batch("a", len(request.a), self._max_batch)
        check_batch("b", len(request.b), self._max_batch)
        matrix = messages.read_matrix(request.mode)
        if not matrix and len(request.a) != len(request.b):
            raise InvalidInput("b", f"{len(request.b)} faces", f"{len(request.a)}, as in a")
        space = messages.read_space(request.space, Space.W_STAR)
        messages.read_names(
            request.ignore_attributes,
            "ignore_attributes",
            self._attributes,
            most=len(self._attributes) - 1,
        )
        faces = await self._read(call, a=request.a, b=request.b)
        with call.stage("graphs"):
            found = await self._pipeline.distance(
                faces[: len(request.a)],
                faces[len(request.a) :],
                space,
                matrix=matrix,
                ignore=request.ignore_attributes,
                explain=request.explain,
            )
        # An explained matrix holds a hundred thousand numbers: too many for the event loop.
        reply = await asyncio.to_thread(messages.write_distances, found, self._attributes)
        reply.space_id = self._manifests[space].space_id
        reply.timings.CopyFrom(call.timings())
        return reply

    async def classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
        """Faces to attribute scores."""
        check_batch("faces", len(request.faces), self._max_batch)
        space = messages.read_space(request.space, Space.W_STAR)
        positions = messages.read_names(request.attributes, "attributes", self._attributes)
        faces = await self._read(call, faces=request.faces)
        with call.stage("graphs"):
            found = await self._pipeline.embed(faces, space, logits=True)
        reply = pb.ClassifyResponse(space_id=self._manifests[space].space_id)
        for logits in found.logits:
            scores = messages.write_scores(logits, self._attributes, positions or None)
            reply.classifications.add(scores=scores)
        reply.timings.CopyFrom(call.timings())
        return reply

    async def edit(self, request: pb.EditRequest, call: Call) -> pb.EditResponse:
        """A face and wanted changes to pictures."""
        manifest = self._manifests[messages.read_space(request.space, Space.W_STAR_ID)]
        image_format = messages.read_format(request.format)
        strengths = messages.read_strengths(request.strengths)
        check_batch("strengths", len(strengths), self._max_batch, "strengths")
        change = messages.read_change(request, manifest)
        if not request.HasField("face"):
            raise InvalidInput("face", "nothing", "a picture or a code")
        (face,) = await self._read(call, half=False, face=request.face)
        with call.stage("graphs"):
            found = await self._pipeline.edit(face, manifest.space, change, strengths)
        with call.stage("encode"):
            pictures = await self._pictures.write(found.images, image_format)
        reply = pb.EditResponse(
            space_id=manifest.space_id,
            scores_before=messages.write_scores(found.logits_before, self._attributes),
        )
        for i, strength in enumerate(strengths):
            reply.results.add(
                strength=strength,
                picture=pictures[i],
                code=messages.write_code(found.codes[i], manifest),
                scores=messages.write_scores(found.logits[i], self._attributes),
                squared_distance_moved=found.squared_distance_moved[i],
            )
        reply.timings.CopyFrom(call.timings())
        return reply

    async def _read(
        self, call: Call, *, half: bool = True, **lists: Sequence[pb.Face] | pb.Face
    ) -> list[Face]:
        """Read the faces of one or more fields, codes first: they are the cheapest to refuse."""
        named = []
        for field, found in lists.items():
            if isinstance(found, pb.Face):
                named.append((field, found))
            else:
                named.extend((f"{field}[{i}]", face) for i, face in enumerate(found))
        call.faces += len(named)
        codes: dict[str, CodeFace] = {}
        pictures: dict[str, pb.Picture] = {}
        for field, face in named:
            kind = face.WhichOneof("source")
            if kind is None:
                raise InvalidInput(field, "nothing", "a picture or a code")
            if kind == "code":
                codes[field] = messages.read_code(face.code, field, self._manifests, half=half)
            else:
                pictures[field] = face.picture
        with call.stage("decode"):
            fields = list(pictures)
            pixels = await self._pictures.read(
                list(pictures.values()), [f"{field}.picture" for field in fields], self._side
            )
        decoded = {
            field: PictureFace(field, image) for field, image in zip(fields, pixels, strict=True)
        }
        return [codes.get(field) or decoded[field] for field, _ in named]


def _info(
    manifests: Mapping[Space, SpaceManifest], settings: Settings, runner: str
) -> pb.GetInfoResponse:
    main = manifests[Space.W_STAR]
    return pb.GetInfoResponse(
        version=wstar.__version__,
        spaces=[
            pb.SpaceInfo(
                space=space_name(space),
                space_id=manifest.space_id,
                evaluation=manifest.evaluation,
                labels=manifest.labels,
            )
            for space, manifest in manifests.items()
        ],
        attributes=main.attributes,
        n=main.n,
        resolution=main.resolution,
        encoder_side=main.encoder_side,
        limits=pb.Limits(
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_batch=settings.max_batch,
            max_concurrency=settings.max_concurrency,
            max_message_bytes=settings.max_message_bytes,
        ),
        runner=runner,
    )
