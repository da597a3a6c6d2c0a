"""The cloud as a process: gRPC and REST on one event loop, over one model."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import Classifier, ReceivedTokens
from cloud.app import create_app
from cloud.batcher import Batcher
from cloud.deduplication import Deduplicator
from cloud.servicer import SemanticLinkServicer
from thinwire import process, rpc
from thinwire.bundle import Bundle
from thinwire.errors import UnavailableError
from thinwire.metrics import CloudMetrics
from thinwire.rest.server import HttpServer
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)
SERVICE = link_pb2.DESCRIPTOR.services_by_name["SemanticLink"].full_name
# A sender gives up on a frame long before the one, and cannot have so many under way as the other.
REMEMBERED_S = 60.0
REMEMBERED_FRAMES = 4096


@dataclass(frozen=True)
class Settings:
    """Where the cloud listens, and how it batches.

    Attributes:
        grpc_address: ``host:port`` of the link; port 0 takes a free one.
        rest_host: host of the REST interface.
        rest_port: its port; 0 takes a free one.
        max_batch: most frames, and most images, in one run of the model.
        max_wait_ms: how long an idle model waits for company for its first frame. Waiting seldom pays: batches form
            by themselves while the model is busy, and a lone frame waits in vain.
        max_queue: most frames, and most images, that wait for the model.
        grace_s: how long a stop waits for what runs.
    """

    grpc_address: str = "127.0.0.1:50051"
    rest_host: str = "127.0.0.1"
    rest_port: int = 8000
    max_batch: int = 32
    max_wait_ms: float = 0.0
    max_queue: int = 256
    grace_s: float = 10.0


class CloudServer:
    """One bundle's model behind gRPC and REST.

    Must be made, started and stopped on one event loop.
    """

    def __init__(self, bundle: Bundle, classifier: Classifier, settings: Settings) -> None:
        def frames(items: Sequence[ReceivedTokens]) -> list[NDArray[np.float32]]:
            return list(classifier.classify_frames(items))

        def images(items: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
            return list(classifier.classify_images(np.stack(items)))

        self._bundle = bundle
        self._settings = settings
        # Not an attribute read through self: FastAPI's caches keep an application, and would keep this server with it.
        self._ready = asyncio.Event()
        # One thread for both: they are the same model.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        metrics = CloudMetrics()
        limits = settings.max_batch, settings.max_wait_ms / 1e3, settings.max_queue, self._worker
        self._frames: Batcher[ReceivedTokens, NDArray[np.float32]] = Batcher(
            frames, *limits, on_batch=metrics.batches("frame"), on_passage=metrics.passages("frame")
        )
        self._images: Batcher[NDArray[np.uint8], NDArray[np.float32]] = Batcher(
            images, *limits, on_batch=metrics.batches("image"), on_passage=metrics.passages("image")
        )
        metrics.watch_queue("frame", self._frames.waiting)
        metrics.watch_queue("image", self._images.waiting)
        self._grpc = rpc.Server([SERVICE])
        deduplicator: Deduplicator[NDArray[np.float32]] = Deduplicator(REMEMBERED_FRAMES, REMEMBERED_S)
        servicer = SemanticLinkServicer(bundle, self._frames, deduplicator, metrics)
        link_pb2_grpc.add_SemanticLinkServicer_to_server(servicer, self._grpc.grpc_server)  # type: ignore[no-untyped-call]
        app = create_app(bundle, self._images, self._ready.is_set, metrics)
        self._http = HttpServer(app, settings.rest_host, settings.rest_port, settings.grace_s)
        self.grpc_port = 0
        self.rest_port = 0

    async def start(self) -> None:
        """Listen, and report ready. From then on `grpc_port` and `rest_port` are the ports in use.

        Raises:
            UnavailableError: an address cannot be bound; nothing is left listening.
        """
        self.rest_port = await self._http.start()
        try:
            self.grpc_port = await self._grpc.start(self._settings.grpc_address)
        except UnavailableError:
            await self._http.stop()
            raise
        self._ready.set()
        log.info(
            "serving",
            extra={"bundle": self._bundle.name, "grpc_port": self.grpc_port, "rest_port": self.rest_port},
        )

    async def stop(self) -> None:
        """Report unready, finish what runs within the grace, and stop listening.

        The link goes first, so that until it is drained `/health/ready` can still say that this process is leaving.
        """
        self._ready.clear()
        await self._grpc.stop(self._settings.grace_s)
        await self._http.stop()
        await self._frames.close()
        await self._images.close()
        self._worker.shutdown()
        log.info("stopped")


async def serve(bundle: Bundle, classifier: Classifier, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        UnavailableError: an address cannot be bound.
    """
    await process.run(CloudServer(bundle, classifier, settings))
