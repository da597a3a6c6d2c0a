"""What a manifest is made of: how layers merge, the JSCC pair, the unmerged reference, what answers or writes down."""

from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import Field

from thinwire.errors import BundleError
from thinwire.records import Count, NotNegative, Number, Score, Text, Whole, record

# The encoder of a codec that names none.
MLP = "mlp"


Metric = Literal["value", "value_head", "key", "key_mean"]
Weight = Literal["norm", "size"]


@record("merging", BundleError)
class Merging:
    """How layers merge; every engine obeys it.

    Attributes:
        metric: what similarity is measured on: "value" (all heads concatenated), "value_head" (of the first head
            alone), "key" (all heads concatenated, less their mean; see `is_centred`), or "key_mean" (mean over heads,
            as ToMe has it).
        weight: weights of the average within a group: "norm" (of the hidden states) or "size".
        proportional_attention: whether attention logits get the logarithm of the key token's size.
        place: "attention" merges between attention and MLP, "layer" after the layer.
        neighbours: for tokens in a row: a token merges only with the one before or after it, in so many rounds a layer
            at most; 0 matches every source with every destination, once.
        front: whether tokens merge in front of the first layer, too, by the cosine of what enters it, of speech without
            the positions; a policy then has one threshold more, as its first.
        front_rounds: of that merge, for tokens in a row; 0 stands for as many as ``neighbours``. The silence behind a
            clip has equal tokens, of which each round leaves half.
    """

    metric: Metric = "value"
    weight: Weight = "norm"
    proportional_attention: bool = False
    place: Literal["attention", "layer"] = "attention"
    neighbours: Whole = 0
    front: bool = False
    front_rounds: Whole = 0

    @property
    def in_front(self) -> "Merging":
        """How tokens merge in front of the first layer."""
        return replace(self, neighbours=self.front_rounds or self.neighbours)

    @property
    def is_centred(self) -> bool:
        """Whether the image's mean over its patch tokens, each counted once, is taken off before the cosine.

        A vector added to all keys changes no attention, since it adds the same to all logits of a query, but every
        cosine: how alike raw keys look is chance, and another in each layer.
        """
        return self.metric == "key"


@record("codec", BundleError)
class Codec:
    """The JSCC pair.

    Attributes:
        hidden: width of the hidden layers of encoder and decoder.
        max_symbols_per_token: complex symbols per token at the highest rate; any lower rate masks channels.
        rates: symbols per token that policies use.
        snr_db: lowest and highest SNR that the pair was trained for.
        encoder: architecture of the encoder, by its name in `thinwire.nn.codec.encoders`.
    """

    hidden: Count
    max_symbols_per_token: Count
    rates: Annotated[tuple[Count, ...], Field(min_length=1)]
    snr_db: tuple[Number, Number]
    encoder: Text = MLP

    def __post_init__(self) -> None:
        if max(self.rates) > self.max_symbols_per_token:
            highest = self.max_symbols_per_token
            raise BundleError(f"codec.rates must be at most max_symbols_per_token ({highest}), got {list(self.rates)}")


@record("reference", BundleError)
class Reference:
    """The unmerged model at its smallest rate within 0.5 points of its best, on *select*, AWGN, ``snr_db``."""

    symbols_per_token: Count
    channel_uses: Count
    accuracy: Score
    accuracy_se: NotNegative
    n: Count
    snr_db: Number


@record("language", BundleError)
class Language:
    """The model that answers questions about the tokens: a ``LlavaForConditionalGeneration``, as transformers saves it.

    Attributes:
        checkpoint: a folder inside the bundle, an absolute one, or the id of a repository on the hub.
        revision: of the repository; None for its main branch.
        prompt: what the model is asked, with ``<image>`` once and, after it, ``{question}`` once.
    """

    checkpoint: Text
    revision: str | None
    prompt: str

    def __post_init__(self) -> None:
        _check_checkpoint("language", self.checkpoint)
        _, _, after = self.prompt.partition("<image>")
        if self.prompt.count("<image>") != 1 or self.prompt.count("{question}") != 1 or "{question}" not in after:
            raise BundleError(
                f"language.prompt must hold <image> once and, after it, {{question}} once, got {self.prompt!r}"
            )


@record("speech", BundleError)
class Speech:
    """The model that writes down the tokens: a ``WhisperForConditionalGeneration``, as transformers saves it.

    The codec's tokens are those behind the final norm of its encoder.

    Attributes:
        checkpoint: as of `Language`.
        revision: as of `Language`.
        sizes_in_logits: whether a token that stands for several positions is attended to as that many would be, by the
            decoder's estimate of its size.
    """

    checkpoint: Text
    revision: str | None
    sizes_in_logits: bool = False

    def __post_init__(self) -> None:
        _check_checkpoint("speech", self.checkpoint)


def _check_checkpoint(name: str, checkpoint: str) -> None:
    parts = (*PurePosixPath(checkpoint).parts, *PureWindowsPath(checkpoint).parts)
    if not checkpoint.isprintable() or ".." in parts:
        raise BundleError(f"{name}.checkpoint must name a folder or a repository, got {checkpoint!r}")
