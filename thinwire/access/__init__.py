"""Who may: tokens and what they permit, TLS, and how much one name may ask for at once."""

from thinwire.access.callers import Caller, caller, named
from thinwire.access.files import Reloaded
from thinwire.access.gate import Gate
from thinwire.access.limits import Limits
from thinwire.access.security import Security
from thinwire.access.tls import ClientTls, ServerTls
from thinwire.access.tokens import CONTROL, INFER, METRICS, TokenFile

__all__ = [
    "CONTROL",
    "INFER",
    "METRICS",
    "Caller",
    "ClientTls",
    "Gate",
    "Limits",
    "Reloaded",
    "Security",
    "ServerTls",
    "TokenFile",
    "caller",
    "named",
]
