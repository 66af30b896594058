"""Calls of every method, good and bad, so that every series of a server has something to tell."""

from __future__ import annotations

from pathlib import Path

import grpc
from tests.deploy.monitoring import ROOT

from wstar.channel import Tls
from wstar.client import Client
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

PICTURES = sorted((ROOT / "service/wstar_service/demo/pictures").glob("*.png"))[:8]


def call_everything(address: str, authority: Path) -> None:
    """Call every method over TLS once, and once wrongly."""
    tls = Tls(ca=authority)
    with Client(address, tls=tls) as client:
        faces = client.embed(PICTURES)
        client.classify(PICTURES[0])
        client.distance(faces[0].code, faces[1].code)
        client.edit(PICTURES[0], targets={"Smiling": 0.9})
        assert all(item.error is None for item in client.embed_stream(enumerate(PICTURES)))
    with grpc.secure_channel(address, tls.credentials()) as channel:
        try:
            LatentSpaceServiceStub(channel).Embed(pb.EmbedRequest())
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            raise AssertionError("a request without faces was answered")
