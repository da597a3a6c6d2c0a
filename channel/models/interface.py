"""What a channel model is."""

from typing import Protocol

import numpy as np

from channel.realisation import Realisation, Symbols


class ChannelModel(Protocol):
    """Draws realisations; it keeps no state between frames.

    To add a channel, write a class with this method and `channel.models.registry.register` an instance of it.
    """

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw what the channel does to one frame.

        Args:
            shape: shape of the frame's symbols, ``(tokens, symbols_per_token)``.
            snr_db: average SNR (Es/N0) in dB, for E|h|^2 = 1 and unit mean power of the symbols.
            generator: the only source of randomness. Draw the gains from it before the noise, so that frames of
                different shapes meet the same gains.

        Returns:
            finite values: a gain rounded to complex64, the precision at which it is reported to the receiver, and
            complex64 noise of shape ``shape``.
        """
        ...
