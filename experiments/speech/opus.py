"""Opus at a low rate as a baseline: the real encoder's packets, for the whole model in the cloud."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from thinwire.audio import SAMPLE_RATE

BIT_RATE = 6_000
# One packet: longer ones save headers, and 60 ms is the most that the layer for speech codes at once.
PACKET_MS = 60
# Whatever was encoded, the decoder gives this.
DECODED_RATE = 48_000


def through_opus(audio: NDArray[np.float32], bit_rate: int = BIT_RATE) -> tuple[NDArray[np.float32], int]:
    """What libopus leaves of a clip, in its mode for speech with a variable rate.

    Args:
        audio: samples at 16 kHz, full scale from -1 to 1.
        bit_rate: bits per second that are asked for.

    Returns:
        the decoded clip, of the same length; the bits of all packets, without a container's.
    """
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "flt"
    encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, SAMPLE_RATE)
    encoder.options = {"application": "voip", "frame_duration": str(PACKET_MS), "vbr": "on"}
    encoder.open()
    whole = PACKET_MS * SAMPLE_RATE // 1000
    # One packet more than the clip takes, for what the encoder delays.
    padded = np.pad(audio, (0, -len(audio) % whole + whole))
    packets = []
    for start in range(0, len(padded), whole):
        frame = av.AudioFrame.from_ndarray(padded[None, start : start + whole].copy(), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = _decoded(encoder.extradata or b"", [bytes(packet) for packet in packets])[: len(audio)]
    return decoded, 8 * sum(packet.size for packet in packets)


def _decoded(header: bytes, packets: list[bytes]) -> NDArray[np.float32]:
    # The header says how much of the first packet is of before the clip, which the decoder then leaves out.
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata, decoder.sample_rate, decoder.layout = header, DECODED_RATE, "mono"
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames]) / 2**15
    resampled: NDArray[np.float32] = resample_poly(samples, 1, DECODED_RATE // SAMPLE_RATE).astype(np.float32)
    return resampled
