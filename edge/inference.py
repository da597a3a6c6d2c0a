"""What the Open Inference Protocol reaches at the edge: the services that answer `/v1/classify` and `/v1/vqa`, too."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from edge.answer import Answer
from edge.service import EdgeService
from thinwire.errors import DeadlineError
from thinwire.kserve.models import Row
from thinwire.rest.models import named
from thinwire.rest.schemas import Parameters, VqaParameters

P = TypeVar("P", Parameters, VqaParameters)


class EdgeInference:
    """See `thinwire.kserve.models.Backend`.

    Args:
        services: what answers, one per bundle of any task.
        ready: whether requests can be answered now.
    """

    name = "thinwire-edge"
    has_link = True
    # Enough to keep engine and link busy.
    window = 4

    def __init__(self, services: Sequence[EdgeService], ready: Callable[[], Awaitable[bool]]) -> None:
        self.bundles = [service.bundle for service in services]
        self._services = services
        self._ready = ready

    async def ready(self) -> bool:
        """Whether the link's other end answers."""
        return await self._ready()

    def counting_failure(self) -> AbstractContextManager[None]:
        """The service counts what reaches it."""
        return self._services[0].device.metrics.requests.counting_failure()

    def check(self, parameters: Parameters | VqaParameters) -> None:
        """Everything has its effect here."""

    async def classify(self, image: bytes, parameters: Parameters, deadline_s: float) -> Row:
        """Over the link."""
        service = named(self._services, parameters.model)
        return _row(await service.classify(image, _until(parameters, deadline_s)))

    async def ask(self, image: bytes, question: str, parameters: VqaParameters, deadline_s: float) -> Row:
        """Over the link."""
        service = named(self._services, parameters.model)
        return _row(await service.ask(image, question, _until(parameters, deadline_s)))


def _until(parameters: P, deadline_s: float) -> P:
    left_ms = 1e3 * (deadline_s - asyncio.get_running_loop().time())
    if left_ms <= 0:
        raise DeadlineError("the time was up before its turn came")
    return parameters.model_copy(update={"timeout_ms": left_ms})


def _row(answer: Answer) -> Row:
    return Row(answer.outputs, answer.uses.total, answer.tokens, answer.policy_id)
