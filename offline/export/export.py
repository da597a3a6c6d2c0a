"""``torch.onnx.export`` as all of ours call it."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxscript import opset20 as op
from torch import nn

# What torch writes; nothing that is used changed between this and `OPSET`.
EXPORTED_OPSET = 20
# The first with RMSNormalization.
OPSET = 23


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    # torch's own translation transposes the keys by way of shapes, which ONNX Runtime cannot see through where the
    # number of tokens is not known. Its attention operators are no faster than these.
    if dropout_p or is_causal or enable_gqa:
        raise ValueError("expected plain attention, without dropout, causal mask or grouped queries")
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    scores = op.MatMul(op.Mul(query, op.Constant(value_float=factor)), op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    # As a product and a sum: the exporter would fold the operator of its own into the convolution before it, whose
    # weights would then be no longer those of the bundle's file. ONNX Runtime folds these when it loads the graph.
    weight = op.Constant(value_float=1.0) if weight is None else weight
    bias = op.Constant(value_float=0.0) if bias is None else bias
    factor = op.Div(weight, op.Sqrt(op.Add(running_var, op.Constant(value_float=eps))))
    shift = op.Sub(bias, op.Mul(running_mean, factor))
    shape: Any = op.Constant(value_ints=[-1, *(1 for _ in x.shape[2:])])
    y = op.Add(op.Mul(x, op.Reshape(factor, shape)), op.Reshape(shift, shape))
    return y, factor, shift


def export(module: nn.Module, arguments: Mapping[str, Any], dynamic: dict[str, Any] | None = None) -> onnx.ModelProto:
    """A module in evaluation mode; where it is of one image, its linear layers are one node each.

    Args:
        module: what to export.
        arguments: example inputs by name.
        dynamic: as ``dynamic_shapes`` of ``torch.onnx.export``.
    """
    with warnings.catch_warnings(), torch.inference_mode(), _quiet("onnxscript", "onnx_ir"):
        # The exporter's own, about torch's and Python's internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (),
            kwargs=dict(arguments),
            dynamic_shapes=dynamic,
            dynamo=True,
            opset_version=EXPORTED_OPSET,
            custom_translation_table={
                torch.ops.aten.scaled_dot_product_attention.default: _attention,
                torch.ops.aten._native_batch_norm_legit_no_training.default: _batch_norm,
            },
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    # Where in torch each came from: three quarters of a graph without weights, with this machine's paths.
    for part in (model.graph, *model.graph.node):
        part.ClearField("metadata_props")
    join_linear(model.graph)
    return model


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without the lines of libraries on each node that they change or leave as it is; their warnings stay."""
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in before:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def join_linear(graph: onnx.GraphProto) -> None:
    """Make one Gemm of a product with a matrix and the bias that is added: ONNX Runtime does so only where it knows how
    many tokens there are."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    # Of one image alone: its first dimension can be left out and put back.
    single = {
        value.name
        for value in graph.value_info
        if len(value.type.tensor_type.shape.dim) == 3 and value.type.tensor_type.shape.dim[0].dim_value == 1
    }
    weights = {tensor.name: tensor for tensor in graph.initializer}
    axis = numpy_helper.from_array(np.array([0], dtype=np.int64), "join_linear_axis")
    replaced: dict[str, list[onnx.NodeProto]] = {}
    gone = set()
    for node in graph.node:
        if node.op_type != "MatMul" or len(shapes.get(node.input[1], ())) != 2 or node.input[0] not in single:
            continue
        following = users.get(node.output[0], [])
        if len(following) != 1 or following[0].op_type != "Add":
            continue
        add = following[0]
        bias = next(name for name in add.input if name != node.output[0])
        if shapes.get(bias) != shapes[node.input[1]][1:]:
            continue
        flat, product = f"{node.output[0]}_flat", f"{node.output[0]}_joined"
        # As torch has it, and so a bundle's file: what is stored once needs no turned copy.
        turned = len(users[node.input[1]]) == 1
        if turned:
            weight = weights[node.input[1]]
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).T.copy(), weight.name))
        replaced[add.output[0]] = [
            helper.make_node("Squeeze", [node.input[0], axis.name], [flat]),
            helper.make_node("Gemm", [flat, node.input[1], bias], [product], transB=int(turned)),
            helper.make_node("Unsqueeze", [product, axis.name], list(add.output)),
        ]
        gone.add(node.output[0])
    nodes = []
    for node in graph.node:
        if node.output[0] not in gone:
            nodes.extend(replaced.get(node.output[0], [node]))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(axis)
