"""The JSCC pair of a bundle, to script with: tokens to symbols, and symbols to tokens."""

import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from thinwire.bundle import Bundle, load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import InvalidRequestError
from thinwire.nn.codec.decoder import JsccDecoder, decode_frames
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.weights import load_part


class Codec:
    """An encoder and its decoder.

    Args:
        encoder: the device's half.
        decoder: the cloud's half.

    Example:
        >>> import thinwire, torch
        >>> codec = thinwire.Codec.load("cifar10")
        >>> tokens = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
        >>> symbols = codec.encode(tokens, symbols_per_token=3, snr_db=10)
        >>> symbols.shape, round(float((abs(symbols) ** 2).mean()), 3)
        ((5, 3), 1.0)
        >>> received = thinwire.simulate(symbols, "awgn", snr_db=10, seed=7)
        >>> decoded, shares = codec.decode(received.equalised)
        >>> decoded.shape, round(float(shares.sum()), 3)
        (torch.Size([5, 128]), 1.0)
    """

    def __init__(self, encoder: JsccEncoder, decoder: JsccDecoder) -> None:
        self.encoder, self.decoder = encoder.eval(), decoder.eval()

    @classmethod
    def load(cls, bundle: Bundle | str | Path) -> Self:
        """The pair of a bundle, given itself, by the name of one that is shipped, or by its folder.

        Raises:
            BundleError: there is no such bundle, or its weights are not those that its manifest describes.
        """
        found = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        codec, width = found.codec, found.width
        return cls(
            load_part(found, "encoder", lambda: build_encoder(codec, width)),
            load_part(found, "decoder", lambda: JsccDecoder(width, codec.hidden, codec.max_symbols_per_token)),
        )

    @torch.no_grad()
    def encode(
        self,
        tokens: "Tensor | ArrayLike",
        sizes: "Tensor | ArrayLike | None" = None,
        *,
        symbols_per_token: int,
        snr_db: float = 10.0,
    ) -> NDArray[np.complex64]:
        """One frame.

        Args:
            tokens: ``N x D``.
            sizes: ``N`` patches in each, at least 1; by default 1.
            symbols_per_token: the rate S.
            snr_db: average SNR that the sender assumes.

        Returns:
            ``N x S`` symbols of unit mean power.

        Raises:
            InvalidRequestError: shapes, values or the rate are not the codec's.
        """
        parameter = next(self.encoder.parameters())
        highest = self.encoder.max_symbols_per_token
        if not 1 <= symbols_per_token <= highest:
            raise InvalidRequestError(f"symbols_per_token must be from 1 to {highest}, got {symbols_per_token}")
        x = torch.as_tensor(tokens).to(parameter)
        if x.ndim != 2 or not len(x) or x.shape[1] != self.encoder.width:
            raise InvalidRequestError(f"expected N x {self.encoder.width} tokens, got {tuple(x.shape)}")
        each = x.new_ones(len(x)) if sizes is None else torch.as_tensor(sizes).to(parameter)
        if each.shape != x.shape[:1]:
            raise InvalidRequestError(f"expected {len(x)} sizes, got {tuple(each.shape)}")
        if not (x.isfinite().all() and each.isfinite().all() and (each >= 1).all() and math.isfinite(snr_db)):
            raise InvalidRequestError("expected finite tokens, sizes of at least 1 and a finite snr_db")
        one = x.new_ones(1)
        rate = (one * symbols_per_token).long()
        frame = self.encoder(x[None], each[None], each[None] > 0, one * snr_db, rate)
        symbols: NDArray[np.complex64] = frame[0, :, :symbols_per_token].cpu().numpy()
        return symbols

    @torch.no_grad()
    def decode(self, received: ReceivedTokens) -> tuple[Tensor, Tensor]:
        """What the cloud makes of one frame.

        Args:
            received: symbols after equalisation and the variance of their noise, as ``equalised`` of
                `thinwire.simulate` has them.

        Returns:
            ``N x D`` tokens, and ``N`` estimates of each token's share of the patches, whose sum is 1.

        Raises:
            InvalidRequestError: there are more symbols per token than the codec has.
        """
        highest = self.decoder.max_symbols_per_token
        if received.symbols.shape[1] > highest:
            raise InvalidRequestError(f"expected at most {highest} symbols per token, got {received.symbols.shape[1]}")
        device = next(self.decoder.parameters()).device
        tokens, shares, _ = decode_frames(self.decoder, [received], device)
        return tokens, shares
