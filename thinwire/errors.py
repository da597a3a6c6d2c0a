"""Every error that Thinwire raises on purpose, with the statuses that it has over HTTP and gRPC.

The classes name causes, not places. ``code`` is the word a client can test; the HTTP status and the name of the gRPC
status stand beside it, so that one table serves REST, gRPC and the command line.
"""

from collections.abc import Mapping
from types import MappingProxyType


class ThinwireError(Exception):
    """Base class. An instance's text is meant for the user who caused it."""

    code = "internal"
    http_status = 500
    grpc_status = "INTERNAL"
    title = "Internal error"
    # The field of the request that it is about, where one is known.
    param: str | None = None
    # Seconds after which the same request may fare better; None: it will not by itself.
    retry_after_s: float | None = None
    # What a response over HTTP says beside the status.
    http_headers: Mapping[str, str] = MappingProxyType({})

    @property
    def detail(self) -> str:
        """The text, as problem+json calls it."""
        return str(self)


class InvalidRequestError(ThinwireError):
    """A field is missing, of the wrong type, out of range or contradicts another."""

    code = "invalid_request"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"
    title = "Invalid request"

    def __init__(self, text: str = "", param: str | None = None) -> None:
        super().__init__(text)
        self.param = param


class InvalidImageError(ThinwireError):
    """The bytes are no image that we read, or one that is too large to decode safely."""

    code = "invalid_image"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"
    title = "Unreadable image"


class PayloadTooLargeError(ThinwireError):
    """The body or the image exceeds the limit on its size."""

    code = "payload_too_large"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"
    title = "Payload too large"


class UnsupportedEncodingError(ThinwireError):
    """The body is compressed in a way that we do not inflate."""

    code = "unsupported_encoding"
    http_status = 415
    grpc_status = "UNIMPLEMENTED"
    title = "Unsupported content encoding"
    # RFC 7694.
    http_headers = MappingProxyType({"Accept-Encoding": "gzip, deflate"})


class InvalidFrameError(ThinwireError):
    """A frame's symbols disagree with its shape, are not finite, or exceed the power limit."""

    code = "invalid_frame"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"
    title = "Invalid frame"


class IdTakenError(ThinwireError):
    """A request or frame of other content came under this id a short while ago."""

    code = "id_taken"
    http_status = 409
    grpc_status = "ALREADY_EXISTS"
    title = "Id taken"


class UnauthenticatedError(ThinwireError):
    """A token is needed, and there is none, or one that is not known."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"
    title = "Token needed"

    def __init__(self, text: str = "", is_wrong: bool = False) -> None:
        super().__init__(text)
        # RFC 6750, 3.
        told = ', error="invalid_token"' if is_wrong else ""
        self.http_headers = {"WWW-Authenticate": f'Bearer realm="thinwire"{told}'}


class ForbiddenError(ThinwireError):
    """The token is known, and does not permit this."""

    code = "forbidden"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"
    title = "Not permitted"

    def __init__(self, text: str = "", scope: str = "") -> None:
        super().__init__(text)
        told = f', scope="{scope}"' if scope else ""
        self.http_headers = {"WWW-Authenticate": f'Bearer realm="thinwire", error="insufficient_scope"{told}'}


class UnknownLinkError(ThinwireError):
    """The link is another's: what one token's name sends over, no other name may use or see."""

    code = "unknown_link"
    http_status = 404
    grpc_status = "NOT_FOUND"
    title = "Unknown link"


class UnknownPolicyError(ThinwireError):
    """No policy of that id is in the front."""

    code = "unknown_policy"
    http_status = 404
    grpc_status = "NOT_FOUND"
    title = "Unknown policy"


class UnknownTaskError(ThinwireError):
    """The bundle does not answer that task."""

    code = "unknown_task"
    http_status = 404
    grpc_status = "NOT_FOUND"
    title = "Unknown task"


class UnknownModelError(ThinwireError):
    """No bundle of that name is served. The code is OpenAI's, whose clients test for it."""

    code = "model_not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"
    title = "Unknown model"
    param = "model"


class UnknownFrameError(ThinwireError):
    """No tokens of that frame are held: it never came, or has expired, or gave way to others."""

    code = "unknown_frame"
    http_status = 404
    grpc_status = "NOT_FOUND"
    title = "Unknown frame"


class BudgetError(ThinwireError):
    """No policy meets the budget, or it is under the cost of one token."""

    code = "budget_not_met"
    http_status = 422
    grpc_status = "FAILED_PRECONDITION"
    title = "Budget not met"


class OverBudgetError(ThinwireError):
    """With its pilots, a frame costs more channel uses than its sender allows; ``csi`` says what pilots those are."""

    code = "over_budget"
    http_status = 422
    grpc_status = "FAILED_PRECONDITION"
    title = "Over the budget"

    def __init__(self, text: str = "", csi: str = "") -> None:
        super().__init__(text)
        self.csi = csi


class BundleError(ThinwireError):
    """A bundle is missing, incomplete, altered, or of a schema that this version does not read."""

    code = "invalid_bundle"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"
    title = "Invalid bundle"


class BundleMismatchError(ThinwireError):
    """A frame belongs to a bundle that the receiver does not hold."""

    code = "bundle_mismatch"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    title = "Bundle mismatch"


class StoreError(ThinwireError):
    """The policy store cannot be opened, or its schema is newer than this version."""

    code = "store_unavailable"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"
    title = "Policy store unavailable"


class EvaluationError(ThinwireError):
    """A policy could not be measured; what was measured before it is kept."""

    code = "evaluation_failed"
    http_status = 500
    grpc_status = "INTERNAL"
    title = "Evaluation failed"


class EngineError(ThinwireError):
    """An engine cannot compute: its graph fails, or the model makes no finite symbols of an image."""

    code = "engine_failed"
    http_status = 500
    grpc_status = "INTERNAL"
    title = "Engine failed"


class OverloadedError(ThinwireError):
    """More requests wait than the server takes; this one may be sent again after ``retry_after_s`` seconds."""

    code = "overloaded"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    title = "Too many requests"
    retry_after_s = 1.0

    def __init__(self, text: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class UnavailableError(ThinwireError):
    """A peer on the link does not answer; the request may be sent again."""

    code = "unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    title = "Link unavailable"
    retry_after_s: float | None = 1.0


class FrameLostError(ThinwireError):
    """A frame was lost on the air; it may be sent again."""

    code = "frame_lost"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    title = "Frame lost"
    retry_after_s = 1.0


class DeadlineError(ThinwireError):
    """The request's time ran out before the answer came."""

    code = "deadline_exceeded"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"
    title = "Deadline exceeded"


BY_CODE: Mapping[str, type[ThinwireError]] = {
    kind.code: kind for kind in list(vars().values()) if isinstance(kind, type) and issubclass(kind, ThinwireError)
}


def from_code(
    code: str, detail: str, title: str = "", status: int = 500, retry_after_s: float | None = None
) -> ThinwireError:
    """The error that a problem tells; one of a code that this version does not know keeps what it says of itself.

    Args:
        code: the member ``error`` of the problem.
        detail: its text.
        title: for a code that is not known.
        status: over HTTP, likewise.
        retry_after_s: what the response said of another try; None: nothing.
    """
    error = BY_CODE.get(code, ThinwireError)(detail)
    if code not in BY_CODE:
        error.code, error.title, error.http_status = code, title or error.title, status
    if retry_after_s is not None:
        error.retry_after_s = retry_after_s
    return error
