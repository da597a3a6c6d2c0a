"""Calling torch's exporter."""

import logging

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from offline.export.export import export
from thinwire.onnx_session import open_session
from thinwire.onnx_weights import Model


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


@pytest.mark.parametrize("affine", [True, False])
def test_normalised_batches_leave_the_convolution_as_it_is_stored(affine):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=affine), nn.Flatten(), nn.BatchNorm1d(20)
    ).eval()
    for name, buffer in module.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 2)
    x = torch.randn(2, 3, 4, 4)
    model = export(module, {"input": x})
    stored = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert any(np.array_equal(value, module[0].weight.detach().numpy()) for value in stored)
    (found,) = open_session(Model(model.SerializeToString()), 1).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-5)


def test_a_linear_layer_of_one_image_is_one_node_with_the_weight_as_it_is_stored():
    module = nn.Sequential(nn.ReLU(), nn.Linear(4, 6), nn.Linear(6, 3))
    x = torch.randn(1, 5, 4)
    model = export(module, {"input": x})
    assert [tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 2] == [(6, 4), (3, 6)]
    (found,) = open_session(Model(model.SerializeToString()), 1).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-5)
