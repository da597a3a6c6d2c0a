"""The cloud's REST interface: the plain model on a whole image, which is what one does without a link."""

from collections.abc import Callable

from fastapi import FastAPI

from cloud.classification import Classification
from cloud.questions import Questions
from cloud.routes import chat, classify, vqa
from thinwire.bundle import Bundle
from thinwire.metrics import CloudMetrics
from thinwire.rest import problems
from thinwire.rest.routes import add_common


def create_app(
    bundle: Bundle, task: Classification | Questions, ready: Callable[[], bool], metrics: CloudMetrics
) -> FastAPI:
    """The application for one bundle.

    Requests for the other task are answered with a problem, and left out of the OpenAPI document.

    Args:
        task: what answers.
        ready: whether the process takes requests.
        metrics: what to count with, and to show.
    """
    app = FastAPI(title="Thinwire cloud", description=__doc__, responses=problems.RESPONSES)

    async def is_ready() -> bool:
        return ready()

    add_common(app, [bundle], is_ready, metrics.registry)
    # Not in closures: FastAPI's caches keep the endpoints, and would keep these when the application is gone.
    app.state.task, app.state.metrics = task, metrics
    for routes in (classify, vqa, chat):
        routes.add_to(app, bundle)
    return app
