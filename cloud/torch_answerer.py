"""The cloud's answerer in torch: JSCC decoder in front of a LLaVA."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.answerer import Answer, Question
from cloud.checkpoints import find_checkpoint
from cloud.language.load import load_checkpoint
from cloud.language.model import LanguageModel
from cloud.language.prefix import VisualPrefix
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError, ThinwireError
from thinwire.images import normalise
from thinwire.nn.codec.decoder import JsccDecoder, decode_frames
from thinwire.nn.placement import CPU, Placement
from thinwire.nn.weights import load_part


class TorchAnswerer:
    """Decoder, projector and language model; see `cloud.answerer.Answerer`.

    Args:
        bundle: says how.
        language: the language model, and the vision tower that plain images run through.
        decoder: the JSCC decoder.

    Raises:
        BundleError: the bundle's tokens are not those that the language model takes, or too many for it.
    """

    def __init__(self, bundle: Bundle, language: LanguageModel, decoder: JsccDecoder) -> None:
        self.bundle = bundle
        self.language = language
        self.decoder = decoder.eval()
        self._device = next(decoder.parameters()).device
        if language.width != bundle.width:
            raise BundleError(
                f"bundle {bundle.name}: its tokens have the width {bundle.width}, the projector takes {language.width}"
            )
        longest = len(language.prompt.before) + bundle.patches + bundle.prefix_tokens
        if longest >= language.context:
            raise BundleError(
                f"bundle {bundle.name}: {longest} tokens of prompt and image leave no room in the language model's "
                f"{language.context}"
            )

    @classmethod
    def load(cls, bundle: Bundle, placement: Placement = CPU) -> "TorchAnswerer":
        """The answerer with the weights of a bundle and its checkpoint.

        Args:
            placement: of the language model; as the checkpoint is, on the CPU, by default. The decoder is small,
                and stays on the CPU in float32.

        Raises:
            BundleError: the weights are not those that the manifest describes.
            UnavailableError: a package or a device that the placement needs is not there.
        """
        if bundle.language is None:
            raise BundleError(f"bundle {bundle.name}: its manifest names no language model")
        codec = bundle.codec
        decoder = load_part(
            bundle, "decoder", lambda: JsccDecoder(bundle.width, codec.hidden, codec.max_symbols_per_token)
        )
        checkpoint, revision = find_checkpoint(bundle, bundle.language)
        model, tokenizer = load_checkpoint(checkpoint, revision, placement)
        return cls(bundle, LanguageModel(model, tokenizer, bundle.language.prompt), decoder)

    @torch.inference_mode()
    def view_frames(self, frames: Sequence[ReceivedTokens]) -> list[VisualPrefix | ThinwireError]:
        """Read in frames of any token counts and rates."""
        tokens, _, packing = decode_frames(self.decoder, frames, self._device)
        return self.language.view_tokens(list(torch.split(tokens, list(packing.counts))))

    def view_images(self, pixels: NDArray[np.uint8]) -> list[VisualPrefix | ThinwireError]:
        """Read in ``batch x size x size x 3`` pixels."""
        return self.language.view_pixels(torch.from_numpy(normalise(pixels, self.bundle.preprocessing)))

    def answer(self, questions: Sequence[Question]) -> list[Answer | ThinwireError]:
        """Answer questions about any frames and images together."""
        return self.language.answer(questions)
