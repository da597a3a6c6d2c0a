"""Calling torch's exporter."""

import logging

import torch
from torch import nn

from offline.onnx_export.export import export


class Shifted(nn.Module):
    """With a shape that is known, which the library's optimiser looks at and then leaves as it is."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(64, 64))

    def forward(self, x):
        return x + (self.shift + 1).reshape(x.shape[-1], 64)


def test_the_optimisers_lines_about_nodes_stay_out_of_a_builds_log(caplog):
    caplog.set_level(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    export(Shifted(), {"x": torch.zeros(64, 64)})
    assert not [one for one in caplog.records if one.levelno == logging.INFO]
    assert [logger.level for logger in loggers] == before
