"""Whether a recipe's values are possible, one by one, so that a wrong one is told before anything is done."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from channel.profiles import MAX_SNR_DB, MIN_SNR_DB
from thinwire.errors import InvalidRequestError
from thinwire.images import RESAMPLING


class Rule(NamedTuple):
    """What a value must be, in words, and whether one is; ``optional`` where the field may be left out."""

    expected: str
    holds: Callable[[Any], bool]
    optional: bool = False


class Fields(NamedTuple):
    """An object's fields by name."""

    rules: Mapping[str, "Rule | Fields"]
    optional: bool = False


def whole(least: int) -> Rule:
    """A whole number."""
    return Rule(f"a whole number of at least {least}", lambda value: _is_whole(value) and value >= least)


def real(low: float, high: float = math.inf, above: bool = False) -> Rule:
    """A finite number of a range; ``above`` leaves its lower end out."""
    words = f"a number {'above' if above else 'of at least'} {low:g}" + (
        f", at most {high:g}" if high < math.inf else ""
    )
    return Rule(words, lambda value: _is_real(value) and low <= value <= high and not (above and value == low))


def one_of(*values: object) -> Rule:
    """One of some texts or truth values."""
    return Rule(
        f"one of {', '.join(map(repr, values))}",
        lambda value: any(type(value) is type(one) and value == one for one in values),
    )


