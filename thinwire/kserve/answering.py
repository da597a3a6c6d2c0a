"""From a request of the protocol, however it came, to its answer: all images of it, or one error."""

import asyncio
import io
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from thinwire import tracing
from thinwire.bundle import Bundle
from thinwire.errors import DeadlineError, InvalidRequestError, ThinwireError
from thinwire.kserve.models import IMAGE, MAX_IMAGES, PIXELS, QUESTION, Backend, Row, find, inputs_of, outputs_of
from thinwire.kserve.parameters import Scalar, read_parameters
from thinwire.kserve.tensors import Given, Output, elements
from thinwire.rest.application import within
from thinwire.rest.data_urls import read_data_url, read_image
from thinwire.rest.problems import describe_validation
from thinwire.rest.schemas import Parameters, QuestionInputs, VqaParameters

MAX_CLASSES = 1000


@dataclass(frozen=True)
class Wanted:
    """An output that a request asks for.

    Attributes:
        name: of the tensor.
        classes: of ``score``: so many, as texts of score, index and label; 0 for plain numbers.
    """

    name: str
    classes: int = 0


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        model: the name of a bundle.
        version: its digest; "" leaves it to us.
        inputs: as they came.
        outputs: those that are asked for, in their order; none asks for all.
        parameters: less what says how the answer is encoded.
    """

    model: str
    version: str = ""
    inputs: Sequence[Given] = ()
    outputs: Sequence[Wanted] = ()
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """Its answer.

    Attributes:
        bundle: what gave it.
        outputs: in the order in which they were asked for.
    """

    bundle: Bundle
    outputs: tuple[Output, ...]


async def answer(backend: Backend, request: Request, remaining_s: float | None = None) -> Response:
    """Answer a request.

    Its images are answered as if each had come by itself, a few at a time. What fails for one of them fails for all, in
    the words that it would have alone and with its number; those that are under way are cancelled.

    Args:
        backend: what answers.
        request: what is asked.
        remaining_s: what the call's own deadline leaves, if that is less than the request's.

    Raises:
        InvalidRequestError, InvalidImageError: the request is not what was expected.
        UnknownModelError, UnknownTaskError: as for `find`.
        DeadlineError: the time ran out.
        ThinwireError: any other error of an image.
    """
    came_s = asyncio.get_running_loop().time()
    with backend.counting_failure():
        bundle = find(backend, request.model, request.version)
        tracing.annotate(bundle=bundle.name)
        parameters = _parameters(bundle, request.parameters)
        backend.check(parameters)
        wanted = _wanted(bundle, backend.has_link, request.outputs)
        images, questions = _inputs(bundle, request.inputs)
    timeout_ms = min(parameters.timeout_ms, math.inf if remaining_s is None else 1e3 * remaining_s)
    deadline_s = came_s + timeout_ms / 1e3
    most = max((one.classes for one in wanted), default=0)

    async def one(number: int) -> Row:
        if questions:
            return await backend.ask(images(number), questions[number], cast(VqaParameters, parameters), deadline_s)
        asked = cast(Parameters, parameters)
        asked = asked.model_copy(update={"top_k": max(asked.top_k, most)})
        return await backend.classify(images(number), asked, deadline_s)

    count = request.inputs[0].shape[0]
    try:
        rows = await within(_each(count, one, backend.window), deadline_s, timeout_ms)
    except DeadlineError:
        # An image knows only what was left for it.
        raise DeadlineError(f"no answer within {timeout_ms:g} ms") from None
    top_k = parameters.top_k if isinstance(parameters, Parameters) else 1
    return Response(bundle, tuple(_output(bundle, one, rows, top_k) for one in wanted))


def _parameters(bundle: Bundle, given: Mapping[str, Scalar]) -> Parameters | VqaParameters:
    if bundle.task == "classify":
        return read_parameters(Parameters, bundle.name, given)
    return read_parameters(VqaParameters, bundle.name, given)


def _wanted(bundle: Bundle, has_link: bool, outputs: Sequence[Wanted]) -> Sequence[Wanted]:
    names = [spec.name for spec in outputs_of(bundle, has_link)]
    for number, output in enumerate(outputs):
        if output.name not in names:
            there = f"model {bundle.name!r} gives {', '.join(names)}"
            raise InvalidRequestError(f"output {output.name[:80]!r}: {there}", output.name)
        if output.name in (other.name for other in outputs[:number]):
            raise InvalidRequestError(f"output {output.name!r}: asked for more than once", output.name)
        if output.classes and (output.name, bundle.task) != ("score", "classify"):
            raise InvalidRequestError(f"output {output.name!r}: classification is of the scores of labels", output.name)
        if not 0 <= output.classes <= MAX_CLASSES:
            expected = f"expected classification from 1 to {MAX_CLASSES}, got {output.classes}"
            raise InvalidRequestError(f"output {output.name!r}: {expected}", output.name)
    return outputs or [Wanted(name) for name in names]


def _inputs(bundle: Bundle, inputs: Sequence[Given]) -> tuple[Callable[[int], bytes], list[str]]:
    """The image of each number, to be made when its turn comes, and the questions."""
    specs = {spec.name: spec for spec in inputs_of(bundle)}
    found = {}
    for given in inputs:
        if given.name not in specs:
            takes = f"model {bundle.name!r} takes {', '.join(specs)}"
            raise InvalidRequestError(f"input {given.name[:80]!r}: {takes}", given.name)
        if given.name in found:
            raise InvalidRequestError(f"input {given.name!r}: came more than once", given.name)
        found[given.name] = elements(given, specs[given.name], MAX_IMAGES)
    if (IMAGE.name in found) == (PIXELS.name in found):
        raise InvalidRequestError("expected one of the inputs 'image' and 'pixels'", IMAGE.name)
    questions: list[str] = []
    if QUESTION.name in specs:
        if QUESTION.name not in found:
            raise InvalidRequestError("expected the input 'question'", QUESTION.name)
        texts = cast(Sequence[bytes | str], found[QUESTION.name])
        questions = [_question(text, number) for number, text in enumerate(texts)]
    if len({len(one) for one in found.values()}) > 1:
        sizes = ", ".join(f"{name} has {len(one)}" for name, one in found.items())
        raise InvalidRequestError(f"expected as many questions as images: {sizes}", QUESTION.name)
    if PIXELS.name in found:
        pixels = cast(NDArray[np.uint8] | NDArray[np.float32], found[PIXELS.name])
        # What is not a number fails both.
        if pixels.dtype != np.uint8 and not (pixels.min() >= 0 and pixels.max() <= 1):
            got = f"got {pixels.min():g} to {pixels.max():g}"
            raise InvalidRequestError(f"input 'pixels': expected FP32 from 0 to 1, {got}", PIXELS.name)
        return lambda number: _bitmap(pixels[number]), questions
    images = cast(Sequence[bytes | str], found[IMAGE.name])
    return lambda number: _image(images[number]), questions


def _question(text: bytes | str, number: int) -> str:
    try:
        return QuestionInputs(question=text if isinstance(text, str) else text.decode()).question
    except UnicodeDecodeError:
        raise InvalidRequestError(f"input 'question': element {number} is not UTF-8", QUESTION.name) from None
    except ValidationError as error:
        told = describe_validation(error.errors(include_url=False))
        raise InvalidRequestError(f"input 'question': element {number}: {told}", QUESTION.name) from None


def _image(given: bytes | str) -> bytes:
    # No format of images starts like a data: URL. JSON has no bytes, so that an image there is base64.
    if isinstance(given, str):
        return read_image(given, "image")
    return read_data_url(given.decode("latin-1"), "image") if given[:5].lower() == b"data:" else given


def _bitmap(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> bytes:
    """Pixels as a file that keeps them as they are and costs next to nothing, so that they go the way of all images."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels * np.float32(255)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    return stream.getvalue()


