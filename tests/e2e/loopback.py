"""Edge, channel and cloud in this process, speaking real gRPC over the loopback, with what they exchange on record."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from channel.profiles import Profile
from channel.server import ChannelServer
from channel.server import Settings as ChannelSettings
from cloud.server import CloudServer
from cloud.server import Settings as CloudSettings
from cloud.servicer import SemanticLinkServicer
from cloud.torch_classifier import TorchClassifier
from edge.device import Device
from edge.engine import Encoded
from edge.link_client import LinkClient
from edge.service import EdgeService
from edge.torch_engine import TorchEngine
from policies.front import Front
from policies.fronts import FrontFile, Fronts
from policies.policy import Policy
from thinwire.bundle import FRONT, Bundle
from thinwire.channels import Channel
from thinwire.v1 import link_pb2


@dataclass
class RecordingEngine:
    """An engine that keeps what it encoded."""

    engine: TorchEngine
    encoded: list[Encoded] = field(default_factory=list)

    @property
    def mel_bins(self) -> int | None:
        return self.engine.mel_bins

    def encode(
        self, pixels: NDArray[np.uint8], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        self.encoded.append(self.engine.encode(pixels, policy, snr_db, max_channel_uses))
        return self.encoded[-1]


@dataclass
class Loopback:
    """The running testbed.

    Attributes:
        service: the edge.
        engine: what the edge encoded, in order.
        delivered: the frames as the cloud got them, in order.
        channel: where the channel listens.
    """

    service: EdgeService
    engine: RecordingEngine
    delivered: list[link_pb2.Frame]
    channel: str


@contextlib.asynccontextmanager
async def loopback(bundle: Bundle, link_id: str, profile: Profile) -> AsyncIterator[Loopback]:
    """Start all three on free ports with the weights of a bundle."""
    cloud = CloudServer(
        [(bundle, TorchClassifier.load(bundle))], CloudSettings(grpc_address="127.0.0.1:0", rest_port=0)
    )
    await cloud.start()
    channel = ChannelServer(ChannelSettings(f"127.0.0.1:{cloud.grpc_port}", "127.0.0.1:0", profile))
    target = f"127.0.0.1:{await channel.start()}"
    client = LinkClient(target)
    engine = RecordingEngine(TorchEngine.load(bundle))
    front_file = FrontFile(bundle.path(FRONT), bundle.digest)
    service = EdgeService(bundle, engine, front_file, Device(client, link_id, Channel(snr_db=profile.snr_db)))
    delivered: list[link_pb2.Frame] = []
    answer = SemanticLinkServicer._answer

    async def record(servicer: SemanticLinkServicer, frame: link_pb2.Frame, deadline_s: float) -> link_pb2.Result:
        delivered.append(frame)
        return await answer(servicer, frame, deadline_s)

    try:
        with mock.patch.object(SemanticLinkServicer, "_answer", record):
            yield Loopback(service, engine, delivered, target)
    finally:
        service.device.close()
        await client.close()
        await channel.stop()
        await cloud.stop()


def write_tiny_bundle(folder: Path, name: str = "tiny", split_layer: int = 3, **options: Any) -> Bundle:
    """A whole bundle with random weights, a reference and a front of three policies, in ``folder``."""
    from dataclasses import replace

    from offline.bundles.policies import measure_reference
    from offline.bundles.write import write_weights
    from offline.data.images import LabelledImages
    from offline.measure.evaluator import Evaluator
    from offline.measure.meter import PolicyMeter
    from offline.measure.studies import open_study
    from offline.measure.workers import Task
    from policies.store import Store
    from tests.parts import make_bundle, make_classifier, make_engine, random_pixels
    from thinwire.channels import Channel

    options = options or {"class_token": False, "global_pool": "avg"}
    engine, classifier = make_engine(split_layer, **options), make_classifier(split_layer, **options)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"backbone": engine.tower.module, "encoder": engine.encoder, "decoder": classifier.decoder}
    bundle = replace(make_bundle(split_layer, folder, **options), name=name, files=write_weights(parts, folder))
    generator = np.random.default_rng(0)
    names = tuple(f"tiny/{index}" for index in range(40))
    images = LabelledImages(names, random_pixels(40), generator.integers(0, 7, 40), bundle.labels)
    evaluator = Evaluator.load(bundle, images)
    # A rate that leaves room for budgets of a few per cent; random weights would give any.
    reference = replace(measure_reference(evaluator, 0)[0], symbols_per_token=8, channel_uses=200)
    bundle = replace(bundle, reference=reference)
    bundle.save()
    meter = PolicyMeter(Evaluator.load(bundle, images), (Channel("awgn", 10.0),), 0, snrs_db=(0.0, 10.0))
    thresholds = ([-1.0] * 3, 1), ([0.5, 0.4, 0.3], 2), ([0.8, 0.7, 1.0], 8)
    policies = [Policy.create(given[:split_layer], rate) for given, rate in thresholds]
    task = Task(folder, images, "select", meter.channels, 0)
    with Store(f"sqlite:///{folder / 'store.sqlite'}") as store:
        study = open_study(store, "tiny", bundle, task, {"strategy": "by hand"})
        for policy in policies:
            store.add_trial(study, meter.measure(policy)[0], source="hand")
        # All three, whichever of them random weights make the best.
        Fronts((Front(bundle.name, bundle.digest, store.trials(study)),)).save(bundle.path(FRONT))
    return bundle
