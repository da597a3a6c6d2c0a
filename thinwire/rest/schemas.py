"""Bodies of requests and responses, the same at the edge and in the cloud."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from thinwire import spec
from thinwire.generation import DEFAULT_NEW_TOKENS, MAX_NEW_TOKENS, MAX_QUESTION_CHARACTERS, MAX_TEMPERATURE, Generation
from thinwire.rest.explanation import Explain

# The longest name of a bundle that a request takes.
MAX_MODEL = 128
# The longest text that names a channel model or a CSI.
MAX_SPEC = spec.MAX_LENGTH
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _as_integer(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# To JSON Schema, and so to the OpenAPI document, 38.0 is one; some languages write no other.
Integer = Annotated[int, BeforeValidator(_as_integer)]


class Strict(BaseModel):
    """A part of a request: it takes what it names, of the types that it names, and nothing else."""

    # A misspelt parameter must not be ignored: the caller would believe that it took effect. And strict, or true would
    # count as 1 and "10" as 10, which the OpenAPI document does not say.
    model_config = ConfigDict(extra="forbid", strict=True)


class BudgetBody(Strict):
    """Limits on one request: channel uses, or a bandwidth for a time; compute and accuracy beside them.

    A time alone counts at the link's symbol rate, as it was fed back last.
    """

    channel_uses: Annotated[Integer, Field(gt=0)] | None = None
    bandwidth_hz: Positive | None = None
    airtime_ms: Positive | None = None
    edge_gmacs: Positive | None = None
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None


class ChannelBody(Strict):
    """The simulated channel asked for; what is left out is the link's own.

    ``model`` is a channel model, as "awgn" or "rician:k_db=3,coherence=16"; ``csi`` is what the receiver knows of it:
    "perfect", "none", or "pilots:count=4,every=16".
    """

    model: Annotated[str, Field(max_length=MAX_SPEC)] = ""
    snr_db: Annotated[float, Field(ge=-30, le=60)] | None = None
    seed: Annotated[Integer, Field(ge=0, lt=2**64)] | None = None
    csi: Annotated[str, Field(max_length=MAX_SPEC)] = ""


def _unless_empty(channel: ChannelBody | None) -> ChannelBody | None:
    return None if channel == ChannelBody() else channel


class _Timed(Strict):
    timeout_ms: Annotated[float, Field(gt=0, le=600_000)] = 30_000


class LinkParameters(_Timed):
    """Which model answers, and how an image crosses the link.

    ``model`` is the name of a bundle of `/v1/models`; by default the first of the request's task answers.
    ``policy`` is "auto" (chosen by the budget), an id of `/v1/policies`, or "none" (nothing merged, reference rate).
    ``explain`` asks which patches became which token, and for the symbols.
    """

    model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    policy: Annotated[str, Field(max_length=128)] = "auto"
    budget: BudgetBody = BudgetBody()
    channel: Annotated[ChannelBody | None, AfterValidator(_unless_empty)] = None
    explain: bool = False


class Parameters(LinkParameters):
    """How to answer.

    ``model`` is the name of a bundle of `/v1/models`; by default the first of the request's task answers.
    ``policy`` is "auto" (chosen by the budget), an id of `/v1/policies`, or "none" (nothing merged, reference rate).
    ``explain`` asks which patches became which token, and for the symbols.
    """

    top_k: Annotated[Integer, Field(ge=1, le=1000)] = 5


Image = Annotated[
    str,
    Field(
        description="The encoded image (JPEG, PNG, WebP, ...) in base64, bare or in a data: URL",
        json_schema_extra={"format": "byte"},
    ),
]
Question = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS)]


class ClassifyBody(Strict):
    """A request to classify one image."""

    inputs: Image
    parameters: Parameters = Parameters()


class GenerationParameters(_Timed):
    """How to generate an answer: the likeliest tokens at the temperature 0, drawn ones above it."""

    max_new_tokens: Annotated[Integer, Field(ge=1, le=MAX_NEW_TOKENS)] = DEFAULT_NEW_TOKENS
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[Integer, Field(ge=0, lt=2**64)] | None = None

    @property
    def generation(self) -> Generation:
        """The same as the rest of the house takes it."""
        return Generation(self.max_new_tokens, self.temperature, self.top_p, self.seed)


class VqaParameters(GenerationParameters, LinkParameters):
    """Which model answers, how an image crosses the link, and how to generate an answer.

    ``model`` is the name of a bundle of `/v1/models`; by default the first of the request's task answers.
    ``policy`` is "auto" (chosen by the budget), an id of `/v1/policies`, or "none" (nothing merged, reference rate).
    ``explain`` asks which patches became which token, and for the symbols.
    """


class VqaInputs(Strict):
    """An image and a question about it."""

    image: Image
    question: Question


class VqaBody(Strict):
    """A request to answer a question about an image."""

    inputs: VqaInputs
    parameters: VqaParameters = VqaParameters()


class QuestionInputs(Strict):
    """A question about an image that is already there."""

    question: Question


class QuestionsBody(Strict):
    """A question about a frame that the cloud holds; ``stream`` asks for the answer as server-sent events."""

    inputs: QuestionInputs
    parameters: GenerationParameters = GenerationParameters()
    stream: bool = False


class LabelBody(BaseModel):
    """One label with its softmax score."""

    label: str
    score: float


class FrontBody(BaseModel):
    """The channel that a front of policies was found for."""

    model: str
    snr_db: float


class ChosenPolicyBody(BaseModel):
    """The policy that served; ``capped`` says that tokens were merged further to fit the budget.

    ``front`` is the one that the policy was taken from, and null for "none".
    """

    id: str
    digest: str
    capped: bool
    front: FrontBody | None


class LinkBody(BaseModel):
    """What the frame cost on the channel, as the proxy counted it.

    Uses and airtime are those of one transmission. ``transmissions`` says how often the proxy met the frame: more than
    once if it was lost on the air, or repeated under its id.
    """

    tokens: int
    channel_uses: int
    payload_uses: int
    pilot_uses: int
    side_information_uses: int
    cbr: float
    snr_db: float | None
    airtime_ms: float
    transmissions: int


class CostBody(BaseModel):
    """What the device computed, in 10^9 multiply-accumulates."""

    edge_gmacs: float


class TimingsBody(BaseModel):
    """Where the time went, in milliseconds; a stage that did not take part is null."""

    edge: float | None
    channel: float | None
    cloud: float | None
    total: float


class ClassifyResponse(BaseModel):
    """The answer. At the cloud, where no link took part, ``policy``, ``link`` and ``cost`` are null."""

    id: str
    outputs: list[LabelBody]
    policy: ChosenPolicyBody | None
    link: LinkBody | None
    cost: CostBody | None
    timings_ms: TimingsBody
    explain: Explain = None

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.outputs[0].label

    @property
    def score(self) -> float:
        """Its softmax score."""
        return self.outputs[0].score


class AnswerBody(BaseModel):
    """One answer; its score is the geometric mean of its tokens' probabilities, that of its end included."""

    answer: str
    score: float


class VqaResponse(BaseModel):
    """The answer. At the cloud, where no link took part, ``policy``, ``link`` and ``cost`` are null."""

    id: str
    outputs: list[AnswerBody]
    policy: ChosenPolicyBody | None
    link: LinkBody | None
    cost: CostBody | None
    timings_ms: TimingsBody
    explain: Explain = None

    @property
    def answer(self) -> str:
        """The answer itself."""
        return self.outputs[0].answer

    @property
    def score(self) -> float:
        """Its score."""
        return self.outputs[0].score


class ModelBody(BaseModel):
    """A bundle that this process serves; ``input_size`` is null where it takes no images."""

    name: str
    digest: str
    task: str
    labels: list[str]
    input_size: int | None
    split_layer: int
    depth: int
    patches: int
    rates: list[int]


class ModelsBody(BaseModel):
    """The bundles that a process serves."""

    models: list[ModelBody]


class HealthResponse(BaseModel):
    """Whether the process lives, or is ready to serve."""

    status: Literal["ok", "unavailable"]


class ProblemBody(BaseModel):
    """An error by RFC 9457, with the extra member ``error``: the code to test for."""

    type: str
    title: str
    status: int
    detail: str
    error: str
