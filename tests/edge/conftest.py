"""A device with a fake engine, and at the other end of real gRPC a fake cloud, reached directly or by a TCP relay."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from edge.app import create_app
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.front import Front
from policies.fronts import FrontFile, Fronts
from policies.policy import AccuracyAt, MeasuredPolicy, Objectives, Policy
from tests.edge.fakes import LABELS, PATCHES, FakeCloud, FakeEngine, Relay
from thinwire.bundle import FRONT, Bundle, Codec, Merging, Reference
from thinwire.channels import Channel
from thinwire.images import Preprocessing
from thinwire.v1 import link_pb2


def _measured(bundle: Bundle, threshold: float, rate: int, p95: int, accuracy_by_snr: dict[float, float]) -> Any:
    return MeasuredPolicy(
        policy=Policy.create((threshold, threshold), rate),
        bundle_digest=bundle.digest,
        channel=Channel("awgn", 10.0),
        objectives=Objectives(accuracy_by_snr[10.0], 0.01, 1000, 0.25, p95 * 0.9, p95, p95 / rate, 1.0, 0.0, 0.0, 0.01),
        accuracy_by_snr=tuple(
            AccuracyAt(snr_db, accuracy, 0.01, 0.0, 0.01) for snr_db, accuracy in accuracy_by_snr.items()
        ),
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(
        name="test",
        task="classify",
        model={},
        split_layer=2,
        depth=2,
        width=4,
        patches=PATCHES,
        prefix_tokens=0,
        labels=LABELS,
        preprocessing=Preprocessing(8, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        merging=Merging(),
        codec=Codec(8, 4, (2, 4), (0.0, 20.0)),
        files={},
        reference=Reference(4, 64, 0.9, 0.01, 1000, 10.0),
        folder=tmp_path,
    )


@pytest.fixture
def fine(bundle: Bundle) -> MeasuredPolicy:
    """8 tokens of 4 symbols: the better one at 10 dB, the worse at 0 dB."""
    return _measured(bundle, 0.9, 4, 32, {0.0: 0.4, 10.0: 0.9})


@pytest.fixture
def coarse(bundle: Bundle) -> MeasuredPolicy:
    """4 tokens of 2 symbols."""
    return _measured(bundle, 0.5, 2, 8, {0.0: 0.6, 10.0: 0.7})


@pytest.fixture
def fading(coarse: MeasuredPolicy) -> MeasuredPolicy:
    """The latter on a fading channel."""
    return replace(coarse, channel=Channel("rayleigh", 10.0))


@pytest.fixture
def front_file(bundle: Bundle, fine: MeasuredPolicy, coarse: MeasuredPolicy) -> FrontFile:
    path = bundle.path(FRONT)
    Fronts((Front(bundle.name, bundle.digest, (fine, coarse)),)).save(path)
    return FrontFile(path, bundle.digest)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.open.set()


@pytest.fixture
async def cloud() -> AsyncIterator[FakeCloud]:
    cloud = FakeCloud()
    await cloud.start()
    yield cloud
    await cloud.close()


@pytest.fixture
async def relay(cloud: FakeCloud) -> AsyncIterator[Relay]:
    relay = Relay(cloud.port)
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
async def relayed(relay: Any) -> AsyncIterator[LinkClient]:
    client = LinkClient(f"127.0.0.1:{relay.port}")
    yield client
    await client.close()


@pytest.fixture
async def client(cloud: FakeCloud) -> AsyncIterator[LinkClient]:
    client = LinkClient(f"127.0.0.1:{cloud.port}")
    yield client
    await client.close()


@pytest.fixture
def service(bundle: Bundle, engine: FakeEngine, front_file: FrontFile, client: LinkClient) -> Iterator[EdgeService]:
    service = EdgeService(bundle, engine, front_file, Device(client, "camera"))
    yield service
    engine.open.set()
    service.device.close()


@pytest.fixture
def bare_service(bundle: Bundle, engine: FakeEngine, front_file: FrontFile, client: LinkClient) -> EdgeService:
    """Of a bundle whose reference was not measured."""
    return EdgeService(replace(bundle, reference=None), engine, front_file, Device(client, "camera"))


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    folder = tmp_path / "other"
    folder.mkdir()
    return replace(bundle, name="other", task="vqa", folder=folder)


@pytest.fixture
def other_service(other: Bundle, service: EdgeService, engine: Any, coarse: Any) -> EdgeService:
    found = replace(coarse, bundle_digest=other.digest)
    Fronts((Front(other.name, other.digest, (found,)),)).save(other.path(FRONT))
    return EdgeService(other, engine, FrontFile(other.path(FRONT), other.digest), service.device)


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """PNG pictures that differ by their number."""

    def draw(number: int = 0, side: int = 12) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return draw


@pytest.fixture
def frame() -> Callable[..., link_pb2.Frame]:
    """Frames that differ by their sequence number."""

    def make(sequence_number: int = 0) -> link_pb2.Frame:
        symbols = np.full((2, 2), np.exp(1j * sequence_number), dtype="<c8")
        return link_pb2.Frame(
            link_id="camera",
            request_id="0123456789abcdef" * 2,
            sequence_number=sequence_number,
            tokens=2,
            symbols_per_token=2,
            symbols=symbols.tobytes(),
        )

    return make


@pytest.fixture
async def http(service: EdgeService) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service.device, [service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http
