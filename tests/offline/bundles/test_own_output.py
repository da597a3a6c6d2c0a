"""The split against the library's own output: what is the same passes, whatever makes it differ is told."""

import types

import pytest
import torch
from torch import nn
from transformers import MistralConfig, SiglipVisionConfig

from cloud.language.load import load_checkpoint
from offline.bundles.build import check_model
from offline.bundles.build_vqa import check_recipe_llava
from offline.bundles.own_output import check_codec, check_split_classifier, check_split_llava, perturbed
from offline.bundles.vision_tower import cut_tower, read_tower
from offline.recipes.recipe import load_recipe
from offline.recipes.vqa_recipe import load_vqa_recipe
from tests.llava import PROMPT, SIZE, make_llava, make_tokenizer
from tests.parts import OPTIONS, make_bundle, make_model
from thinwire.bundle import Codec, Merging, load_bundle
from thinwire.errors import BundleError
from thinwire.images import Preprocessing
from thinwire.nn.backbone import build_backbone, check_classifier
from thinwire.nn.placement import CPU

PREPARED = make_bundle().preprocessing
SEEN = Preprocessing(SIZE, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
AVERAGED = {"class_token": False, "global_pool": "avg"}
SOUND = [
    {},
    AVERAGED,
    {"global_pool": "avg"},
    {"global_pool": "token+avg", "reg_tokens": 2},
    {"reg_tokens": 3, "no_embed_class": True},
    {"reg_tokens": 2, "global_pool": "avg", "class_token": False},
    {"pre_norm": True, "init_values": 1e-5, "qk_norm": True},
    {"scale_attn_norm": True, "scale_mlp_norm": True, "fc_norm": True},
    {"fc_norm": False, "global_pool": "avg"},
    {"final_norm": False, "pos_embed": "none"},
    {"dynamic_img_size": True},
    {"drop_rate": 0.5, "patch_drop_rate": 0.5, "drop_path_rate": 0.5, "attn_drop_rate": 0.5},
    {"act_layer": "silu", "qkv_bias": False},
]


@pytest.mark.parametrize("options", SOUND, ids=str)
@pytest.mark.parametrize("merging", [Merging(), Merging(place="layer", proportional_attention=True)], ids=["", "sizes"])
def test_timms_own_transformers_are_the_same_function_split_anywhere(options, merging):
    model = build_backbone({"kwargs": OPTIONS | options}).eval()
    check_classifier(model)
    for split_layer in (0, 2, 3):
        check_split_classifier(perturbed(model), split_layer, merging, PREPARED)


class Flip(nn.Module):
    """Something that a later version of the library may do between two steps."""

    def forward(self, x):
        return x.flip(1) * 1.5


def after_pooling(model):
    model.head_drop = Flip()


def before_the_first_layer(model):
    model.patch_drop = Flip()


def behind_attention(model):
    model.blocks[1].drop_path1 = Flip()


def within_attention(model):
    own = type(model.blocks[0].attn).forward
    attention = model.blocks[0].attn
    attention.forward = lambda x, **_: own(attention, x, is_causal=True)


def not_finite(model):
    nn.init.constant_(model.head.bias, float("nan"))


def of_another_shape(model):
    model.head_drop = nn.Unflatten(-1, (1, -1))


@pytest.mark.parametrize(
    "change",
    [after_pooling, before_the_first_layer, behind_attention, within_attention, not_finite, of_another_shape],
)
def test_whatever_else_timm_computes_is_seen(change):
    model = make_model(make_bundle())
    check_split_classifier(model, 3, Merging(), PREPARED)
    change(model)
    # No check by name knows of it.
    check_classifier(model)
    with pytest.raises(
        BundleError, match=r"logits of VisionTransformer through the cloud's half.*expected the library's"
    ):
        check_split_classifier(model, 3, Merging(), PREPARED)


def test_what_the_library_cannot_compute_is_told():
    model = make_model(make_bundle())
    model.head = nn.Linear(5, 5)
    with pytest.raises(BundleError, match="timm's own forward pass cannot be computed: RuntimeError"):
        check_split_classifier(model, 3, Merging(), PREPARED)


def test_weights_as_training_begins_with_them_would_hide_a_difference():
    model = build_backbone({"kwargs": OPTIONS | {"init_values": 1e-9}}).eval()
    behind_attention(model)
    check_split_classifier(model, 3, Merging(), PREPARED)
    with pytest.raises(BundleError, match="expected the library's"):
        check_split_classifier(perturbed(model), 3, Merging(), PREPARED)


def split_llava(model, feature_layer=None):
    check_split_llava(model, make_tokenizer(), cut_tower(model, feature_layer), PROMPT, SEEN)


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAVAS = {
    "as it is": {},
    "all tokens": {"vision_feature_select_strategy": "full", "image_seq_length": 17},
    "the last layer": {"vision_feature_layer": -1},
    "a projector of another kind": {"projector_hidden_act": "relu", "multimodal_projector_bias": False},
}


@pytest.mark.parametrize("options", LLAVAS.values(), ids=LLAVAS)
def test_a_llava_is_the_same_function(options):
    split_llava(make_llava(make_tokenizer(), **options))


def test_a_llava_of_other_parts_is_the_same_function():
    vision = SiglipVisionConfig(image_size=SIZE, patch_size=8, **SIZES)
    text = MistralConfig(
        vocab_size=len(make_tokenizer()), max_position_embeddings=160, num_key_value_heads=1, **SIZES, eos_token_id=2
    )
    options = {"vision_config": vision, "text_config": text, "vision_feature_select_strategy": "full"}
    model = make_llava(make_tokenizer(), **options)
    split_llava(model)
    split_llava(model.to(torch.bfloat16))


def test_whatever_else_a_llava_computes_is_seen():
    model = make_llava(make_tokenizer())
    with pytest.raises(
        BundleError, match=r"what LlavaForConditionalGeneration sees of an image.*expected the library's"
    ):
        split_llava(model, -1)
    model.model.vision_tower.encoder.layers[0].mlp.register_forward_hook(lambda *call: call[-1] * 1.5)
    tower = cut_tower(make_llava(make_tokenizer()))
    with pytest.raises(BundleError, match="sees of an image"):
        check_split_llava(model, make_tokenizer(), tower, PROMPT, SEEN)


def test_a_language_model_that_treats_images_in_another_way_is_seen():
    model = make_llava(make_tokenizer())
    own = type(model).forward

    def forward(self, **given):
        output = own(self, **given)
        if given.get("pixel_values") is not None:
            output.logits = output.logits.tanh()
        return output

    model.forward = types.MethodType(forward, model)
    with pytest.raises(BundleError, match="the logits of LlavaForConditionalGeneration in training"):
        split_llava(model)


def test_an_answer_that_is_served_in_another_way_is_seen(monkeypatch):
    # As if the positions of a question began anew after the image.
    def question_tokens(rows):
        ids, positions, valid = served(rows)
        return ids, positions - positions.amin(), valid

    from cloud.language import generate

    served = generate._question_tokens
    monkeypatch.setattr(generate, "_question_tokens", question_tokens)
    with pytest.raises(BundleError, match="the answers of LlavaForConditionalGeneration about tokens"):
        split_llava(make_llava(make_tokenizer()))


@pytest.mark.parametrize("encoder", ["mlp", "attention"])
def test_a_codec_that_can_be_built(encoder):
    check_codec(Codec(32, 8, (1, 2, 8), (-5.0, 20.0), encoder), 24)


@pytest.mark.parametrize("options", [{"encoder": "attention", "hidden": 33}, {"encoder": "nonsense"}])
def test_a_codec_that_cannot_be_built(options):
    codec = {"hidden": 32, "max_symbols_per_token": 8, "rates": (1,), "snr_db": (-5.0, 20.0)}
    with pytest.raises(BundleError):
        check_codec(Codec(**codec | options), 24)


@pytest.mark.parametrize("name", ["cifar10", "cifar10-middle"])
def test_the_shipped_recipes_split_what_they_train(name):
    model, classes = check_model(load_recipe(name))
    assert (model.num_classes, classes) == (10, None if name == "cifar10" else load_bundle("cifar10").labels)


def test_the_shipped_llava_is_the_same_function():
    check_recipe_llava(load_vqa_recipe("easy-vqa"))
    bundle = load_bundle("easy-vqa")
    folder = bundle.path("llava")
    model, tokenizer = load_checkpoint(str(folder), None, CPU)
    check_split_llava(model, tokenizer, read_tower(folder), bundle.language.prompt, bundle.preprocessing)
