"""What the cloud's routes share."""

import asyncio
from dataclasses import dataclass

from fastapi import Request

from cloud.classification import Classification
from cloud.metrics import CloudMetrics
from cloud.questions import Questions
from thinwire.errors import InvalidRequestError
from thinwire.rest.models import of_task
from thinwire.rest.schemas import BudgetBody, LinkParameters, TimingsBody


def classifying(request: Request) -> list[Classification]:
    """What classifies.

    Raises:
        UnknownTaskError: nothing does.
    """
    return of_task(request.app.state.tasks, "classify")


def answering(request: Request) -> list[Questions]:
    """What answers questions.

    Raises:
        UnknownTaskError: nothing does.
    """
    return of_task(request.app.state.tasks, "vqa")


def metrics_of(request: Request) -> CloudMetrics:
    """What to count with."""
    metrics: CloudMetrics = request.app.state.metrics
    return metrics


@dataclass
class Clock:
    """When a request came and when it was read, by the event loop's clock."""

    came: float
    read: float = 0.0

    @classmethod
    def start(cls) -> "Clock":
        """A request comes."""
        return cls(asyncio.get_running_loop().time())

    def lap(self) -> None:
        """It is read."""
        self.read = asyncio.get_running_loop().time()

    def deadline(self, timeout_ms: float) -> float:
        """When its time is up. The upload is part of what the user waits for."""
        return self.came + timeout_ms / 1e3

    def timings(self) -> TimingsBody:
        """Where the time went until now."""
        now = asyncio.get_running_loop().time()
        return TimingsBody(edge=None, channel=None, cloud=1e3 * (now - self.read), total=1e3 * (now - self.came))


def observe_image(request: Request, timings: TimingsBody) -> None:
    """Take in the time of an answered plain image, its upload left out."""
    if timings.cloud is not None:
        metrics_of(request).observe_image(timings.cloud / 1e3)


def refuse_link_parameters(parameters: LinkParameters) -> None:
    """Refuse what would have no effect here: its sender would believe that it took effect.

    Raises:
        InvalidRequestError: there is such a thing.
    """
    refused = {
        "policy": parameters.policy not in ("auto", "none"),
        "budget": parameters.budget != BudgetBody(),
        "channel": parameters.channel is not None,
        "explain": parameters.explain,
    }
    for name, present in refused.items():
        if present:
            got = f" {parameters.policy!r}" if name == "policy" else ""
            raise InvalidRequestError(
                f"{name}{got}: the cloud has no link and runs the plain model; send this to the edge", name
            )
