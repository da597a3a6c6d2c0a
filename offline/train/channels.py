"""The channels that a JSCC pair trains on: drawn, applied and equalised as they are in serving, a batch at a time."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channel.models.interface import ChannelModel
from channel.realisation import Realisation
from thinwire.equalise import weigh, zero_forcing

# An amplifier's limit that no symbol reaches.
UNLIMITED = float(np.finfo(np.float32).max)


def draw_channels(
    models: Sequence[ChannelModel],
    shape: tuple[int, int, int],
    rates: NDArray[np.int64],
    snr_db: Sequence[float],
    generator: np.random.Generator,
    device: torch.device,
) -> Realisation[Tensor]:
    """A channel for each frame of a batch, every frame with its own model, gains and noise.

    Each is drawn for the highest rate. A frame of a lower one meets the beginning of it, in the order of time, as it
    would in serving: there a model draws the same for the symbols that are sent.

    Args:
        models: one of which is drawn for each frame, all alike.
        shape: batch, tokens, highest rate.
        rates: ``batch`` symbols per token that are sent.
        snr_db: ``batch`` average SNRs.
        generator: the only source of randomness.
        device: of the result.

    Returns:
        complex64 noise ``batch x tokens x highest rate``, and the rest likewise or ``batch x 1 x 1``; 0 beyond the
        rate where anything differs from symbol to symbol.
    """
    drawn = [models[int(generator.integers(len(models)))].draw(shape[1:], snr, generator) for snr in snr_db]
    # Where nothing but the noise differs from symbol to symbol, its place in time means nothing.
    if all(np.ndim(one.gain) == np.ndim(one.noise_variance) == 0 and one.phase_error is None for one in drawn):
        rates = np.full(len(drawn), shape[2])

    def batch(values: Sequence[Any], dtype: type) -> Tensor:
        return _batch(values, shape, rates, dtype).to(device)

    turns = any(one.phase_error is not None for one in drawn)
    clips = any(one.clip < math.inf for one in drawn)
    return Realisation(
        gain=batch([one.gain for one in drawn], np.complex64),
        noise=batch([one.noise for one in drawn], np.complex64),
        noise_variance=batch([one.noise_variance for one in drawn], np.float32),
        phase_error=batch([1 if one.phase_error is None else one.phase_error for one in drawn], np.complex64)
        if turns
        else None,
        clip=batch([min(one.clip, UNLIMITED) for one in drawn], np.float32) if clips else math.inf,
    )


def _batch(values: Sequence[Any], shape: tuple[int, int, int], rates: NDArray[np.int64], dtype: type) -> Tensor:
    """Numbers, or arrays of each frame's symbols in the order of time, as one tensor."""
    if all(np.ndim(value) == 0 for value in values):
        return torch.from_numpy(np.array(values, dtype))[:, None, None]
    batch: NDArray[Any] = np.zeros(shape, dtype)
    for frame, value, rate in zip(batch, values, rates.tolist(), strict=True):
        times = np.broadcast_to(value, shape[1:]).reshape(-1)
        frame[:, :rate] = times[: shape[1] * rate].reshape(shape[1], rate)
    return torch.from_numpy(batch)


def equalise(received: Tensor, realisation: Realisation[Tensor], sent: Tensor) -> tuple[Tensor, Tensor]:
    """What `thinwire.equalise.receive` makes of frames whose channel it is told, with its default equaliser.

    Args:
        received: ``batch x tokens x highest rate`` complex64.
        realisation: of each.
        sent: ``batch x tokens x highest rate`` bool, false for padding and beyond the rate.

    Returns:
        the symbols, and ``batch`` variances of the noise on them.
    """
    gain, variance = torch.as_tensor(realisation.gain), torch.as_tensor(realisation.noise_variance)
    if gain.shape[1:] == variance.shape[1:] == (1, 1):
        symbols, noise = zero_forcing(received, gain, variance)
    else:
        count = sent.sum((1, 2), keepdim=True)
        symbols, noise = weigh(
            received, gain, variance, lambda values: (values * sent).sum((1, 2), keepdim=True) / count
        )
    return symbols, noise[:, 0, 0]
