"""Whether the ``model.kwargs`` of a recipe are values that timm's vision transformer can be made of."""

import inspect
from collections.abc import Callable
from typing import Any

from timm.layers import get_act_layer, get_norm_layer

from offline.recipe_checks import BELOW_ONE, SHARE, Fields, Rule, check_fields, list_of, one_of, real, whole
from thinwire.errors import InvalidRequestError
from thinwire.nn.backbone import ELSEWHERE, VisionTransformer


def _or_none(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or null", lambda value: value is None or rule.holds(value))


def _known_to(find: Callable[[str], object], what: str) -> Rule:
    def holds(value: Any) -> bool:
        try:
            return isinstance(value, str) and find(value) is not None
        # What timm raises on a name that it does not know.
        except (KeyError, AttributeError):
            return False

    return Rule(f"the name of {what} that timm knows", holds)


_TRUTH = one_of(True, False)
_SIDES = Rule(
    "a whole number of at least 1, or two of them",
    lambda value: whole(1).holds(value) or list_of(whole(1), 2).holds(value),
)
# JSON holds no class, and another block than timm's own is none that can be split.
_LEFT_OUT = Rule("it left out, since a recipe cannot hold what it takes", lambda value: value is None)
_CLASSES = ("embed_layer", "block_fn", "mlp_layer", "attn_layer", "device", "dtype")
_TRUTHS = (
    "qkv_bias", "qk_norm", "scale_attn_norm", "scale_mlp_norm", "proj_bias", "class_token", "no_embed_class",
    "pre_norm", "final_norm", "pool_include_prefix", "dynamic_img_size", "dynamic_img_pad", "fix_init",
)  # fmt: skip
_RATES = ("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
_RULES: dict[str, Rule | Fields] = {
    "img_size": _SIDES,
    "patch_size": _SIDES,
    "in_chans": whole(1),
    "num_classes": whole(1),
    "global_pool": one_of("avg", "token"),
    "embed_dim": whole(1),
    "depth": whole(1),
    "num_heads": whole(1),
    "mlp_ratio": real(0),
    "init_values": _or_none(real(0)),
    "pos_embed": one_of("", "none", "learn"),
    "reg_tokens": whole(0),
    "fc_norm": _or_none(_TRUTH),
    "patch_drop_rate": BELOW_ONE,
    "weight_init": one_of("", "skip", "reset", "jax", "jax_nlhb", "moco"),
    "norm_layer": _or_none(_known_to(get_norm_layer, "a norm")),
    "embed_norm_layer": _or_none(_known_to(get_norm_layer, "a norm")),
    "act_layer": _or_none(_known_to(get_act_layer, "an activation")),
    **dict.fromkeys(_TRUTHS, _TRUTH),
    **dict.fromkeys(_RATES, SHARE),
    **dict.fromkeys(_CLASSES, _LEFT_OUT),
}
_KWARGS = Fields({name: rule._replace(optional=True) for name, rule in _RULES.items()})


def check_kwargs(model: dict[str, Any]) -> None:
    """Check a recipe's ``model.kwargs`` one by one, and heads against the width.

    A model that timm knows by name may take more than these, and has defaults of its own: what cannot be known of it
    is for `thinwire.nn.backbone.build_backbone` to tell.

    Args:
        model: as for `build_backbone`.

    Raises:
        InvalidRequestError: one is unknown or no such value; names it, what it should be and what it is.
    """
    kwargs = {name: value for name, value in model.get("kwargs", {}).items() if name not in ELSEWHERE or not value}
    named = "timm" in model
    check_fields(
        {name: value for name, value in kwargs.items() if not named or name in _RULES}, _KWARGS, "model.kwargs"
    )
    defaults = {} if named else inspect.signature(VisionTransformer.__init__).parameters
    width, heads = (
        kwargs.get(name, defaults[name].default if name in defaults else None) for name in ("embed_dim", "num_heads")
    )
    if width is not None and heads is not None and width % heads:
        raise InvalidRequestError(
            f"model.kwargs.num_heads: expected a divisor of the {width} of embed_dim, got {heads}"
        )
