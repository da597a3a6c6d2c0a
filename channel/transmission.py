"""What happens to one frame in the channel, apart from any network: what arrives of it, and what its receiver knows."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from channel.models import registry
from channel.profiles import Profile
from channel.realisation import Symbols, apply, keyed_generator, keyed_uniform, noise_variance
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError, OverBudgetError, ThinwireError
from thinwire.frames import (
    MAX_SYMBOLS_PER_TOKEN,
    MAX_TOKENS,
    all_finite,
    check_frame,
    check_power,
    count_uses,
    describe,
    frame_key,
    pack_symbols,
)
from thinwire.v1 import link_pb2

_log = logging.getLogger(__name__)
# Pilots ahead of every symbol of the largest frame would take gigabytes.
MAX_USES = 2 * MAX_TOKENS * MAX_SYMBOLS_PER_TOKEN


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame as it arrives.

    Attributes:
        symbols: ``N x S`` complex64, not equalised.
        gain: h as the receiver takes it to be; a number, or complex64 of the shape of ``symbols``.
        noise_variance: variance per complex symbol of what is to be taken for noise; a number, or float32 likewise.
        pilot_uses: pilots that were sent beside the symbols.
    """

    symbols: Symbols
    gain: complex | Symbols
    noise_variance: float | NDArray[np.float32]
    pilot_uses: int = 0


def carry(symbols: Symbols, channel: Channel, generator: np.random.Generator) -> Arrival:
    """Send symbols through one realisation of a channel.

    With perfect CSI the receiver is told every gain and noise variance, and without any it takes h = 1 and N0.

    Pilots of value 1 are sent among the symbols, P ahead of each block, through the same realisation: fading, bursts,
    erasures, phase noise and the amplifier meet them as they meet the payload, and they take their time. The receiver
    estimates the gain of a block by least squares, ``h' = mean of the P pilots as received``: for a gain that stays
    within the block its error e has the variance N0 / P, and since ``y = h' x + (n - e x)``, it takes N0 (1 + 1/P) as
    the variance of its noise. Equalisation by h' is left to whoever gets the arrival.

    Args:
        symbols: ``N x S`` complex64 of unit mean power.
        channel: what they meet.
        generator: the only source of randomness.

    Raises:
        InvalidRequestError: there is no such model, or payload and pilots are more than `MAX_USES`.
    """
    if channel.csi.count:
        return _with_pilots(symbols, channel, generator)
    realisation = registry.get(channel.model).draw(symbols.shape, channel.snr_db, generator)
    received = apply(symbols, realisation)
    if channel.csi.text == "none":
        return Arrival(received, 1 + 0j, noise_variance(channel.snr_db))
    return Arrival(received, realisation.gain, realisation.noise_variance)


def _with_pilots(symbols: Symbols, channel: Channel, generator: np.random.Generator) -> Arrival:
    payload, csi = symbols.size, channel.csi
    pilots = csi.pilot_uses(payload)
    if payload + pilots > MAX_USES:
        raise InvalidRequestError(f"{pilots} pilots beside {payload} symbols are more than {MAX_USES} channel uses")
    every = min(csi.every, payload) or payload
    index = np.arange(payload)
    place = index + csi.count * (index // every + 1)
    sent = np.ones(payload + pilots, np.complex64)
    sent[place] = symbols.ravel()
    received = apply(sent, registry.get(channel.model).draw(sent.shape, channel.snr_db, generator)).astype(np.complex64)
    estimates = np.delete(received, place).reshape(-1, csi.count).mean(axis=1)
    gain = complex(estimates[0]) if len(estimates) == 1 else estimates[index // every].reshape(symbols.shape)
    variance = noise_variance(channel.snr_db) * (1 + 1 / csi.count)
    return Arrival(received[place].reshape(symbols.shape), gain, variance, pilots)


@dataclass(frozen=True)
class Transmission:
    """A frame that went through the channel.

    Attributes:
        frame: the frame, as the receiver gets it: noisy, not equalised, ``reception`` stamped, ``channel``,
            ``traceparent``, ``timeout_ms`` and ``max_channel_uses`` removed.
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

    Uses are counted from the bytes, 8 a symbol, with the pilots and side information at 1 bit per use. What is stamped
    as the reception stands for the receiver's front end: it holds the average SNR, and of gain and noise no more than
    the profile's CSI lets a receiver know.

    Args:
        frame: the frame as it was sent, with the channel that it asks for; it becomes the one that is received, since
            a copy would be one more of its symbols.
        profile: the profile of its link.

    Raises:
        InvalidFrameError: the frame is malformed, not finite or over the power limit.
        InvalidRequestError: it asks for a channel that there is not.
        OverBudgetError: it costs more channel uses than it allows itself.
        ThinwireError: the channel model failed, or gave what is not finite.
    """
    symbols = check_frame(frame)
    check_power(symbols)
    profile = profile.asked(frame.channel)
    pilots = profile.csi.pilot_uses(symbols.size)
    uses = count_uses(*symbols.shape, side_information_bits=frame.side_information_bits, pilots=pilots)
    if 0 < frame.max_channel_uses < uses.total:
        cost = f"{uses.total} channel uses, of them {uses.pilots} of pilots ({profile.csi.text})"
        raise OverBudgetError(f"the frame costs {cost}; it may cost {frame.max_channel_uses}", profile.csi.text)
    arrival = _receive(frame, symbols, profile)
    for name in ("channel", "traceparent", "timeout_ms", "max_channel_uses"):
        frame.ClearField(name)
    frame.symbols = pack_symbols(arrival.symbols)
    reception = describe(arrival.gain, arrival.noise_variance)
    reception.model, reception.snr_db, reception.pilot_uses = profile.model, profile.snr_db, arrival.pilot_uses
    frame.reception.CopyFrom(reception)

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
        csi=profile.csi.text,
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


def _receive(frame: link_pb2.Frame, symbols: Symbols, profile: Profile) -> Arrival:
    generator = keyed_generator(profile.seed, *frame_key(frame))
    # Models can be anyone's: one that fails must cost its frame and not the stream, and no NaN may pass.
    try:
        arrival = carry(symbols, profile, generator)
        known = np.asarray(arrival.gain), np.asarray(arrival.noise_variance)
        received = arrival.symbols.astype(np.complex64, copy=False)
    except InvalidRequestError:
        raise
    except Exception as error:
        _log.exception("channel model failed", extra={"model": profile.model})
        raise ThinwireError(f"channel model {profile.model!r} failed: {error}") from error
    fits = received.shape == symbols.shape and all(one.shape in ((), symbols.shape) for one in known)
    if not fits or not all(all_finite(one) for one in (received, *known)):
        raise ThinwireError(f"channel model {profile.model!r} gave values that are not finite or of another shape")
    return arrival if received is arrival.symbols else replace(arrival, symbols=received)
