"""The protocol's gRPC service."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from thinwire import rpc, tracing
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.kserve.answering import Request, Response, Wanted, answer
from thinwire.kserve.bodies import MAX_ID, classes_of
from thinwire.kserve.models import Backend, describe, describe_server, find
from thinwire.kserve.parameters import Scalar
from thinwire.kserve.tensors import MAX_AXES, Given
from thinwire.v1 import inference_pb2 as pb
from thinwire.v1 import inference_pb2_grpc

log = logging.getLogger(__name__)
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
MAX_TENSORS = 16
MAX_PARAMETERS = 64
_CONTENTS = {"BYTES": "bytes_contents", "UINT8": "uint_contents", "FP32": "fp32_contents"}
_HEADERS = ("traceparent", "tracestate")
Context = grpc.aio.ServicerContext[Any, Any]


def add_to(server: rpc.Server, backend: Backend) -> None:
    """Serve `SERVICE`, which the server must have been told of."""
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceServicer(backend), server.grpc_server)  # type: ignore[no-untyped-call]


class InferenceServicer(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves `SERVICE`.

    Args:
        backend: what answers.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: N802
        """Whether the process lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:  # noqa: N802
        """Whether it takes requests."""
        return pb.ServerReadyResponse(ready=await self._backend.ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        """Whether a model does; one that is not there is an error."""
        try:
            find(self._backend, request.name, request.version)
        except ThinwireError as error:
            await rpc.abort(context, error)
        return pb.ModelReadyResponse(ready=await self._backend.ready())

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:  # noqa: N802
        """What this server is."""
        return pb.ServerMetadataResponse(**describe_server(self._backend))

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:  # noqa: N802
        """The tensors of a model."""
        try:
            bundle = find(self._backend, request.name, request.version)
        except ThinwireError as error:
            await rpc.abort(context, error)
        return pb.ModelMetadataResponse(**describe(bundle, self._backend.has_link))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        """Answer some images; an error is the call's status."""
        try:
            return await self._answer(request, context)
        except ThinwireError as error:
            await rpc.abort(context, error)

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterable[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer requests one after the other; an error is told in the response, since a status would end the call."""
        try:
            async for request in request_iterator:
                try:
                    yield pb.ModelStreamInferResponse(infer_response=await self._answer(request, context))
                except ThinwireError as error:
                    # Clients show the text and nothing else.
                    told = f"request {request.id[:MAX_ID]!r}: {error}" if request.id else str(error)
                    empty = pb.ModelInferResponse(model_name=request.model_name[:128], id=request.id[:MAX_ID])
                    yield pb.ModelStreamInferResponse(error_message=told, infer_response=empty)
        except DecodeError:
            await rpc.abort(context, InvalidRequestError("the stream holds a message that is no request"))

    async def _answer(self, message: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """The only exceptions are cancellation and `ThinwireError`."""
        metadata = context.invocation_metadata() or ()
        parent = tuple((str(key), str(value)) for key, value in metadata if key in _HEADERS)
        with tracing.span("request", tracing.SERVER, parent):
            try:
                with self._backend.counting_failure():
                    request = _read(message)
                response = await answer(self._backend, request, context.time_remaining())
                return _write(response, message.id)
            except ThinwireError as error:
                if error.http_status >= 500:
                    log.warning(str(error), extra={"error": error.code})
                raise
            except Exception:
                log.exception("unexpected error")
                raise ThinwireError("an unexpected error; see the log") from None


def _read(message: pb.ModelInferRequest) -> Request:
    if len(message.id) > MAX_ID:
        raise InvalidRequestError(f"id: expected up to {MAX_ID} characters, got {len(message.id)}")
    if max(len(message.inputs), len(message.outputs)) > MAX_TENSORS:
        got = f"got {len(message.inputs)} and {len(message.outputs)}"
        raise InvalidRequestError(f"expected up to {MAX_TENSORS} inputs and outputs, {got}")
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise InvalidRequestError(f"raw_input_contents: expected {len(message.inputs)}, one for each, got {len(raws)}")
    inputs = []
    for number, given in enumerate(message.inputs):
        # Before they are looked at: a message has room for millions.
        if len(given.shape) > MAX_AXES:
            got = f"expected up to {MAX_AXES} axes, got {len(given.shape)}"
            raise InvalidRequestError(f"input {given.name[:80]!r}: {got}", given.name)
        head = given.name, given.datatype, tuple(given.shape)
        for name in given.parameters:
            raise InvalidRequestError(f"input {given.name[:80]!r}: parameter {name[:80]!r}: not known here", given.name)
        if raws:
            if given.HasField("contents"):
                raise InvalidRequestError(f"input {given.name[:80]!r}: both raw and typed contents", given.name)
            inputs.append(Given(*head, raw=raws[number]))
            continue
        filled = [one.name for one, _ in given.contents.ListFields()]
        expected = _CONTENTS.get(given.datatype)
        if expected is not None and filled not in ([], [expected]):
            got = f"expected {expected} for {given.datatype}, got {', '.join(filled)}"
            raise InvalidRequestError(f"input {given.name[:80]!r}: {got}", given.name)
        inputs.append(Given(*head, values=getattr(given.contents, expected) if expected else []))
    outputs = [Wanted(one.name, classes_of(one.name[:80], _scalars(one.parameters))) for one in message.outputs]
    parameters = _scalars(message.parameters)
    # Of HTTP; everything is binary here.
    parameters.pop("binary_data_output", None)
    return Request(message.model_name, message.model_version, inputs, outputs, parameters)


def _scalars(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Scalar]:
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidRequestError(f"expected up to {MAX_PARAMETERS} parameters, got {len(parameters)}")
    found: dict[str, Scalar] = {}
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidRequestError(f"parameter {name[:80]!r}: expected a value", name)
        found[name] = getattr(value, kind)
    return found


def _write(response: Response, name: str) -> pb.ModelInferResponse:
    bundle = response.bundle
    message = pb.ModelInferResponse(model_name=bundle.name, model_version=bundle.digest, id=name)
    for output in response.outputs:
        message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        message.raw_output_contents.append(output.raw())
    return message
