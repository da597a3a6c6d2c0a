"""Whether the ``model.kwargs`` of a recipe are values that timm's vision transformer can be made of."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator
from timm.layers import get_act_layer, get_norm_layer

from thinwire.errors import InvalidRequestError
from thinwire.nn.backbone import ELSEWHERE
from thinwire.records import Count, NotNegative, Real, Share, Text, Whole, read, record


def _sides(value: Any) -> Any:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int and side >= 1 for side in sides):
        raise ValueError("must be a whole number of at least 1, or two of them")
    return value


def _known_to(find: Callable[[str], object], what: str) -> AfterValidator:
    def check(name: str) -> str:
        try:
            find(name)
        except KeyError:
            raise ValueError(f"must be the name of {what} that timm knows") from None
        return name

    return AfterValidator(check)


Sides = Annotated[Any, PlainValidator(_sides)]
Norm = Annotated[Text, _known_to(get_norm_layer, "a norm")]
Activation = Annotated[Text, _known_to(get_act_layer, "an activation")]


@record()
class TimmArguments:
    """What timm's ``VisionTransformer`` takes, with its defaults.

    What takes a class must be left out, since JSON holds none, and another block than timm's own cannot be split.
    """

    img_size: Sides = 224
    patch_size: Sides = 16
    in_chans: Count = 3
    num_classes: Count = 1000
    global_pool: Literal["avg", "token", "max", "avgmax", "map", "prr", "token+avg"] = "token"
    embed_dim: Count = 768
    depth: Count = 12
    num_heads: Count = 12
    mlp_ratio: NotNegative = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False
    scale_attn_norm: bool = False
    scale_mlp_norm: bool = False
    proj_bias: bool = True
    init_values: NotNegative | None = None
    class_token: bool = True
    pos_embed: Literal["", "none", "learn"] = "learn"
    no_embed_class: bool = False
    reg_tokens: Whole = 0
    pre_norm: bool = False
    final_norm: bool = True
    fc_norm: bool | None = None
    pool_include_prefix: bool = False
    dynamic_img_size: bool = False
    dynamic_img_pad: bool = False
    drop_rate: Share = 0.0
    pos_drop_rate: Share = 0.0
    patch_drop_rate: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    proj_drop_rate: Share = 0.0
    attn_drop_rate: Share = 0.0
    drop_path_rate: Share = 0.0
    weight_init: Literal["", "skip", "reset", "jax", "jax_nlhb", "moco"] = ""
    fix_init: bool = False
    norm_layer: Norm | None = None
    embed_norm_layer: Norm | None = None
    act_layer: Activation | None = None
    embed_layer: None = None
    block_fn: None = None
    mlp_layer: None = None
    attn_layer: None = None
    device: None = None
    dtype: None = None


def check_kwargs(model: dict[str, Any]) -> None:
    """Check a recipe's ``model.kwargs`` one by one, and heads against the width.

    A model that timm knows by name may take more than these, and has defaults of its own: what cannot be known of it
    is for `thinwire.nn.backbone.build_backbone` to tell.

    Args:
        model: as for `build_backbone`.

    Raises:
        InvalidRequestError: one is unknown or no such value; names it, what it should be and what it is.
    """
    kwargs = {name: value for name, value in model.get("kwargs", {}).items() if name not in ELSEWHERE}
    if "timm" in model:
        kwargs = {name: value for name, value in kwargs.items() if hasattr(TimmArguments, name)}
    arguments = read(TimmArguments, kwargs, "model.kwargs")
    is_known = "timm" not in model or {"embed_dim", "num_heads"} <= kwargs.keys()
    if is_known and arguments.embed_dim % arguments.num_heads:
        raise InvalidRequestError(
            f"model.kwargs.num_heads: expected a divisor of the {arguments.embed_dim} of embed_dim, got "
            f"{arguments.num_heads}"
        )
