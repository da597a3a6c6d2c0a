#!/usr/bin/env bash
# botorch 0.18.1 with torch 2.13.0: is_non_dominated treats NaN in two ways, by the number of points.
#
# Seen: 789 points that are all on the front, and one of (0.5, NaN): the front has its 789 points. With one point more,
# 791 in all, 395 of 790 are left: what does not exceed 0.5 in the first objective is gone, and so is the point with NaN
# that removed it. From 791 points in double precision on (1,001 in any) another method is used, which takes points that
# cannot be compared for ones that are not better.
#
# One would guess: one answer for all sizes, or an error. A trial whose measurement failed often stands as NaN.
#
# Hurt: who ranks the trials of a long search: the front is right up to 790 points, and then half of it is lost at once,
# without a word. (Rows that are not finite must go first.)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 botorch==0.18.1 gpytorch==1.15.2 \
  linear_operator==0.6.1 pyre-extensions==0.0.32 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import botorch
import torch
from botorch.utils.multi_objective.pareto import is_non_dominated


def members(count):
    """How many of ``count - 1`` points of a front are left, alone and with a point of (0.5, NaN) among them."""
    first = torch.linspace(0, 1, count - 1, dtype=torch.double)
    front = torch.stack((first, 1 - first), dim=1)
    broken = torch.tensor([[0.5, torch.nan]], dtype=torch.double)
    half = count // 2
    mixed = torch.cat((front[:half], broken, front[half:]))
    return int(is_non_dominated(front).sum()), int(is_non_dominated(mixed).sum())


print("botorch", botorch.__version__)
seen = {count: members(count) for count in (100, 790, 791, 1001)}
for count, (alone, beside) in seen.items():
    print(f"{count} points: {alone} on the front, {beside} beside one with NaN")
assert all(alone == count - 1 for count, (alone, _) in seen.items()), "changed: without NaN"
assert seen[100] == (99, 99) and seen[790] == (789, 789), "changed: few points"
assert seen[791][1] == 395 and seen[1001][1] < 600, "changed: many points"
PYTHON
