"""The cloud as a process: gRPC and REST on one event loop, over one model."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from cloud.answerer import Answerer, Classifier, Prefix
from cloud.app import create_app
from cloud.classification import Classification, remembered
from cloud.held_frames import HeldFrames
from cloud.metrics import CloudMetrics
from cloud.questions import Questions
from cloud.scheduling import ModelThread
from cloud.servicer import SemanticLinkServicer
from cloud.task import Batching
from cloud.transcriber import Transcriber
from cloud.transcriptions import Transcriptions
from thinwire import process
from thinwire.access import Gate, Security
from thinwire.access.rpc import open_server
from thinwire.addresses import Address, parse_address
from thinwire.bundle import Bundle, check_served
from thinwire.equalise import Equaliser
from thinwire.errors import UnavailableError
from thinwire.kserve import servicer as kserve
from thinwire.rest.server import KEEP_ALIVE_S, HttpServer
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)
Model: TypeAlias = Classifier | Answerer | Transcriber
SERVICE = link_pb2.DESCRIPTOR.services_by_name["SemanticLink"].full_name


@dataclass(frozen=True)
class Settings:
    """Where the cloud listens, and how it batches.

    Attributes:
        grpc_address: ``host:port`` of the link; port 0 takes a free one.
        rest_host: host of the REST interface.
        rest_port: its port; 0 takes a free one.
        max_batch: most items of one kind (frames, images, questions, audio, transcripts) in one run of the model.
        max_queue: most of them that wait for the model.
        grace_s: how long a stop waits for what runs.
        held_frames: most frames that are kept for more questions and transcripts.
        held_s: how long they are kept.
        held_bytes: most memory that what is kept of them takes.
        equaliser: how frames are equalised; see `thinwire.equalise.receive`.
        keep_alive_s: see `HttpServer`.
        cors_origins: see `HttpServer`.
        security: who may ask.

    Raises:
        InvalidRequestError: `grpc_address` is no address.
    """

    grpc_address: str = "127.0.0.1:50051"
    rest_host: str = "127.0.0.1"
    rest_port: int = 8000
    max_batch: int = 32
    max_queue: int = 256
    grace_s: float = 10.0
    held_frames: int = 256
    held_s: float = 600.0
    held_bytes: int = 2**30
    equaliser: Equaliser = "mmse"
    keep_alive_s: int = KEEP_ALIVE_S
    cors_origins: tuple[str, ...] = ()
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        parse_address(self.grpc_address, "grpc_address")


class CloudServer:
    """The models of several bundles behind gRPC and REST.

    Must be made, started and stopped on one event loop.

    Args:
        models: each bundle with its model: a classifier for "classify", an answerer for "vqa", a transcriber for
            "transcription".
        settings: where and how.

    Attributes:
        tasks: what becomes of requests.

    Raises:
        InvalidRequestError: there is no bundle, or two cannot be told apart; see `check_served`.
    """

    def __init__(self, models: Sequence[tuple[Bundle, Model]], settings: Settings) -> None:
        check_served([bundle for bundle, _ in models])
        self._settings = settings
        # Not an attribute read through self: FastAPI's caches keep an application, and would keep this server with it.
        self._ready = asyncio.Event()
        metrics = CloudMetrics()
        # One thread for all models of a task, which take turns: side by side they would only slow each other down. Not
        # one for all tasks: a long answer would hold up what takes milliseconds.
        self._threads = {bundle.task: ModelThread() for bundle, _ in models}
        # And one memory, or its limits would be those of each bundle, and one frame id could mean a frame of each.
        prefixes: HeldFrames[Prefix] = HeldFrames(
            settings.held_frames, settings.held_s, settings.held_bytes, lambda prefix: prefix.nbytes
        )
        rankings = remembered()

        def task(bundle: Bundle, model: Model) -> Classification | Questions | Transcriptions:
            batching = Batching(settings.max_batch, settings.max_queue, metrics, self._threads[bundle.task])
            if bundle.task == "vqa":
                return Questions(bundle, cast(Answerer, model), batching, prefixes)
            if bundle.task == "transcription":
                return Transcriptions(bundle, cast(Transcriber, model), batching, prefixes)
            return Classification(bundle, cast(Classifier, model), batching, rankings)

        self.tasks = tuple(task(*one) for one in models)
        security = settings.security
        gate = Gate(security.tokens, security.limits)
        self._grpc = open_server([SERVICE, kserve.SERVICE], gate, security.tls)
        servicer = SemanticLinkServicer(self.tasks, metrics, settings.equaliser, gate)
        link_pb2_grpc.add_SemanticLinkServicer_to_server(servicer, self._grpc.grpc_server)  # type: ignore[no-untyped-call]
        app = create_app(self.tasks, self._ready.is_set, metrics, gate)
        kserve.add_to(self._grpc, app.state.kserve)
        self._http = HttpServer(
            app,
            settings.rest_host,
            settings.rest_port,
            settings.grace_s,
            settings.keep_alive_s,
            settings.cors_origins,
            security.tls,
        )
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
        settings = self._settings
        settings.security.warn([str(Address(settings.rest_host.strip("[]"), self.rest_port)), settings.grpc_address])
        log.info(
            "serving",
            extra={
                "bundles": [task.bundle.name for task in self.tasks],
                "grpc_port": self.grpc_port,
                "rest_port": self.rest_port,
            },
        )

    async def stop(self) -> None:
        """Report unready, finish what runs within the grace, and stop listening.

        The link goes first, so that until it is drained `/health/ready` can still say that this process is leaving.
        """
        self._ready.clear()
        await self._grpc.stop(self._settings.grace_s)
        await self._http.stop()
        for task in self.tasks:
            await task.close()
        for thread in self._threads.values():
            thread.close()
        log.info("stopped")


async def serve(models: Sequence[tuple[Bundle, Model]], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        models: as for `CloudServer`.

    Raises:
        InvalidRequestError: there is no bundle, or two cannot be told apart; see `check_served`.
        UnavailableError: an address cannot be bound.
    """
    await process.run(CloudServer(models, settings))
