"""Tokens, and walks over all that a server serves: who gets in, and who does not."""

import re

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from thinwire.access import Security, TokenFile
from thinwire.rest.gate import OPEN

TOKENS = {"alice": "alices", "bob": "bobs", "edge": "edges", "meter": "meters", "chief": "chiefs", "all": "alls"}
LINES = (
    "alice:alices\nbob:bobs\nedge:edges\nmeter:meters:metrics\nchief:chiefs:control\nall:alls:infer,control,metrics\n"
)


def closed(folder, **others):
    """Security of the tokens above."""
    path = folder / "tokens"
    path.write_text(LINES)
    return Security(tokens=TokenFile(path), **others)


def shown(name):
    """The header, or metadata, of a name's token."""
    return {"authorization": f"Bearer {TOKENS[name]}"}


def operations(document):
    """Method and path of each operation of an OpenAPI document, with something for each of its parameters."""
    for path, item in document["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            if method in item:
                yield method.upper(), re.sub("{[^}]*}", "x", path)


async def walk_rest(client):
    """Ask for everything that the document has, as everybody; gives how many paths are closed."""
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    walked = 0
    for method, path in [*operations(document), ("GET", "/nowhere"), ("GET", "/metrics/"), ("GET", "//metrics")]:
        if path in OPEN:
            assert (await client.request(method, path)).status_code in (200, 503), path
            continue
        walked += 1
        for given in ({}, {"authorization": "Bearer nobodys"}, {"authorization": "Basic YWxpY2U6YWxpY2Vz"}):
            refused = await client.request(method, path, headers=given)
            assert refused.status_code == 401, (method, path, given)
            assert refused.headers["www-authenticate"].startswith('Bearer realm="thinwire"')
            assert "nobodys" not in refused.text
        wrong, right = ("alice", "meter") if path == "/metrics" else ("meter", "alice")
        assert (await client.request(method, path, headers=shown(wrong))).status_code == 403, path
        assert (await client.request(method, path, headers=shown(right))).status_code not in (401, 403), path
        assert (await client.request(method, path, headers=shown("all"))).status_code not in (401, 403), path
        assert (await client.head(path)).status_code == 401
        assert (await client.options(path)).status_code not in (401, 403)
    return walked


async def methods_of(channel, metadata):
    """Full name and kind of every method that reflection tells of."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def ask(**request):
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]), metadata=metadata)
        answers = [answer async for answer in call]
        return answers[0]

    for service in (await ask(list_services="")).list_services_response.service:
        files = (await ask(file_containing_symbol=service.name)).file_descriptor_response.file_descriptor_proto
        for one in map(descriptor_pb2.FileDescriptorProto.FromString, files):
            for described in one.service:
                if f"{one.package}.{described.name}" == service.name:
                    for method in described.method:
                        kind = (method.client_streaming, method.server_streaming)
                        yield f"/{service.name}/{method.name}", kind


async def status_of(channel, method, kind, metadata=()):
    """What comes of a call with an empty message."""
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = kinds[kind](method)(iter([b""]) if kind[0] else b"", metadata=metadata, timeout=20)
    try:
        if kind[1]:
            # A stream that goes on has let us in.
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def walk_grpc(channel, needed=lambda method: "alice"):
    """Call everything that reflection tells of, as everybody; gives the closed methods.

    Args:
        needed: name of whose token permits a method.
    """
    codes, walked = grpc.StatusCode, []
    found = [one async for one in methods_of(channel, tuple(shown("all").items()))]
    assert found
    for method, kind in found:
        if method.startswith(OPEN_METHODS):
            assert await status_of(channel, method, kind) is not codes.UNAUTHENTICATED
            continue
        walked.append(method)
        for metadata in ((), (("authorization", "Bearer nobodys"),)):
            assert await status_of(channel, method, kind, metadata) is codes.UNAUTHENTICATED, method
        refused = (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED)
        for name in ("all", needed(method)):
            assert await status_of(channel, method, kind, tuple(shown(name).items())) not in refused, method
        if not method.startswith("/grpc.reflection."):
            others = {"alice", "meter", "chief"} - set(PERMITTED.get(method.rpartition("/")[2], ("alice",)))
            for name in others:
                status = await status_of(channel, method, kind, tuple(shown(name).items()))
                assert status is codes.PERMISSION_DENIED, (method, name)
    return walked


# What anybody may call: health, on either protocol.
OPEN_METHODS = (
    "/grpc.health.",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
PERMITTED = {"GetProfile": ("meter", "chief"), "ListLinks": ("meter", "chief"), "SetProfile": ("chief",)}
