"""Where a model's weights lie, and in which numbers."""

import re
from typing import Literal

import torch

from thinwire.errors import InvalidRequestError, UnavailableError
from thinwire.records import record

DEVICES = r"cpu|cuda(:\d{1,3})?|auto|balanced|sequential"


@record()
class Placement:
    """How weights lie in memory, and where.

    Attributes:
        dtype: "auto" is the checkpoint's own.
        device: "cpu", "cuda", "cuda:1"; or "auto", "balanced" and "sequential", which spread the model over what
            there is, and need the package accelerate.
        bits: 4 or 8 quantise the weights, and need accelerate and bitsandbytes; None leaves them.

    Raises:
        InvalidRequestError: there is no such dtype, number of bits or name of a device.
    """

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str = "cpu"
    bits: Literal[4, 8] | None = None

    @property
    def main_device(self) -> str:
        """Where what is not spread goes: "cpu", or a device of CUDA."""
        return self.device if self.device == "cpu" or self.device.startswith("cuda") else "cuda"

    def check(self) -> None:
        """Check that the device is there, before anything is read that is to lie on it.

        Raises:
            UnavailableError: it is not.
        """
        if self.main_device == "cpu":
            return
        index = int(self.main_device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise UnavailableError(f"there is no device {self.device!r} for this torch")

    def __post_init__(self) -> None:
        if not re.fullmatch(DEVICES, self.device):
            raise InvalidRequestError(f"device must be cpu, cuda, cuda:1 or auto, got {self.device!r}")


CPU = Placement()
