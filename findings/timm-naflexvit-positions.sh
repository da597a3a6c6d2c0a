#!/usr/bin/env bash
# timm 1.0.31 with torch 2.13.0: NaFlexViT is given each patch's coordinates, and places the patches by their order.
#
# Seen (naflexvit_base_patch16_gap, random weights): forward_features takes patches, patch_coord and patch_valid. Of a
# grid of 7 x 7, seven patches of the diagonal with their true coordinates get the position embeddings of the first row:
# the n-th patch that is given has that of the n-th place of the grid. Patches in another order, coordinates with them,
# keep the positions of their ranks. Coordinates only tell how large the grid is. Shapes are right, nothing is raised.
#
# One would guess: a patch's coordinates choose its position, so that any subset in any order may be given.
#
# Hurt: who prunes, samples or reorders patches before the model to save work: it then sees a picture that is pushed
# together, and is worse for it, which looks like the price of pruning. (Embed the whole grid first, then drop tokens.)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0 timm==1.0.31 \
  numpy==2.4.6 safetensors==0.8.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # A wheel of torchvision for CUDA beside a CPU torch: nothing here calls its operators, they only need to be known.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm

SIDE, WIDTH = 7, 768
torch.manual_seed(0)
model = timm.create_model("naflexvit_base_patch16_gap", pretrained=False, num_classes=0).eval()
rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
coordinates = torch.stack((rows, columns), dim=-1).reshape(1, -1, 2)
patches = torch.randn(1, SIDE * SIDE, WIDTH)
everything = torch.arange(SIDE * SIDE)


@torch.inference_mode()
def positions(given):
    """What embedding adds to the projection of these patches: their position embeddings."""
    valid = torch.ones(1, len(given), dtype=torch.bool)
    tokens = model.embeds(patches[:, given], patch_coord=coordinates[:, given], patch_valid=valid)[0]
    return (tokens[:, model.num_prefix_tokens :] - model.embeds.proj(patches[:, given]))[0]


def says(what, seen):
    print(f"{what}: {'as found' if seen else 'CHANGED'}")
    assert seen, what


print("timm", timm.__version__)
whole = positions(everything)
cases = {
    "the diagonal": everything[:: SIDE + 1],
    "the lower half": everything[4 * SIDE :],
    "shuffled": torch.randperm(SIDE * SIDE),
}
for name, given in cases.items():
    got = positions(given)
    to_place = (got - whole[given]).abs().max().item()
    to_rank = (got - whole[: len(given)]).abs().max().item()
    print(f"{name}: off by {to_place:.4f} from its places' positions, by {to_rank:.1e} from its ranks'")
    says(f"{name} is placed by rank", to_rank < 1e-5 and to_place > 1e-2)

given = cases["the diagonal"]
with torch.inference_mode():
    features = model.forward_features(
        patches[:, given], patch_coord=coordinates[:, given], patch_valid=torch.ones(1, len(given), dtype=torch.bool)
    )
tokens = features["patches"] if isinstance(features, dict) else features
says("forward_features takes it", torch.isfinite(tokens).all().item())
PYTHON
