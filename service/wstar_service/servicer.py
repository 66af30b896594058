"""The calls as gRPC knows them, each handed to what is served when it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceServicer
from wstar_service.answers import Answers
from wstar_service.calls import Calls, Context
from wstar_service.streams import Streams


class Servicer(LatentSpaceServiceServicer):
    """Answers `wstar.v1.LatentSpaceService`; `answers` is set before `calls` is ready."""

    answers: Answers

    def __init__(self, calls: Calls, streams: Streams) -> None:
        self._calls = calls
        self._streams = streams

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        """What is served."""
        return await self._calls.run(
            "GetInfo",
            request,
            context,
            lambda request, call: self.answers.get_info(request, call),
            needs_place=False,
        )

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """Faces to codes."""
        return await self._calls.run(
            "Embed", request, context, lambda request, call: self.answers.embed(request, call)
        )

    async def EmbedStream(
        self, requests: AsyncIterator[pb.EmbedStreamRequest], context: Context
    ) -> None:
        """Any number of faces to codes; faces are read from `context`, one by one."""
        await self._streams.embed(
            context, lambda request, call: self.answers.embed_item(request, call)
        )

    async def Distance(self, request: pb.DistanceRequest, context: Context) -> pb.DistanceResponse:
        """Two lists of faces to distances."""
        return await self._calls.run(
            "Distance", request, context, lambda request, call: self.answers.distance(request, call)
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        """Faces to attribute scores."""
        return await self._calls.run(
            "Classify", request, context, lambda request, call: self.answers.classify(request, call)
        )

    async def Edit(self, request: pb.EditRequest, context: Context) -> pb.EditResponse:
        """A face and wanted changes to pictures."""
        return await self._calls.run(
            "Edit", request, context, lambda request, call: self.answers.edit(request, call)
        )
