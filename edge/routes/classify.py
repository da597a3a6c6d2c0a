"""``POST /v1/classify``: what is in this image?"""

from fastapi import FastAPI, Request

from edge.routes.common import FrameId, costs, device_of, service_of
from thinwire.rest import problems
from thinwire.rest.application import while_connected
from thinwire.rest.parsing import parse_classify
from thinwire.rest.routes import describe_classify
from thinwire.rest.schemas import ClassifyResponse, LabelBody


def add_to(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post(
        "/v1/classify",
        responses=problems.RESPONSES,
        openapi_extra=describe_classify(),
        include_in_schema=is_served,
    )
    async def classify(request: Request, frame_id: FrameId) -> ClassifyResponse:
        """Classify one image over the link."""
        # The service counts what reaches it.
        with device_of(request).metrics.requests.counting_failure():
            service = service_of(request, "classify")
            image, parameters = await parse_classify(request)
        answer = await while_connected(request, service.classify(image, parameters, frame_id))
        outputs = [LabelBody(label=label, score=score) for label, score in answer.outputs]
        return ClassifyResponse(outputs=outputs, **costs(answer))
