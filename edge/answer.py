"""What the edge gives for an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.frames import ChannelUses


@dataclass(frozen=True)
class Answer:
    """What came of one image.

    Attributes:
        frame_id: the request id; later frames of a stream add "-" and their sequence number.
        outputs: labels with their softmax scores, the best first.
        logits: ``classes`` float32; empty unless they were asked for.
        policy_id: id of the policy that served, or "none".
        policy_digest: its digest.
        capped: whether tokens were merged further to fit the cap.
        tokens: tokens that were sent.
        uses: channel uses as the proxy counted them, or as they are by our own count where no proxy took part.
        cbr: channel uses over the numbers in the model's input.
        snr_db: the proxy's estimate of the average SNR in dB; None without a proxy.
        airtime_ms: time on the channel in milliseconds; 0 without a proxy.
        edge_gmacs: what the device computed, in 10^9 multiply-accumulates.
        merge_map: for each patch, the row of the token that it went into; int64.
        edge_ms: from the request to the frame, waiting included.
        channel_ms: time in the proxy; None without one.
        cloud_ms: time in the cloud.
        total_ms: the whole request.
    """

    frame_id: str
    outputs: tuple[tuple[str, float], ...]
    logits: NDArray[np.float32]
    policy_id: str
    policy_digest: str
    capped: bool
    tokens: int
    uses: ChannelUses
    cbr: float
    snr_db: float | None
    airtime_ms: float
    edge_gmacs: float
    merge_map: NDArray[np.int64]
    edge_ms: float
    channel_ms: float | None
    cloud_ms: float
    total_ms: float
