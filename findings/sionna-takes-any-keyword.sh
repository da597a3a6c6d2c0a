#!/usr/bin/env bash
# sionna-no-rt 2.2.0 with torch 2.13.0: its blocks take any keyword and forget it, `seed` among them.
#
# Seen: BinarySource(seed=1), made twice, gives different bits. Sources, mappers, noise and fading channels take `seed`,
# a misspelt `precison="double"` (results stay single) and `nonsense=3` alike, without a word. Only
# `sionna.phy.config.seed`, of the whole process, makes bits repeat.
#
# One would guess: a TypeError, as Python has it, or that the seed is used: generators of random bits commonly take one.
#
# Hurt: who compares two codes "on the same bits and noise" or publishes a seed: the runs do not repeat, which only
# who runs twice finds out. And who misspells an option, whose curve is then of the default.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 sionna-no-rt==2.2.0 numpy==2.4.6 \
  scipy==1.17.1 h5py==3.16.0 matplotlib==3.11.2 importlib_resources==7.1.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sionna
import torch
from sionna import phy
from sionna.phy.channel import AWGN, RayleighBlockFading
from sionna.phy.mapping import BinarySource, Mapper, QAMSource

BITS = [256]


def says(what, seen):
    print(f"{what}: {'as found' if seen else 'CHANGED'}")
    assert seen, what


def same(make):
    return torch.equal(make(), make())


def under_the_seed_of_the_process():
    phy.config.seed = 1
    return BinarySource()(BITS)


print("sionna", sionna.__version__)
BLOCKS = ((BinarySource,), (QAMSource, 2), (Mapper, "qam", 2), (AWGN,), (RayleighBlockFading, 1, 1, 1, 1))
for block, *arguments in BLOCKS:
    block(*arguments, seed=1, precison="double", nonsense=3)
    print(f"{block.__name__} takes seed, precison and nonsense")
says("two sources of one seed differ", not same(lambda: BinarySource(seed=1)(BITS)))
says("a misspelt precision is the default", BinarySource(precison="double")(BITS).dtype == torch.float32)
says("a precision that is spelt right is kept", BinarySource(precision="double")(BITS).dtype == torch.float64)
says("the seed of the process works", same(under_the_seed_of_the_process))
PYTHON
