"""The cloud's transcriber in torch: JSCC decoder in front of a Whisper's decoder."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# First: it makes transformers' models importable.
from cloud.speech.model import Clip, SpeechModel  # isort: skip
from transformers import WhisperForConditionalGeneration

from cloud.checkpoints import find_checkpoint
from cloud.language.load import load_checkpoint
from cloud.transcriber import Heard, Transcript, Utterance
from thinwire.audio import log_mel
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError, InvalidFrameError, ThinwireError
from thinwire.nn.codec.decoder import JsccDecoder, decode_frames
from thinwire.nn.placement import CPU, Placement
from thinwire.nn.weights import load_part

# Far under any size; its logarithm is finite.
LEAST_SIZE = 1e-6


class TorchTranscriber:
    """JSCC decoder and Whisper; see `cloud.transcriber.Transcriber`.

    Args:
        bundle: says how.
        speech: the model, whose own encoder plain audio runs through.
        decoder: the JSCC decoder, whose tokens are those behind that encoder's final norm.

    Raises:
        BundleError: the bundle's tokens are not those of the model.
    """

    def __init__(self, bundle: Bundle, speech: SpeechModel, decoder: JsccDecoder) -> None:
        self.bundle = bundle
        self.speech = speech
        self.decoder = decoder.eval()
        self._device = next(decoder.parameters()).device
        config = speech.model.config
        found = {"width": config.d_model, "patches": config.max_source_positions, "prefix_tokens": 0}
        for name, value in found.items():
            if getattr(bundle, name) != value:
                raise BundleError(
                    f"bundle {bundle.name}: its manifest has {name} {getattr(bundle, name)}, its speech model {value}"
                )

    @classmethod
    def load(cls, bundle: Bundle, placement: Placement = CPU) -> "TorchTranscriber":
        """The transcriber with the weights of a bundle and its checkpoint.

        Args:
            placement: of the speech model; see `cloud.torch_answerer.TorchAnswerer.load`.

        Raises:
            BundleError: the weights are not those that the manifest describes.
            UnavailableError: a package or a device that the placement needs is not there.
        """
        if bundle.speech is None:
            raise BundleError(f"bundle {bundle.name}: its manifest names no speech model")
        codec = bundle.codec
        decoder = load_part(
            bundle, "decoder", lambda: JsccDecoder(bundle.width, codec.hidden, codec.max_symbols_per_token)
        )
        checkpoint, revision = find_checkpoint(bundle, bundle.speech)
        model, tokenizer = load_checkpoint(checkpoint, revision, placement, WhisperForConditionalGeneration)
        return cls(bundle, SpeechModel(model, tokenizer, bundle.speech.sizes_in_logits), decoder)

    @torch.inference_mode()
    def hear_frames(self, frames: Sequence[ReceivedTokens]) -> list[Heard | ThinwireError]:
        """Decode frames of any token counts and rates."""
        tokens, shares, packing = decode_frames(self.decoder, frames, self._device)
        sizes = (shares * self.bundle.patches).clamp_min(LEAST_SIZE)
        counts = list(packing.counts)
        return [_heard(*one) for one in zip(torch.split(tokens, counts), torch.split(sizes, counts), strict=True)]

    @torch.inference_mode()
    def hear_audio(self, clips: Sequence[NDArray[np.float32]]) -> list[Heard | ThinwireError]:
        """Run the model's own encoder on clips."""
        model = self.speech.model
        features = [log_mel(clip, model.config.num_mel_bins, self.bundle.patches) for clip in clips]
        inputs = torch.from_numpy(np.stack(features)).to(model.device, model.dtype)
        return [_heard(tokens, None) for tokens in model.model.encoder(inputs).last_hidden_state]

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Transcript | ThinwireError]:
        """Write down any frames and clips together."""
        return self.speech.transcribe([_clip(one) for one in utterances])


def _heard(tokens: Tensor, sizes: Tensor | None) -> Heard | ThinwireError:
    if not bool(tokens.isfinite().all()) or (sizes is not None and not bool(sizes.isfinite().all())):
        return InvalidFrameError("there is no finite answer to this clip")
    # A copy: a view of one clip would keep the whole batch.
    return Heard(_array(tokens), None if sizes is None else _array(sizes))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().clone().numpy()
    return array


def _clip(utterance: Utterance) -> Clip:
    heard = utterance.heard
    return Clip(
        torch.from_numpy(heard.tokens),
        None if heard.sizes is None else torch.from_numpy(heard.sizes),
        heard.seconds,
        utterance.options,
        utterance.given_up,
        utterance.on_text,
    )
