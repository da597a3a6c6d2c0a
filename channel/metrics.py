"""What a proxy counts for Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from thinwire.metrics import FrameSnr, Outcomes, Stages
from thinwire.v1 import link_pb2


class ChannelMetrics:
    """What one proxy counts. A frame that comes again is another frame here: it is sent again.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "channel", self.registry)
        self._in_flight = Gauge("thinwire_frames_in_flight", "Frames without an answer yet", registry=self.registry)
        uses = Counter("thinwire_channel_uses", "Channel uses by part", ["part"], registry=self.registry)
        self._payload, self._pilots, self._side_information = (
            uses.labels(part) for part in ("payload", "pilots", "side_information")
        )
        self._airtime = Counter(
            "thinwire_airtime_seconds", "Time that frames occupied the channel", registry=self.registry
        )
        self._snr = FrameSnr(self.registry)
        self._stages = Stages("channel", ("channel", "upstream"), self.registry)

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Count a frame, in flight during the block and then by how it ends."""
        with self.frames.counting(), self._in_flight.track_inprogress():
            yield

    def observe_transmission(self, report: link_pb2.ChannelReport) -> None:
        """Take in what a frame cost that enters the channel, whatever becomes of it later."""
        self._payload.inc(report.payload_uses)
        self._pilots.inc(report.pilot_uses)
        self._side_information.inc(report.side_information_uses)
        self._airtime.inc(report.airtime_ms / 1e3)
        self._snr.observe(report.snr_db)

    def observe_stages(self, channel_s: float, upstream_s: float) -> None:
        """Take in how long an answered frame was in the proxy, and how long the proxy waited for the cloud."""
        self._stages.observe("channel", channel_s)
        self._stages.observe("upstream", upstream_s)
