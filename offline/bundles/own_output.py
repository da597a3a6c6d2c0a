"""Whether the split is the library's own function: unmerged, without codec and channel, on a few inputs.

Named checks refuse what is known to differ (`thinwire.nn.backbone.check_classifier`, `offline.bundles.vision_tower`);
this is the net for what nobody has thought of. It runs before anything is trained.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cloud.answerer import Question
from cloud.language.model import LanguageModel
from offline.bundles.vision_tower import VisionTower
from offline.train.packing import Segments, answer_logits, pack
from thinwire.bundle import Codec, Merging
from thinwire.errors import BundleError, ThinwireError
from thinwire.generation import Generation
from thinwire.images import Preprocessing, normalise
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.head import classify_packed, classify_tokens
from thinwire.nn.merging.transformer import embed, run_layers
from thinwire.nn.packed import Packing
from thinwire.nn.towers.hub_model import HubModel
from thinwire.nn.towers.models import classifier_of

# Largest difference of any number, as a share of the largest number: of weights in float32, and in half precision,
# where the library computes with fewer digits than the device does.
TOLERANCE = 1e-4
HALF_TOLERANCE = 3e-2
IMAGES = 2
QUESTION = "what is it?"


def perturbed(model: nn.Module, seed: int = 0) -> Any:
    """A copy whose weights are away from where training begins.

    There a class token is all but zero, and so is a layer's scale: whatever is wrong about them would not show.
    """
    moved = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            # Of matrices as much as they begin with: larger ones would make rounding errors grow from layer to layer.
            matrix = parameter.ndim in (2, 4)
            scale = 0.5 * (parameter[0].numel() ** -0.5) if matrix else 0.1
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter))
    return moved


@torch.inference_mode()
def check_split_classifier(model: nn.Module, split_layer: int, merging: Merging, preprocessing: Preprocessing) -> None:
    """Compare the split of a classifier with its library's own forward pass, to `TOLERANCE`.

    Args:
        model: in evaluation mode, on the CPU, in float32.
        split_layer: layers on the device.

    Raises:
        BundleError: the two differ, or one of them cannot be computed.
    """
    images = _images(preprocessing)
    # Nothing has merged, so that all sizes are 1.
    tower = classifier_of(model)
    tokens, _ = _try(
        "the device's half", lambda: run_layers(tower, embed(tower, images), [None] * split_layer, merging)
    )
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    sizes = tokens.all_sizes
    valid = torch.ones(sizes.shape, dtype=torch.bool)
    packing = Packing((x.shape[1],) * len(x), x.device)
    library = "transformers'" if isinstance(model, HubModel) else "timm's"
    own = _try(f"{library} own forward pass", lambda: model(images))
    proportional = merging.proportional_attention
    halves = {
        "the cloud's half in training": lambda: classify_tokens(model, split_layer, x, sizes, valid, proportional),
        "the cloud's half": lambda: classify_packed(
            model, split_layer, x.flatten(0, 1), sizes.flatten(), packing, proportional
        ),
    }
    for name, compute in halves.items():
        _compare(f"the logits of {type(model).__name__} through {name}", _try(name, compute), own, TOLERANCE)


@torch.inference_mode()
def check_split_llava(
    model: Any, tokenizer: Any, tower: VisionTower, prompt: str, preprocessing: Preprocessing
) -> None:
    """Compare the split of a LLaVA, and its plain route in the cloud, with transformers' own forward pass.

    To `TOLERANCE`, of weights in half precision to `HALF_TOLERANCE`. Of weights in 4 or 8 bits, the features are not
    compared: the device has the same weights in more digits.

    Args:
        model: a ``LlavaForConditionalGeneration`` in evaluation mode.
        tower: what the device runs, on the CPU.
        prompt: what the model is asked.

    Raises:
        BundleError: the two differ, or one of them cannot be computed.
    """
    images = _images(preprocessing)
    place, dtype = model.get_input_embeddings().weight.device, model.dtype
    tolerance = TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE
    cut = tower.tower
    name = type(model).__name__
    tokens, _ = _try("the device's half", lambda: run_layers(cut, embed(cut, images), [None] * cut.depth, Merging()))
    sent = tokens.with_prefix(tower.prefix_tokens)
    features = torch.cat((sent.prefix, sent.x), dim=1).to(place, dtype)
    pixels = images.to(place, dtype)
    own = _try(
        f"{name}.get_image_features",
        lambda: torch.stack(list(model.get_image_features(pixel_values=pixels).pooler_output)),
    )
    projected = _try("the projector", lambda: model.model.multi_modal_projector(features))
    if getattr(model, "hf_quantizer", None) is None:
        _compare(f"what {name} sees of an image", projected, own, tolerance)

    language = _try("the language model", lambda: LanguageModel(model, tokenizer, prompt))
    # The same features for all, since what the towers make is compared above.
    before, after = language.prompt.before, language.prompt.after(QUESTION)
    holders = [model.config.image_token_id] * own.shape[1]
    ids = torch.tensor([[*before, *holders, *after]] * IMAGES, device=place)
    whole = _try(f"{name}'s own forward pass", lambda: model(input_ids=ids, pixel_values=pixels).logits[:, -1])
    packed = pack([[(QUESTION, "")]] * IMAGES, Segments(tokenizer, prompt))
    taught, _ = _try("the codec's teacher", lambda: answer_logits(model, own, before, packed))
    _compare(f"the logits of {name} in training", taught, whole, tolerance)
    best = whole.float().softmax(-1).amax(-1)
    routes = {
        "tokens": lambda: language.view_tokens(list(features)),
        "images": lambda: language.view_pixels(pixels),
    }
    for route, view in routes.items():
        views = _try(f"reading {route} in", view)
        asked = [Question(_sound(one), QUESTION, Generation(max_new_tokens=1)) for one in views]
        said = [_sound(one) for one in _try("an answer", partial(language.answer, asked))]
        scores = torch.tensor([one.score for one in said])
        # A product of many layers' errors, which a softmax then spreads.
        _compare(f"the answers of {name} about {route}", scores, best.cpu(), 10 * tolerance)


def check_codec(codec: Codec, width: int) -> None:
    """Build a JSCC pair and send one frame through it at every rate.

    Raises:
        BundleError: none can be built so.
    """

    def send() -> None:
        encoder = build_encoder(codec, width).eval()
        decoder = JsccDecoder(width, codec.hidden, codec.max_symbols_per_token).eval()
        for rate in codec.rates:
            one, valid, rates = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.tensor([rate])
            snr = torch.tensor([codec.snr_db[0]], dtype=torch.float32)
            sent = encoder(torch.randn(1, 2, width), one, valid, snr, rates)
            decoder(sent, torch.ones(1), valid, rates)

    with torch.inference_mode():
        _try("the codec", send)


def _sound(outcome: Any) -> Any:
    if isinstance(outcome, ThinwireError):
        raise BundleError(f"the language model gives no answer: {outcome}")
    return outcome


def _images(preprocessing: Preprocessing) -> Tensor:
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(
        0, 256, (IMAGES, preprocessing.size, preprocessing.size, 3), dtype=np.uint8
    )
    return torch.from_numpy(normalise(pixels, preprocessing))


def _try(what: str, compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except ThinwireError:
        raise
    # What a library raises about a configuration that it cannot compute is its own affair.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"{what} cannot be computed: {type(error).__name__}: {reason}") from None


def _compare(what: str, ours: Tensor, own: Tensor, tolerance: float) -> None:
    if ours.shape != own.shape:
        raise BundleError(f"{what}: expected the library's {tuple(own.shape)}, got {tuple(ours.shape)}")
    difference = float((ours.float() - own.float()).abs().max() / own.float().abs().max().clamp_min(1e-12))
    # Written so that NaN fails too.
    if not difference <= tolerance:
        raise BundleError(
            f"{what}, unmerged and without a channel: expected the library's own to {tolerance:g}, "
            f"got a difference of {difference:.2g} of the largest"
        )
