"""What a channel model is."""

from typing import Protocol

import numpy as np

from channel.realisation import Realisation, Symbols


class ChannelModel(Protocol):
    """Draws realisations, for many frames; it keeps no state between them.

    To add a channel, write a class with this method and name it; see `channel.models.registry` and docs/channels.md.
    If it has parameters, make it a frozen dataclass of whole numbers and floats, each with a default, and let its
    ``__post_init__`` raise `thinwire.errors.InvalidRequestError` for values that cannot be.
    """

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw what the channel does to one frame.

        Args:
            shape: shape of the symbols, which are sent in row-major order: ``(tokens, symbols_per_token)``, or one
                dimension where pilots stand among them.
            snr_db: average SNR (Es/N0) in dB, for E|h|^2 = 1 and unit mean power of the symbols.
            generator: the only source of randomness. Draw the gains from it before the noise, and where their number
                depends on ``shape`` from a `channel.realisation.side_generator` of it, so that a frame with fewer
                symbols meets the beginning of the same gains and noise.

        Returns:
            finite values: gains of complex64's precision, at which they are reported to the receiver, a number or an
            array of shape ``shape``; a noise variance likewise; and complex64 noise of shape ``shape``.
        """
        ...
