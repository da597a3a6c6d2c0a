"""The protocol over gRPC."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.thinwire.kserve.fakes import BLACK, BLUE, RED, FakeBackend
from tests.thinwire.kserve.slow import elements, raw
from thinwire import rpc
from thinwire.kserve import servicer
from thinwire.v1 import inference_pb2 as pb

Contents = pb.InferTensorContents


def asked(*images: bytes, name: str = "colours", **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=name, **fields)
    request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    request.raw_input_contents.append(raw("BYTES", list(images)))
    return request


def typed(name: str, datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="colours")
    request.inputs.add(name=name, datatype=datatype, shape=shape, contents=Contents(**contents))
    return request


def outputs(response: pb.ModelInferResponse) -> dict[str, Any]:
    assert len(response.outputs) == len(response.raw_output_contents)
    return {
        one.name: (list(one.shape), elements(one.datatype, octets))
        for one, octets in zip(response.outputs, response.raw_output_contents, strict=True)
    }


async def refused(call: Any, status: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is status
    return caught.value.details() or ""


async def test_several_images(stub: Any, backend: FakeBackend) -> None:
    request = asked(RED, BLUE, id="x", model_version=backend.bundles[0].digest)
    request.parameters["top_k"].int64_param = 2
    request.parameters["snr_db"].double_param = 5.0
    request.parameters["seed"].uint64_param = 2**64 - 1
    request.parameters["policy"].string_param = "none"
    response = await stub.ModelInfer(request)
    assert (response.model_name, response.model_version, response.id) == ("colours", backend.bundles[0].digest, "x")
    found = outputs(response)
    assert list(found) == ["label", "score", "channel_uses", "tokens", "policy"]
    assert found["label"] == ([2, 2], ["red", "green", "blue", "red"])
    assert found["score"] == ([2, 2], pytest.approx([1.0, 0.2, 1.0, 0.2]))
    assert found["channel_uses"] == ([2], [11, 12])
    (parameters,) = backend.asked
    assert parameters.policy == "none"
    assert parameters.channel is not None
    assert (parameters.channel.snr_db, parameters.channel.seed) == (5.0, 2**64 - 1)


async def test_typed_contents(stub: Any, backend: FakeBackend) -> None:
    requests = [
        typed("image", "BYTES", [1], bytes_contents=[RED]),
        typed("pixels", "UINT8", [1, 1, 1, 3], uint_contents=[255, 51, 0]),
        typed("pixels", "FP32", [1, 1, 1, 3], fp32_contents=[1.0, 0.2, 0.0]),
    ]
    for request in requests:
        assert outputs(await stub.ModelInfer(request))["label"][1] == ["red", "green", "blue"]


async def test_classification_and_outputs_that_are_named(stub: Any) -> None:
    request = asked(BLUE)
    request.outputs.add(name="tokens")
    request.outputs.add(name="score").parameters["classification"].int64_param = 1
    assert outputs(await stub.ModelInfer(request)) == {"tokens": ([1], [5]), "score": ([1, 1], ["1.000000:2:blue"])}


def wrong() -> dict[str, pb.ModelInferRequest]:
    both, few, names, option = asked(RED), asked(RED), asked(RED, id="a" * 300), asked(RED)
    both.inputs[0].contents.bytes_contents.append(RED)
    few.inputs.add(name="question", datatype="BYTES", shape=[1])
    option.inputs[0].parameters["shared_memory_region"].string_param = "a"
    many, empty = asked(RED), asked(RED)
    for _ in range(16):
        many.inputs.add(name="image")
    empty.parameters["top_k"].SetInParent()
    options = asked(RED)
    for number in range(65):
        options.parameters[str(number)].int64_param = 1
    return {
        "input 'image': both raw and typed contents": both,
        "raw_input_contents: expected 2, one for each, got 1": few,
        "id: expected up to 256 characters": names,
        "parameter 'shared_memory_region': not known here": option,
        "expected up to 16 inputs and outputs, got 17": many,
        "parameter 'top_k': expected a value": empty,
        "expected bytes_contents for BYTES, got int_contents": typed("image", "BYTES", [1], int_contents=[1]),
        "expected the datatype BYTES, got 'INT32'": typed("image", "INT32", [1], int_contents=[1]),
        "expected 1 elements, as its shape says, got 0": typed("image", "BYTES", [1]),
        "n at least 1, got [-1]": typed("image", "BYTES", [-1], bytes_contents=[RED]),
        "from 0 to 255, got 1 to 256": typed("pixels", "UINT8", [1, 1, 1, 3], uint_contents=[1, 2, 256]),
        "expected up to 8 axes, got 9": typed("image", "BYTES", [1] * 9),
        "expected up to 64 parameters, got 65": options,
        "2 bytes that are not an image": asked(b"no"),
        "image 1: 2 bytes that are not an image": asked(RED, b"no"),
    }


@pytest.mark.parametrize("words", wrong())
async def test_what_is_wrong_is_named(stub: Any, words: str) -> None:
    assert words in await refused(stub.ModelInfer(wrong()[words]), grpc.StatusCode.INVALID_ARGUMENT)


async def test_an_unexpected_error_tells_no_secret(stub: Any) -> None:
    told = await refused(stub.ModelInfer(asked(BLACK)), grpc.StatusCode.INTERNAL)
    assert told == "an unexpected error; see the log"


async def test_typed_contents_have_a_limit(stub: Any) -> None:
    request = typed("pixels", "UINT8", [1, 1024, 1024, 3], uint_contents=bytes(3 * 2**20))
    told = await refused(stub.ModelInfer(request), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert told == "3145728 values that are not raw; the limit is 262144, send them in binary"


async def test_a_models_name_is_whole(stub: Any) -> None:
    for call in (
        stub.ModelInfer(asked(RED, name="a/nope")),
        stub.ModelMetadata(pb.ModelMetadataRequest(name="a/nope")),
        stub.ModelReady(pb.ModelReadyRequest(name="a/nope")),
    ):
        assert "no model 'a/nope' here; there is colours, a/b" in await refused(call, grpc.StatusCode.NOT_FOUND)
    assert (await stub.ModelMetadata(pb.ModelMetadataRequest(name="a/b"))).name == "a/b"
    told = await refused(stub.ModelInfer(asked(RED, model_version="1")), grpc.StatusCode.NOT_FOUND)
    assert "model 'colours' has the version " in told


async def test_the_calls_own_deadline_counts(stub: Any, backend: FakeBackend) -> None:
    backend.pause_s = 30
    await refused(stub.ModelInfer(asked(RED), timeout=0.1), grpc.StatusCode.DEADLINE_EXCEEDED)
    request = asked(RED)
    request.parameters["timeout"].int64_param = 50_000
    assert await refused(stub.ModelInfer(request), grpc.StatusCode.DEADLINE_EXCEEDED) == "no answer within 50 ms"


async def test_a_stream_goes_on_after_an_error(stub: Any) -> None:
    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        for name, images in (("a", [RED]), ("b", [b"no"]), ("c", [BLACK]), ("d", [BLUE])):
            yield asked(*images, id=name)

    responses = [response async for response in stub.ModelStreamInfer(requests())]
    assert [response.infer_response.id for response in responses] == ["a", "b", "c", "d"]
    told = [response.error_message for response in responses]
    assert told[0] == told[3] == ""
    assert told[1].startswith("request 'b': 2 bytes that are not an image")
    assert told[2] == "request 'c': an unexpected error; see the log"
    assert outputs(responses[3].infer_response)["label"][1][0] == "blue"


async def test_a_stream_with_a_message_that_is_none_ends(stub: Any) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield b"\xff\xff\xff"

    raw_call = stub.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

    async def read() -> None:
        async for _ in raw_call(requests()):
            pass

    assert "no request" in await refused(read(), grpc.StatusCode.INVALID_ARGUMENT)


async def test_metadata_and_health(stub: Any, backend: FakeBackend) -> None:
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (server.name, list(server.extensions)) == ("thinwire-fake", ["binary_tensor_data", "classification"])
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="colours"))
    assert list(model.versions) == [backend.bundles[0].digest]
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [
        ("image", "BYTES", [-1]),
        ("pixels", "UINT8", [-1, -1, -1, 3]),
    ]
    for backend.is_ready in (True, False):
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready is backend.is_ready
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="a/b"))).ready is backend.is_ready


async def test_more_than_grpcs_four_mebibytes_are_taken_compressed(backend: FakeBackend) -> None:
    server = rpc.Server([servicer.SERVICE])
    servicer.add_to(server, backend)
    port = await server.start("127.0.0.1:0")
    side = 1300
    request = pb.ModelInferRequest(model_name="colours", raw_input_contents=[bytes([255, 1, 0]) * side * side])
    request.inputs.add(name="pixels", datatype="UINT8", shape=[1, side, side, 3])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel:
        stub = servicer.inference_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        assert outputs(await stub.ModelInfer(request))["label"][1][0] == "red"
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=servicer.SERVICE))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(0.0)
