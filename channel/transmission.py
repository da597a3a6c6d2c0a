"""What happens to one frame in the channel, apart from any network."""

import logging
import math
from dataclasses import dataclass

import numpy as np

from channel.keys import keyed_generator, keyed_uniform
from channel.models import registry
from channel.profiles import Profile
from channel.realisation import Symbols, apply
from thinwire.errors import ThinwireError
from thinwire.frames import check_frame, check_power, count_uses, frame_key, pack_symbols
from thinwire.v1 import link_pb2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transmission:
    """A frame that went through the channel.

    Attributes:
        frame: the frame, as the receiver gets it: noisy, not equalised, ``reception`` stamped, ``channel``,
            ``traceparent`` and ``timeout_ms`` removed.
        report: what the sender learns with its result.
        airtime_s: seconds for which the frame occupied the channel.
        profile: the profile that it was carried under, with what it asked for.
    """

    frame: link_pb2.Frame
    report: link_pb2.ChannelReport
    airtime_s: float
    profile: Profile


def transmit(frame: link_pb2.Frame, profile: Profile) -> Transmission:
    """Check a frame, count its uses, and send its symbols through a keyed realisation of its channel.

    Uses are counted from the bytes: 8 bytes a symbol, no pilots, and side information at 1 bit per use. The receiver is
    told the average SNR, N0 and the gain exactly: the channel's estimation is taken to be perfect.

    Args:
        frame: the frame as it was sent, with the channel that it asks for; it becomes the one that is received, since
            a copy would be one more of its symbols.
        profile: the profile of its link.

    Raises:
        InvalidFrameError: the frame is malformed, not finite or over the power limit.
        InvalidRequestError: it asks for a channel that there is not.
        ThinwireError: the channel model failed, or gave what is not finite.
    """
    symbols = check_frame(frame)
    check_power(symbols)
    profile = profile.asked(frame.channel)
    received, reception = _receive(frame, symbols, profile)
    for name in ("channel", "traceparent", "timeout_ms"):
        frame.ClearField(name)
    frame.symbols = pack_symbols(received)
    frame.reception.CopyFrom(reception)

    uses = count_uses(*symbols.shape, side_information_bits=frame.side_information_bits)
    airtime_s = profile.airtime_s(uses.total)
    report = link_pb2.ChannelReport(
        model=profile.model,
        snr_db=profile.snr_db,
        channel_uses=uses.total,
        payload_uses=uses.payload,
        pilot_uses=uses.pilots,
        side_information_uses=uses.side_information,
        airtime_ms=airtime_s * 1e3,
        symbol_rate_hz=profile.symbol_rate_hz,
    )
    return Transmission(frame, report, airtime_s, profile)


def is_lost(frame: link_pb2.Frame, profile: Profile, transmission: int) -> bool:
    """Whether a frame is lost on the air, by `keyed_uniform` and the profile's ``frame_loss``.

    Args:
        frame: a frame, before or after `transmit`.
        profile: the profile of its link, or that of its transmission.
        transmission: which transmission of the frame this is, from 1: a retry is lost or not by a draw of its own.
    """
    if not profile.frame_loss:
        return False
    seed = profile.asked(frame.channel).seed
    return keyed_uniform(seed, *frame_key(frame), transmission) < profile.frame_loss


def _receive(frame: link_pb2.Frame, symbols: Symbols, profile: Profile) -> tuple[Symbols, link_pb2.Reception]:
    generator = keyed_generator(profile.seed, *frame_key(frame))
    # Models can be anyone's: one that fails must cost its frame and not the stream, and no NaN may pass.
    try:
        realisation = registry.get(profile.model).draw(symbols.shape, profile.snr_db, generator)
        received = apply(symbols, realisation).astype(np.complex64, copy=False)
        gain, variance = complex(realisation.gain), float(realisation.noise_variance)
    except Exception as error:
        _log.exception("channel model failed", extra={"model": profile.model})
        raise ThinwireError(f"channel model {profile.model!r} failed: {error}") from error
    finite = np.isfinite(received).all() and np.isfinite(gain) and math.isfinite(variance)
    if received.shape != symbols.shape or not finite:
        raise ThinwireError(f"channel model {profile.model!r} gave values that are not finite or of another shape")
    reception = link_pb2.Reception(
        model=profile.model,
        snr_db=profile.snr_db,
        noise_variance=variance,
        gain_real=gain.real,
        gain_imag=gain.imag,
    )
    return received, reception
