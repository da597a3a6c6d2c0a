"""What the device says of one image or clip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.engine import Encoded
from edge.repeats import Prepared
from thinwire.channels import Channel
from thinwire.frames import ChannelUses, count_uses, frame_id
from thinwire.images import Area
from thinwire.v1 import link_pb2


@dataclass(frozen=True)
class Answer:
    """What came of one image or clip.

    Attributes:
        frame_id: the request id; later frames of a stream add "-" and their sequence number.
        outputs: labels with their softmax scores, the best first; or one answer or transcript with its own.
        logits: ``classes`` float32; empty unless they were asked for.
        policy_id: id of the policy that served, or "none".
        policy_digest: its digest.
        front: channel of the front that the policy was taken from; None for "none".
        capped: whether tokens were merged further to fit the cap.
        tokens: tokens that were sent.
        uses: channel uses of one transmission as the proxy counted them, or as they are by our own count where no proxy
            took part.
        cbr: channel uses over the numbers in the model's input.
        snr_db: the proxy's estimate of the average SNR in dB; None without a proxy.
        airtime_ms: time of one transmission on the channel in milliseconds; 0 without a proxy.
        transmissions: how often the frame was sent, as the proxy counted; 1 without one.
        edge_gmacs: what the device computed, in 10^9 multiply-accumulates.
        encoded: what the engine made of it.
        area: the part of the upright image that it was made of; None of a clip.
        received: the symbols as they arrived, as those of ``encoded``; None if nobody asked, or the peer does not tell.
        edge_ms: from the request to the frame, waiting included.
        channel_ms: time in the proxy; None without one.
        cloud_ms: time in the cloud.
        total_ms: the whole request.
        finish_reason: of an answer: "stop" if it ended by itself, "length" if it was cut.
        prompt_tokens: tokens that the language model read for it.
        answer_tokens: those that it wrote.
        transcript: what a clip says; None of an image.
    """

    frame_id: str
    outputs: tuple[tuple[str, float], ...]
    logits: NDArray[np.float32]
    policy_id: str
    policy_digest: str
    front: Channel | None
    capped: bool
    tokens: int
    uses: ChannelUses
    cbr: float
    snr_db: float | None
    airtime_ms: float
    transmissions: int
    edge_gmacs: float
    encoded: Encoded
    area: Area | None
    received: NDArray[np.complex64] | None
    edge_ms: float
    channel_ms: float | None
    cloud_ms: float
    total_ms: float
    finish_reason: str
    prompt_tokens: int
    answer_tokens: int
    transcript: link_pb2.Transcript | None = None

    @classmethod
    def of(
        cls,
        result: link_pb2.Result,
        frame: link_pb2.Frame,
        prepared: Prepared,
        input_numbers: int,
        edge_s: float,
        total_s: float,
    ) -> "Answer":
        """What came of a frame.

        Args:
            result: what came back.
            frame: what was sent.
            prepared: what it was made of.
            input_numbers: how many numbers the model's input has.
            edge_s: seconds from the request to the frame.
            total_s: seconds of the whole request.
        """
        encoded, choice = prepared.encoded, prepared.choice
        heard = result.channel if result.HasField("channel") else None
        uses = (
            count_uses(frame.tokens, frame.symbols_per_token)
            if heard is None
            else ChannelUses(heard.payload_uses, heard.pilot_uses, heard.side_information_uses)
        )
        return cls(
            frame_id=frame_id(frame.request_id, frame.sequence_number),
            outputs=tuple((output.label, output.score) for output in result.outputs),
            logits=np.array(result.logits, dtype=np.float32),
            policy_id=choice.id,
            policy_digest=choice.policy.digest,
            front=choice.front,
            capped=encoded.capped,
            tokens=frame.tokens,
            uses=uses,
            cbr=uses.total / input_numbers,
            snr_db=None if heard is None else heard.snr_db,
            airtime_ms=0.0 if heard is None else heard.airtime_ms,
            transmissions=1 if heard is None else heard.transmissions,
            edge_gmacs=encoded.edge_gmacs,
            encoded=encoded,
            area=prepared.area,
            received=_received(result, encoded),
            edge_ms=edge_s * 1000,
            channel_ms=None if heard is None else result.channel_ms,
            cloud_ms=result.cloud_ms,
            total_ms=total_s * 1000,
            finish_reason=result.finish_reason,
            prompt_tokens=result.prompt_tokens,
            answer_tokens=result.answer_tokens,
            transcript=result.transcript if result.HasField("transcript") else None,
        )


def _received(result: link_pb2.Result, encoded: Encoded) -> NDArray[np.complex64] | None:
    # A peer of an earlier version knows nothing of it.
    if len(result.received) != encoded.symbols.nbytes:
        return None
    return np.frombuffer(result.received, dtype="<c8").reshape(encoded.symbols.shape)
