"""REST at the edge: an image or a clip goes through the split, over the link, and comes back as an answer."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request

from edge.device import Device
from edge.inference import EdgeInference
from edge.link_client import LinkClient
from edge.routes import add_classify, add_vqa, services_of
from edge.service import EdgeService
from edge.transcriptions import add_transcriptions
from thinwire.access import Gate
from thinwire.errors import InvalidRequestError, UnknownPolicyError
from thinwire.kserve import rest as kserve
from thinwire.rest import problems
from thinwire.rest.application import Application
from thinwire.rest.routes import add_common

HEALTH_TIMEOUT_S = 1.0
HEALTH_CACHE_S = 1.0


class _Readiness:
    """Whether requests can be answered now. Engines and valid fronts are there since the start."""

    def __init__(self, client: LinkClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._ready = False
        self._until = -1.0

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._ready = await self._client.is_healthy(HEALTH_TIMEOUT_S)
                self._until = time.monotonic() + HEALTH_CACHE_S
            return self._ready


def create_app(device: Device, services: Sequence[EdgeService], gate: Gate | None = None) -> FastAPI:
    """The REST application of an edge device.

    Args:
        device: what the services share.
        services: what answers, one per bundle; of one task the first where a request names none.
        gate: who may ask; None: anybody.
    """
    app = Application(gate, title="Thinwire edge", description="Answers images and speech over a thin, noisy link")
    # Not in closures: FastAPI's caches keep the endpoints, and would keep the service when the application is gone.
    app.state.device = device
    app.state.services = tuple(services)
    bundles = [service.bundle for service in services]
    tasks = {bundle.task for bundle in bundles}
    ready = _Readiness(device.client).check
    add_common(app, bundles, ready, device.metrics.registry)
    kserve.add_to(app, EdgeInference(services, ready))
    add_classify(app, "classify" in tasks)
    add_vqa(app, "vqa" in tasks)
    add_transcriptions(app, "transcription" in tasks)

    @app.get("/v1/policies", responses=problems.RESPONSES)
    async def policies(request: Request, bundle: str | None = None) -> dict[str, Any]:
        """The policies of all fronts of a bundle (by default the first of `/v1/models`), each with its figures."""
        service = _named(request, bundle)
        fronts = service.front_file.current
        return {
            "bundle": {"name": service.bundle.name, "digest": service.bundle.digest},
            "digest": fronts.digest if fronts else None,
            "policies": [measured.to_json() for measured in fronts.policies] if fronts else [],
        }

    @app.get("/v1/policies/{policy_id}", responses=problems.RESPONSES)
    async def policy(request: Request, policy_id: str, bundle: str | None = None) -> dict[str, Any]:
        """What was measured of one policy, once for each front that holds it."""
        service = _named(request, bundle)
        fronts = service.front_file.current
        if fronts is None:
            raise UnknownPolicyError(f"bundle {service.bundle.name} has no policies, so there is no {policy_id[:80]!r}")
        found = fronts.get(policy_id)
        return {"id": policy_id, "measurements": [measured.to_json() for measured in found]}

    return app


def _named(request: Request, name: str | None) -> EdgeService:
    services = services_of(request)
    for service in services:
        if name in (None, service.bundle.name):
            return service
    known = ", ".join(service.bundle.name for service in services)
    raise InvalidRequestError(f"no bundle {str(name)[:80]!r} on this device; it has {known}")
