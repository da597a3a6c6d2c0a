"""What the Open Inference Protocol reaches at the cloud: the plain model, as `/v1/classify` and `/v1/vqa` do."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.classification import Classification
from cloud.metrics import CloudMetrics
from cloud.questions import Questions
from cloud.routes.common import refuse_link_parameters
from cloud.transcriptions import Transcriptions
from thinwire import tracing
from thinwire.bundle import Bundle
from thinwire.images import decode_apart
from thinwire.kserve.models import Row
from thinwire.rest.models import named, of_task
from thinwire.rest.schemas import Parameters, VqaParameters

log = logging.getLogger(__name__)


class CloudInference:
    """See `thinwire.kserve.models.Backend`.

    Args:
        tasks: what answers, one per bundle of any task.
        ready: whether the process takes requests.
        metrics: what to count with.
    """

    name = "thinwire-cloud"
    has_link = False
    # A batch of the model, and a small part of its queue.
    window = 16

    def __init__(
        self,
        tasks: Sequence[Classification | Questions | Transcriptions],
        ready: Callable[[], bool],
        metrics: CloudMetrics,
    ) -> None:
        self.bundles = [task.bundle for task in tasks]
        self._tasks: Sequence[Any] = tasks
        self._ready = ready
        self._metrics = metrics

    async def ready(self) -> bool:
        """Whether the process takes requests."""
        return self._ready()

    def counting_failure(self) -> AbstractContextManager[None]:
        """`classify` and `ask` count each image."""
        return self._metrics.requests.counting_failure()

    def check(self, parameters: Parameters | VqaParameters) -> None:
        """Refuse what concerns the link."""
        refuse_link_parameters(parameters)

    async def classify(self, image: bytes, parameters: Parameters, deadline_s: float) -> Row:
        """By the plain model."""
        task: Classification = named(of_task(self._tasks, "classify"), parameters.model)
        with self._counting("image", task.bundle) as told:
            told["bytes"] = len(image)
            ranking = await task.images.submit(await _decode(task.bundle, image, deadline_s), deadline_s)
        return Row(tuple(ranking.best(task.bundle.labels, parameters.top_k)))

    async def ask(self, image: bytes, question: str, parameters: VqaParameters, deadline_s: float) -> Row:
        """By the plain model."""
        task: Questions = named(of_task(self._tasks, "vqa"), parameters.model)
        with self._counting("answer", task.bundle) as told:
            prefix = await task.view(await _decode(task.bundle, image, deadline_s), deadline_s)
            answer = await task.ask(prefix, question, parameters.generation, deadline_s=deadline_s)
            told["tokens"] = answer.tokens
        return Row(((answer.text, answer.score),))

    @contextmanager
    def _counting(self, what: str, bundle: Bundle) -> Iterator[dict[str, Any]]:
        """Count, time and log one image; what is known of it beside goes into the dictionary."""
        clock = asyncio.get_running_loop().time
        told: dict[str, Any] = {"request_id": secrets.token_hex(16), "bundle": bundle.name}
        came_s = clock()
        with self._metrics.requests.counting():
            yield told
        took_s = clock() - came_s
        self._metrics.observe_image(took_s)
        log.info(what, extra={**told, "ms": round(1e3 * took_s, 3)})


async def _decode(bundle: Bundle, image: bytes, deadline_s: float) -> NDArray[np.uint8]:
    with tracing.span("decode"):
        pixels, _ = await decode_apart(image, bundle.preprocessing, deadline_s)
    return pixels
