"""The work of the calls: a request becomes arrays, the pipeline works, arrays a reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import wstar
from wstar.codes import space_name
from wstar.errors import InvalidInput, LimitExceeded
from wstar.graphs import Space
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service import messages
from wstar_service.aside import aside
from wstar_service.calls import Call
from wstar_service.capabilities import EDIT, check_served
from wstar_service.editing import Edited, Editing
from wstar_service.faces import Face, PictureFace
from wstar_service.limits import check_batch
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.settings import Settings
from wstar_service.stages import DECODE, ENCODE, stage

# Measured: reading a code of 18 rows, writing a distance, writing one with its shares.
_READ_US, _WRITE_US, _EXPLAINED_US = 12.0, 0.5, 10.0


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
        capabilities: tuple[str, ...],
    ) -> None:
        self._pipeline = pipeline
        self._editing = Editing(pipeline)
        self._pictures = pictures
        self._manifests = manifests
        self._attributes = manifests[Space.W_STAR].attributes
        self._side = manifests[Space.W_STAR].encoder_side
        self._max_batch = settings.max_batch
        self._max_distances = settings.max_distances
        self._capabilities = capabilities
        self._info = _info(manifests, settings, runner, capabilities)

    async def get_info(self, request: pb.GetInfoRequest, call: Call) -> pb.GetInfoResponse:
        """What is served."""
        return self._info

    async def embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """Faces to codes."""
        check_batch("faces", len(request.faces), self._max_batch)
        reply = pb.EmbedResponse()
        embeddings = [reply.embeddings.add() for _ in request.faces]
        reply.space_id = await self._embed(request, _list("faces", request.faces), embeddings, call)
        reply.timings.CopyFrom(call.timings())
        return reply

    async def embed_item(
        self, request: pb.EmbedStreamRequest, call: Call
    ) -> pb.EmbedStreamResponse:
        """One face of a stream to its code."""
        reply = pb.EmbedStreamResponse(id=messages.read_id(request.id))
        face = [("face", request.face)]
        reply.space_id = await self._embed(request, face, [reply.embedding], call)
        reply.timings.CopyFrom(call.timings())
        return reply

    async def _embed(
        self,
        request: pb.EmbedRequest | pb.EmbedStreamRequest,
        named: messages.Named,
        embeddings: Sequence[pb.Embedding],
        call: Call,
    ) -> str:
        """Fill in the embeddings of faces; return the id of the asked space."""
        space = messages.read_space(request.space, Space.W_STAR)
        half = messages.read_half(request.dtype)
        faces = await self._read(call, named)
        found = await self._pipeline.embed(
            faces, space, w=request.include_w_plus, logits=request.include_scores
        )
        manifests = self._manifests[space], self._manifests[Space.W_PLUS]
        for i, embedding in enumerate(embeddings):
            messages.write_embedding(embedding, found, i, manifests, half=half)
        return manifests[0].space_id

    async def distance(self, request: pb.DistanceRequest, call: Call) -> pb.DistanceResponse:
        """Two lists of faces to distances."""
        space = messages.read_space(request.space, Space.W_STAR)
        matrix = messages.read_matrix(request.mode)
        self._check_lists(request, space, matrix)
        messages.read_names(
            request.ignore_attributes,
            "ignore_attributes",
            self._attributes,
            most=len(self._attributes) - 1,
        )
        faces = await self._read(call, _list("a", request.a) + _list("b", request.b))
        rows = len(request.a)
        found = await self._pipeline.distance(
            faces[:rows],
            faces[rows:],
            space,
            matrix=matrix,
            ignore=request.ignore_attributes,
            explain=request.explain,
        )
        expected_us = found.squared.size * (_EXPLAINED_US if request.explain else _WRITE_US)
        reply = await aside(expected_us, messages.write_distances, found, self._attributes)
        reply.space_id = self._manifests[space].space_id
        reply.timings.CopyFrom(call.timings())
        return reply

    def _check_lists(self, request: pb.DistanceRequest, space: Space, matrix: bool) -> None:
        """Refuse lists that are empty, too long or do not fit together."""
        lists = {"a": request.a, "b": request.b}
        longest = max(map(len, lists.values()))
        # Codes of the asked space cost so little that the message bounds them.
        bounded = longest > self._max_batch and not all(
            messages.are_codes(faces, space) for faces in lists.values()
        )
        for field, faces in lists.items():
            check_batch(field, len(faces), self._max_batch if bounded else max(longest, 1))
        rows, columns = len(request.a), len(request.b)
        if not matrix and rows != columns:
            raise InvalidInput("b", f"{columns} faces", f"{rows}, as in a")
        count = rows * columns if matrix else rows
        if count > self._max_distances:
            raise LimitExceeded("b", count, self._max_distances, "distances")

    async def classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
        """Faces to attribute scores."""
        check_batch("faces", len(request.faces), self._max_batch)
        space = messages.read_space(request.space, Space.W_STAR)
        positions = messages.read_names(request.attributes, "attributes", self._attributes)
        faces = await self._read(call, _list("faces", request.faces))
        found = await self._pipeline.embed(faces, space, logits=True)
        reply = pb.ClassifyResponse(space_id=self._manifests[space].space_id)
        for logits in found.logits:
            scores = messages.write_scores(logits, self._attributes, positions or None)
            reply.classifications.add(scores=scores)
        reply.timings.CopyFrom(call.timings())
        return reply

    async def edit(self, request: pb.EditRequest, call: Call) -> pb.EditResponse:
        """A face and wanted changes to pictures."""
        check_served(EDIT, self._capabilities)
        manifest = self._manifests[messages.read_space(request.space, Space.W_STAR_ID)]
        image_format = messages.read_format(request.format)
        strengths = messages.read_strengths(request.strengths)
        check_batch("strengths", len(strengths), self._max_batch, "strengths")
        budget = messages.read_budget(request)
        change = messages.read_change(request, manifest)
        if not request.HasField("face"):
            raise InvalidInput("face", "nothing", "a picture or a code")
        (face,) = await self._read(call, [("face", request.face)], half=False)
        found = await self._editing.edit(face, manifest.space, change, strengths, budget)
        with stage(ENCODE):
            pictures = await self._pictures.write(found.images, image_format)
        reply = pb.EditResponse(
            space_id=manifest.space_id,
            scores_before=messages.write_scores(found.logits_before, self._attributes),
        )
        for i, strength in enumerate(strengths):
            result = reply.results.add(
                strength=strength,
                picture=pictures[i],
                scores=messages.write_scores(found.logits[i], self._attributes),
                squared_distance_moved=found.squared_distance_moved[i],
                scale=found.scales[i],
            )
            messages.write_code(result.code, found.codes[i], manifest)
        if request.remeasure:
            await self._remeasure(reply, found, manifest.space)
        reply.timings.CopyFrom(call.timings())
        return reply

    async def _remeasure(self, reply: pb.EditResponse, edited: Edited, space: Space) -> None:
        """Read the rendered pictures again, and add what the encoder sees in them."""
        with stage(DECODE):
            pixels = await self._pictures.reread(edited.images, self._side)
        seen = await self._editing.remeasure(pixels, space, edited.w_star_before)
        for i, result in enumerate(reply.results):
            scores = messages.write_scores(seen.logits[i], self._attributes)
            result.remeasured.scores.extend(scores)
            result.remeasured.squared_distance_moved = seen.squared_distance_moved[i]

    async def _read(self, call: Call, named: messages.Named, *, half: bool = True) -> list[Face]:
        """Read faces with their paths, codes first: they are the cheapest to refuse."""
        call.faces += len(named)
        found: list[Face | None] = [
            *await aside(
                _READ_US * len(named), messages.read_faces, named, self._manifests, half=half
            )
        ]
        pictures = {i: named[i] for i, face in enumerate(found) if face is None}
        if pictures:
            with stage(DECODE):
                pixels = await self._pictures.read(
                    [face.picture for _, face in pictures.values()],
                    [f"{field}.picture" for field, _ in pictures.values()],
                    self._side,
                )
            for (i, (field, _)), image in zip(pictures.items(), pixels, strict=True):
                found[i] = PictureFace(field, image)
        return [face for face in found if face is not None]


def _list(field: str, faces: Sequence[pb.Face]) -> list[tuple[str, pb.Face]]:
    return [(f"{field}[{i}]", face) for i, face in enumerate(faces)]


def _info(
    manifests: Mapping[Space, SpaceManifest],
    settings: Settings,
    runner: str,
    capabilities: Sequence[str],
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
            max_queue=settings.max_queue,
            max_concurrency_per_token=settings.max_concurrency_per_token or 0,
            max_stream_in_flight=settings.max_stream_in_flight,
            max_distances=settings.max_distances,
        ),
        runner=runner,
        capabilities=capabilities,
    )
