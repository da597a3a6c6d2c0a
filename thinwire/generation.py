"""How an answer is to be generated, as REST and the link both say it."""

from typing import Annotated

from pydantic import Field

from thinwire.errors import InvalidRequestError
from thinwire.records import Count, NotNegative, Positive, Whole, record
from thinwire.v1 import link_pb2

MAX_QUESTION_CHARACTERS = 2_000
DEFAULT_NEW_TOKENS = 16
MAX_NEW_TOKENS = 256
MAX_TEMPERATURE = 2.0


@record()
class Generation:
    """How to generate one answer.

    Attributes:
        max_new_tokens: most tokens of the answer, its end included.
        temperature: 0 takes the likeliest token each time; above it, tokens are drawn.
        top_p: they are drawn from the fewest tokens that together have this probability.
        seed: of what is drawn; None is a random one.

    Raises:
        InvalidRequestError: one is out of range.
    """

    max_new_tokens: Annotated[Count, Field(le=MAX_NEW_TOKENS)] = DEFAULT_NEW_TOKENS
    temperature: Annotated[NotNegative, Field(le=MAX_TEMPERATURE)] = 0.0
    top_p: Annotated[Positive, Field(le=1)] = 1.0
    seed: Annotated[Whole, Field(lt=2**64)] | None = None

    def to_message(self) -> link_pb2.Generation:
        """As a frame carries it."""
        return link_pb2.Generation(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p, seed=self.seed
        )

    @classmethod
    def from_message(cls, message: link_pb2.Generation) -> "Generation":
        """What a frame asks for.

        Raises:
            InvalidRequestError: a number is out of range.
        """
        return cls(
            message.max_new_tokens or DEFAULT_NEW_TOKENS,
            message.temperature,
            message.top_p if message.HasField("top_p") else 1.0,
            message.seed if message.HasField("seed") else None,
        )


def check_question(question: str) -> None:
    """Check the length of a question.

    Raises:
        InvalidRequestError: it has more than `MAX_QUESTION_CHARACTERS`.
    """
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidRequestError(
            f"a question may have up to {MAX_QUESTION_CHARACTERS} characters, got {len(question)}"
        )
