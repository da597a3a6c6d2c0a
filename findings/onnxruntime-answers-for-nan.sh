#!/usr/bin/env bash
# ONNX Runtime 1.31.1 (CPU, x86-64): input that is missing or no number comes out of common graphs as ordinary numbers.
#
# Seen:
#   a mean of no rows (ReduceMean, a dynamic length of 0) is 0, where numpy has NaN. After a linear layer, that is its
#       bias: an image of which no token arrived gets the class that the bias likes best.
#   a head made int8 by `quantize_dynamic` gives finite scores for a row with one NaN, unless it is the last
#       value. In float32 all of them are NaN.
#   TopK of 2 of [1, NaN, 3, 2] gives 1 and NaN: the best is lost. numpy sorts NaN to one end.
#
# One would guess: NaN in, NaN out, so that one check of the scores finds every broken input. (ONNX leaves the mean of
# nothing undefined, and its TopK does not speak of NaN.)
#
# Hurt: who checks a model's output rather than its input, and whose counts depend on the data: merged or lost tokens.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6 \
  flatbuffers==25.12.19 ml_dtypes==0.5.4 packaging==26.3 protobuf==7.36.2 typing_extensions==4.16.0
cd "$folder"
ORT_DISABLE_TELEMETRY=1 venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array
from onnxruntime.quantization import QuantType, quantize_dynamic


def save(path, nodes, inputs, outputs, constants):
    def values(shapes):
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in shapes.items()]

    constants = [from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", values(inputs), values(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run(path, x):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def says(what, seen):
    print(f"{what}: {'as found' if seen else 'CHANGED'}")
    assert seen, what


print("ONNX Runtime", onnxruntime.__version__)
single, whole = TensorProto.FLOAT, TensorProto.INT64
generator = np.random.default_rng(0)
weight = generator.normal(size=(16, 5)).astype("f4")
bias = generator.normal(size=5).astype("f4")
linear = [helper.make_node("MatMul", ["x", "weight"], ["s"]), helper.make_node("Add", ["s", "bias"], ["y"])]

pool = helper.make_node("ReduceMean", ["x", "axis"], ["pooled"], keepdims=0)
head = [helper.make_node("MatMul", ["pooled", "weight"], ["s"]), linear[1]]
constants = {"axis": np.array([1]), "weight": weight, "bias": bias}
save("pool.onnx", [pool, *head], {"x": (single, [1, "tokens", 16])}, {"y": (single, [1, 5])}, constants)
(scores,) = run("pool.onnx", np.zeros((1, 0, 16), "f4"))
print("no tokens:", scores[0], "bias:", bias)
says("the mean of no tokens is answered with the bias", np.array_equal(scores[0], bias))

save("head.onnx", linear, {"x": (single, ["rows", 16])}, {"y": (single, ["rows", 5])}, {"weight": weight, "bias": bias})
quantize_dynamic("head.onnx", "head-int8.onnx", weight_type=QuantType.QInt8)
good = generator.normal(size=(1, 16)).astype("f4")
broken = good.copy()
broken[0, 3] = np.nan
print("float32, one NaN:", run("head.onnx", broken)[0][0])
print("int8, as it was:", run("head-int8.onnx", good)[0][0])
print("int8, one NaN:", run("head-int8.onnx", broken)[0][0])
says("float32 is NaN", np.isnan(run("head.onnx", broken)[0]).all())
says("int8 is finite", np.isfinite(run("head-int8.onnx", broken)[0]).all())
broken = good.copy()
broken[0, -1] = np.nan
says("int8 is not where the last value is NaN", np.isnan(run("head-int8.onnx", broken)[0]).any())

best = helper.make_node("TopK", ["x", "k"], ["values", "places"])
save("best.onnx", [best], {"x": (single, [4])}, {"values": (single, [2]), "places": (whole, [2])}, {"k": np.array([2])})
values, places = run("best.onnx", np.array([1, np.nan, 3, 2], "f4"))
print("the best two of [1, NaN, 3, 2]:", values, "at", places)
says("TopK loses the best beside NaN", 3 not in values)
PYTHON
