#!/usr/bin/env bash
# torch 2.13.0 with onnxscript 0.7.2 (ONNX Runtime 1.31.1): the default exporter writes a mean by `scatter_reduce` as a
# plain overwrite.
#
# Seen: of several rows that go to one place, torch keeps their mean; the exported graph keeps the last. Its scatter
# nodes have the reduction "none". Nothing is raised, onnx.checker is content, and sum, amax, amin and prod are right.
# (`verify=True` writes the file all the same, with a line about large differences in the log.) The older exporter
# (dynamo=False) refuses the mean by name; the new one refuses index_reduce, which does the same.
#
# One would guess: right, or refused. ONNX has no such reduction, and the exporter that is being replaced says so.
#
# Hurt: who exports a model that pools by group: merged tokens, graph networks, voxels. Shapes are right, values are of
# the right size, and where every group has one member (often the example that export is tried with) so are results.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 onnx==1.23.2 \
  onnx-ir==1.1.0 onnxscript==0.7.2 onnxruntime==1.31.1
cd "$folder"
ORT_DISABLE_TELEMETRY=1 venv/bin/python -W ignore - 3>&1 >log 2>&1 <<'PYTHON' || { cat log >&2; exit 1; }
import contextlib
import sys

import numpy as np
import onnx
import onnxruntime
import torch


class Pool(torch.nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, tokens, group):
        places = group[:, None].expand(-1, tokens.shape[1])
        return torch.zeros(2, tokens.shape[1]).scatter_reduce(0, places, tokens, self.how, include_self=False)


class IndexPool(torch.nn.Module):
    def forward(self, tokens, group):
        return torch.zeros(2, tokens.shape[1]).index_reduce(0, group, tokens, "mean", include_self=False)


def exported(module, tokens, group, dynamo=True):
    with contextlib.redirect_stdout(sys.stderr):
        torch.onnx.export(module, (tokens, group), "pool.onnx", dynamo=dynamo, input_names=["tokens", "group"])
    onnx.checker.check_model("pool.onnx", full_check=True)
    session = onnxruntime.InferenceSession("pool.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"tokens": tokens.numpy(), "group": group.numpy()})[0]


def refuses(*arguments, **options):
    try:
        exported(*arguments, **options)
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).split('. ')[0].splitlines()[0]}")
        return True
    return False


def says(what, seen):
    print(f"{what}: {'as found' if seen else 'CHANGED'}")
    assert seen, what


# The exporters print their progress, and all that they knew when they gave up.
sys.stdout = open(3, "w")
print("torch", torch.__version__)
tokens = torch.tensor([[1.0, 10.0], [3.0, 30.0], [8.0, 80.0]])
group = torch.tensor([0, 0, 1])
right, got = Pool("mean")(tokens, group).numpy(), exported(Pool("mean"), tokens, group)
print("torch", right.tolist(), "exported", got.tolist())
says("torch has the mean", np.array_equal(right, [[2, 20], [8, 80]]))
says("the export has the last row", np.array_equal(got, [[3, 30], [8, 80]]))
nodes = [node for node in onnx.load("pool.onnx").graph.node if node.op_type.startswith("Scatter")]
reductions = {attribute.s for node in nodes for attribute in node.attribute if attribute.name == "reduction"}
says("its scatter nodes reduce nothing", bool(nodes) and reductions <= {b"none"})
for how in ("sum", "amax", "amin", "prod"):
    same = np.array_equal(Pool(how)(tokens, group).numpy(), exported(Pool(how), tokens, group))
    says(f"{how} is right", same)
alone = torch.tensor([1, 0])
same = np.array_equal(Pool("mean")(tokens[:2], alone).numpy(), exported(Pool("mean"), tokens[:2], alone))
says("groups of one are right", same)
says("the older exporter refuses", refuses(Pool("mean"), tokens, group, dynamo=False))
says("index_reduce is refused", refuses(IndexPool(), tokens, group))
PYTHON
