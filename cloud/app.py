"""The cloud's REST interface: the plain model on a whole image, which is what one does without a link."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI

from cloud.classification import Classification
from cloud.inference import CloudInference
from cloud.metrics import CloudMetrics
from cloud.questions import Questions
from cloud.routes import classify, transcriptions, vqa
from cloud.transcriptions import Transcriptions
from thinwire.access import Gate
from thinwire.kserve import rest as kserve
from thinwire.rest import problems
from thinwire.rest.application import Application
from thinwire.rest.routes import add_common


def create_app(
    tasks: Sequence[Classification | Questions | Transcriptions],
    ready: Callable[[], bool],
    metrics: CloudMetrics,
    gate: Gate | None = None,
) -> FastAPI:
    """The application.

    Requests for a task that is not there are answered with a problem, and left out of the OpenAPI document.

    Args:
        tasks: what answers, one per bundle; of one task the first where a request names none.
        ready: whether the process takes requests.
        metrics: what to count with, and to show.
        gate: who may ask; None: anybody.
    """
    app = Application(gate, title="Thinwire cloud", description=__doc__, responses=problems.RESPONSES)

    async def is_ready() -> bool:
        return ready()

    add_common(app, [task.bundle for task in tasks], is_ready, metrics.registry)
    kserve.add_to(app, CloudInference(tasks, ready, metrics))
    # Not in closures: FastAPI's caches keep the endpoints, and would keep these when the application is gone.
    app.state.tasks, app.state.metrics = tuple(tasks), metrics
    names = {task.bundle.task for task in tasks}
    classify.add_to(app, "classify" in names)
    vqa.add_to(app, "vqa" in names)
    transcriptions.add_to(app, "transcription" in names)
    return app