async def _each(count: int, work: Callable[[int], Awaitable[Row]], window: int) -> list[Row]:
    slots = asyncio.Semaphore(window)

    async def run(number: int) -> Row:
        async with slots:
            try:
                return await work(number)
            except ThinwireError as error:
                if count == 1:
                    raise
                # Images that fail together may share theirs.
                numbered = copy(error)
                numbered.args = (f"image {number}: {error}",)
                raise numbered from None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(number)) for number in range(count)]
    except BaseExceptionGroup as errors:
        # The first one cancelled the others.
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _output(bundle: Bundle, wanted: Wanted, rows: Sequence[Row], top_k: int) -> Output:
    name, count = wanted.name, len(rows)
    if name == "channel_uses":
        return Output(name, "INT64", (count,), [row.channel_uses for row in rows])
    if name == "tokens":
        return Output(name, "INT64", (count,), [row.tokens for row in rows])
    if name == "policy":
        return Output(name, "BYTES", (count,), [row.policy for row in rows])
    kept = [row.outputs[: wanted.classes or top_k] for row in rows]
    shape = (count, len(kept[0])) if bundle.task == "classify" else (count,)
    if wanted.classes:
        ranks = {label: index for index, label in enumerate(bundle.labels)}
        texts = [f"{score:f}:{ranks[label]}:{label}" for row in kept for label, score in row]
        return Output(name, "BYTES", shape, texts)
    if name == "score":
        return Output(name, "FP32", shape, [score for row in kept for _, score in row])
    return Output(name, "BYTES", shape, [text for row in kept for text, _ in row])
