"""Encoders by name: our own, then those of installed packages."""

from importlib.metadata import entry_points

import torch
from torch import Tensor, nn

from thinwire.bundle import MLP, Codec
from thinwire.errors import BundleError
from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import Block
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.snr_gate import SnrGate

GROUP = "thinwire.encoders"
HEADS = 4


class MlpEncoder(JsccEncoder):
    """Two linear layers per token, with a gate by SNR and rate between them: the encoder of the shipped pairs.

    Args:
        width: D of the tokens.
        hidden: width between the layers.
        max_symbols_per_token: complex symbols at the highest rate.
    """

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int) -> None:
        super().__init__(width, hidden, max_symbols_per_token)
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 1, hidden)
        self.gate = SnrGate(hidden, max_symbols_per_token)
        self.second = nn.Linear(hidden, 2 * max_symbols_per_token)

    def symbols(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """See `JsccEncoder`."""
        features = torch.cat((self.norm(x), sizes.log2()[..., None]), dim=-1)
        hidden = nn.functional.gelu(self.gate(self.first(features), snr_db, symbols_per_token))
        symbols: Tensor = self.second(hidden)
        return symbols


class LevelEncoder(MlpEncoder):
    """`MlpEncoder` with as much power for a small token as for a large one.

    For speech, where a few tokens of silence would otherwise take most of a frame's power and say nothing.
    """

    def symbols(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """See `JsccEncoder`."""
        return super().symbols(x, sizes, valid, snr_db, symbols_per_token) / sizes.sqrt()[..., None]


class AttentionEncoder(JsccEncoder):
    """The layers of `MlpEncoder` with a transformer block between them, and a gate by SNR and rate after each.

    A token that is sent beside others like it can leave to them what they say already. Like SwinJSCC's encoder (Yang
    et al., 2023, "SwinJSCC: Taming Swin transformer for deep joint source-channel coding") it has attention between
    tokens and features that are scaled by SNR and by rate layer after layer. Unlike there, the two act through one
    gate, a rate sends the first symbols rather than those of a mask that has to be sent too, and attention spans the
    frame, whose merged tokens have no grid for windows.

    Args:
        width: D of the tokens.
        hidden: width between the layers, a multiple of the four heads.
        max_symbols_per_token: complex symbols at the highest rate.
    """

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int) -> None:
        super().__init__(width, hidden, max_symbols_per_token)
        if hidden % HEADS:
            raise ValueError(f"expected a hidden width that is a multiple of {HEADS} heads, got {hidden}")
        self.attention_width = hidden
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 1, hidden)
        self.first_gate = SnrGate(hidden, max_symbols_per_token)
        self.block = Block(hidden, num_heads=HEADS, mlp_ratio=2.0, qkv_bias=True, init_values=0.1)
        self.block_norm = nn.LayerNorm(hidden)
        self.block_gate = SnrGate(hidden, max_symbols_per_token)
        self.second = nn.Linear(hidden, 2 * max_symbols_per_token)

    def symbols(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """See `JsccEncoder`."""
        features = torch.cat((self.norm(x), sizes.log2()[..., None]), dim=-1)
        hidden = nn.functional.gelu(self.first_gate(self.first(features), snr_db, symbols_per_token))
        # A padded key gets no attention: a frame is encoded as it would be alone.
        hidden = run_block(self.block, hidden, key_bias(valid, None, hidden.dtype))
        symbols: Tensor = self.second(self.block_gate(self.block_norm(hidden), snr_db, symbols_per_token))
        return symbols


OWN: dict[str, type[JsccEncoder]] = {MLP: MlpEncoder, "level": LevelEncoder, "attention": AttentionEncoder}


def build_encoder(codec: Codec, width: int) -> JsccEncoder:
    """The encoder of a codec, for tokens of a width, with random weights.

    Raises:
        BundleError: none of its name is installed, what is cannot be imported, or it is none.
    """
    kind = OWN.get(codec.encoder) or _load(codec.encoder)
    return kind(width, codec.hidden, codec.max_symbols_per_token)


def _load(name: str) -> type[JsccEncoder]:
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise BundleError(f"no encoder {name!r} is installed; there are {', '.join(sorted(OWN | installed))}")
    try:
        found = installed[name].load()
    except Exception as error:
        raise BundleError(f"the encoder {name!r} ({installed[name].value}) cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, JsccEncoder)):
        raise BundleError(f"expected a class of JsccEncoder as encoder {name!r}, got {found!r}")
    return found
