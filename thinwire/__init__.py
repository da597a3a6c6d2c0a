"""Thinwire: large transformers across an edge device and the cloud over a thin, noisy radio link.

What people script with: `Client` and `AsyncClient` ask a running edge; `load_bundle`, `merge`, `Codec` and `simulate`
are a bundle, the merging of tokens, the joint source-channel code and the channel, each on its own. Errors are
`ThinwireError` and the classes of `thinwire.errors`. Each is imported when it is first named.
"""

import importlib
import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinwire import errors as errors
    from thinwire.bundle import load_bundle as load_bundle
    from thinwire.client import AsyncClient as AsyncClient
    from thinwire.client import Client as Client
    from thinwire.errors import ThinwireError as ThinwireError
    from thinwire.nn.codec.pair import Codec as Codec
    from thinwire.nn.merging.merge import merge as merge
    from thinwire.simulation import simulate as simulate

    __version__: str

# ONNX Runtime 1.31.1 reports on its user unless told otherwise; the client of the Hugging Face hub says who asks in all
# its requests. Both look once, when they are loaded, and only this package and our commands load them, after this line.
# A value that the user has set stands.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    if not os.environ.get(_name):
        os.environ[_name] = "1"

_HOMES = {
    "AsyncClient": "thinwire.client",
    "Client": "thinwire.client",
    "Codec": "thinwire.nn.codec.pair",
    "ThinwireError": "thinwire.errors",
    "load_bundle": "thinwire.bundle",
    "merge": "thinwire.nn.merging.merge",
    "simulate": "thinwire.simulation",
}
# Without torch, what needs it is not offered.
_NEED_TORCH = () if find_spec("torch") else ("Codec", "merge")

__all__ = [name for name in _HOMES if name not in _NEED_TORCH]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("thinwire.errors")
    if name == "__version__":
        try:
            return version("thinwire")
        except PackageNotFoundError:
            raise AttributeError("thinwire runs from a checkout that is not installed: it has no version") from None
    if name in _NEED_TORCH:
        raise AttributeError(f"thinwire.{name} needs torch: install the extra, as in pip install 'thinwire[torch]'")
    if name not in _HOMES:
        raise AttributeError(f"module 'thinwire' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "errors"])