def list_of(rule: Rule, length: int | None = None) -> Rule:
    """A list with something in it."""
    return Rule(
        f"a list of {length or 'one or more'}, each {rule.expected}",
        lambda value: (
            isinstance(value, list) and len(value) == (length or max(1, len(value))) and all(map(rule.holds, value))
        ),
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


TEXT = Rule("a text", lambda value: isinstance(value, str) and bool(value))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
NUMBER = Rule("a number", _is_real)
SHARE = real(0, 1)
BELOW_ONE = Rule("a number from 0 to below 1", lambda value: _is_real(value) and 0 <= value < 1)
# It becomes a folder's, a study's and a bundle's name.
NAME = Rule("letters, digits, '.', '_' and '-'", lambda value: isinstance(value, str) and _is_name(value))
SNR_DB = real(MIN_SNR_DB, MAX_SNR_DB)
PREPROCESSING = Fields(
    {
        "size": whole(1),
        "crop": real(0, 1, above=True),
        "interpolation": one_of(*RESAMPLING),
        "mean": list_of(NUMBER, 3),
        "std": list_of(real(0, above=True), 3),
    }
)
STAGES = {
    "merging": Fields(
        {
            "metric": one_of("value", "value_head", "key", "key_mean")._replace(optional=True),
            "weight": one_of("norm", "size")._replace(optional=True),
            "proportional_attention": one_of(True, False)._replace(optional=True),
            "place": one_of("attention", "layer")._replace(optional=True),
        }
    ),
    "codec": Fields(
        {
            "hidden": whole(1),
            "max_symbols_per_token": whole(1),
            "rates": list_of(whole(1)),
            "snr_db": list_of(SNR_DB, 2),
            "encoder": TEXT._replace(optional=True),
        }
    ),
    "codec_training": Fields(
        {
            "epochs": whole(1),
            "batch_size": whole(1),
            "learning_rate": real(0, above=True),
            "token_loss": real(0),
            "size_loss": real(0),
            "channels": list_of(TEXT)._replace(optional=True),
        }
    ),
    "search": Fields(
        {
            "evaluations": whole(1),
            "images": whole(1),
            "max_loss": real(0, above=True),
            "channels": list_of(TEXT),
            "front_snrs_db": list_of(SNR_DB),
        }
    ),
}
RECIPE = Fields(
    {
        "name": NAME,
        "task": one_of("classify")._replace(optional=True),
        "data": TEXT,
        "model": Fields(
            {
                "timm": TEXT._replace(optional=True),
                "kwargs": OBJECT._replace(optional=True),
                "stem": list_of(list_of(whole(0), 2))._replace(optional=True),
                "tower": one_of("timm")._replace(optional=True),
            },
            optional=True,
        ),
        # Before it, layers merge: what policies choose are their thresholds.
        "split_layer": whole(1),
        "preprocessing": PREPROCESSING._replace(optional=True),
        **STAGES,
        "backbone_training": Fields(
            {
                "epochs_dropped": whole(0),
                "epochs_whole": whole(1),
                "patch_drop_rate": BELOW_ONE,
                "batch_size": whole(1),
                "learning_rate": real(0, above=True),
                "weight_decay": real(0),
                "label_smoothing": SHARE,
            },
            optional=True,
        ),
        "backbone": TEXT._replace(optional=True),
        "export": one_of(True, False)._replace(optional=True),
    }
)
VQA_RECIPE = Fields(
    {
        "name": NAME,
        "task": one_of("vqa"),
        "data": TEXT,
        "prompt": TEXT._replace(optional=True),
        "preprocessing": PREPROCESSING._replace(optional=True),
        "llava": Fields({"vision": OBJECT, "text": OBJECT, "feature_layer": Rule("a whole number", _is_whole)}, True),
        **STAGES,
        "llava_training": Fields(
            {
                "steps": whole(1),
                "warm_up": whole(0),
                "learning_rate": real(0, above=True),
                "weight_decay": real(0),
                "patch_loss": real(0),
                "mixture": Fields(
                    {
                        "images": whole(1),
                        "questions": whole(1),
                        "real_share": SHARE,
                        "several_share": SHARE,
                        "several_after": whole(0),
                        "plain_share": SHARE,
                        "subset_share": SHARE,
                    }
                ),
            },
            optional=True,
        ),
        "codec_pictures": Fields({"drawn": whole(0), "questions": whole(1)}),
        "select_pictures": Fields({"scenes": whole(0), "questions": whole(1)}),
    }
)


def required(fields: Fields, names: Sequence[str]) -> Fields:
    """The same fields, some of which may not be left out."""
    return fields._replace(
        rules={name: rule._replace(optional=False) if name in names else rule for name, rule in fields.rules.items()}
    )


# Of a recipe of questions, what trains the model.
LLAVA_RECIPE = required(
    Fields({name: VQA_RECIPE.rules[name] for name in ("name", "preprocessing", "llava", "llava_training")}),
    ("preprocessing", "llava", "llava_training"),
)


def check_fields(content: object, fields: Fields, path: str = "") -> None:
    """Check an object's fields, those of what it holds included.

    Raises:
        InvalidRequestError: one is missing, unknown or no such value; names it, what it should be and what it is.
    """
    if not isinstance(content, dict):
        raise InvalidRequestError(f"{path or 'the recipe'}: expected an object, got {_short(content)}")
    where = f"{path}." if path else ""
    if unknown := [key for key in content if key not in fields.rules]:
        raise InvalidRequestError(f"{where}{unknown[0]}: expected one of {', '.join(fields.rules)}, got another field")
    for name, rule in fields.rules.items():
        if name not in content:
            if not rule.optional:
                words = rule.expected if isinstance(rule, Rule) else "an object"
                raise InvalidRequestError(f"{where}{name}: expected {words}, got none")
        elif isinstance(rule, Fields):
            check_fields(content[name], rule, f"{where}{name}")
        elif not rule.holds(content[name]):
            raise InvalidRequestError(f"{where}{name}: expected {rule.expected}, got {_short(content[name])}")


def check_codec_values(codec: Mapping[str, Any]) -> None:
    """Check what a codec's fields say of each other.

    Raises:
        InvalidRequestError: a rate is above the highest, or the SNRs do not rise.
    """
    top, (low, high) = codec["max_symbols_per_token"], codec["snr_db"]
    if max(codec["rates"]) > top or len(set(codec["rates"])) < len(codec["rates"]):
        raise InvalidRequestError(f"codec.rates: expected different ones up to {top}, got {codec['rates']}")
    if low > high:
        raise InvalidRequestError(f"codec.snr_db: expected the lower first, got {codec['snr_db']}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[\w.-]{1,100}", text) is not None and text.strip(".") != ""
