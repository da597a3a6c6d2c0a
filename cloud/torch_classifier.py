"""The cloud's classifier in torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.images import normalise
from thinwire.nn.codec.decoder import JsccDecoder, decode_frames
from thinwire.nn.head import classify_packed
from thinwire.nn.weights import load_backbone, load_part


class TorchClassifier:
    """Decoder, the blocks after the split, and head; see `cloud.answerer.Classifier`.

    Args:
        bundle: says how.
        model: the whole backbone, since plain images run through all of it.
        decoder: the JSCC decoder.
    """

    def __init__(self, bundle: Bundle, model: Any, decoder: JsccDecoder) -> None:
        self.bundle = bundle
        self.model = model.eval()
        self.decoder = decoder.eval()
        self._device = next(model.parameters()).device

    @classmethod
    def load(cls, bundle: Bundle, device: str = "cpu") -> "TorchClassifier":
        """The classifier with the weights of a bundle, on a device of torch.

        Raises:
            BundleError: the weights are not those that the manifest describes.
        """
        codec = bundle.codec
        decoder = load_part(
            bundle, "decoder", lambda: JsccDecoder(bundle.width, codec.hidden, codec.max_symbols_per_token)
        )
        return cls(bundle, load_backbone(bundle).to(device), decoder.to(device))

    @torch.inference_mode()
    def classify_frames(self, frames: Sequence[ReceivedTokens]) -> NDArray[np.float32]:
        """Logits of frames of any token counts and rates, ``frames x classes``."""
        # Frames of equal length stand together; see `thinwire.nn.packed`.
        order = sorted(range(len(frames)), key=lambda index: len(frames[index].symbols))
        x, weights, packing = decode_frames(self.decoder, [frames[index] for index in order], self._device)
        split, proportional = self.bundle.split_layer, self.bundle.merging.proportional_attention
        answers = classify_packed(self.model, split, x, weights, packing, proportional).cpu().numpy()
        logits: NDArray[np.float32] = np.empty_like(answers)
        logits[order] = answers
        return logits

    @torch.inference_mode()
    def classify_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of the plain model on ``batch x size x size x 3`` pixels."""
        images = torch.from_numpy(normalise(pixels, self.bundle.preprocessing)).to(self._device)
        logits: NDArray[np.float32] = self.model(images).cpu().numpy()
        return logits
