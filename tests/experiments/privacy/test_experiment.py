"""What the privacy experiment compares."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.setting import three_policies
from experiments.privacy.outcome import LOW_RATE, UNCODED, UNMERGED, cases, equal_label, grid
from thinwire.bundle import load_bundle


def test_the_cases_are_three_policies_two_rates_and_a_ceiling() -> None:
    bundle = load_bundle("cifar10")
    found = cases(bundle)
    # 10.2 tokens on average, and 64 without merging.
    label = "within 96 uses, S = 6"
    assert list(found) == [UNMERGED, LOW_RATE, label, *list(three_policies(bundle))[1:], UNCODED]
    assert equal_label(found) == label
    low, equal, first = found[LOW_RATE], found[label], list(three_policies(bundle).values())[1].policy
    assert low is not None
    assert low.symbols_per_token == 1
    assert all(threshold >= 1 for threshold in low.thresholds)
    assert equal is not None
    assert (equal.thresholds, equal.max_tokens) == (first.thresholds, first.max_tokens)
    assert found[UNCODED] is None


def test_pictures_stand_in_rows() -> None:
    rows = [np.full((9, 4, 4, 3), value, np.uint8) for value in (1, 2)]
    joined = grid(rows)
    assert joined.shape == (2 * 2 * 4, 8 * 2 * 4, 3)
    assert (joined[:8] == 1).all()
    assert (joined[8:] == 2).all()


@pytest.mark.data
def test_no_test_image_is_among_those_that_attackers_train_on(cifar10_test: str) -> None:
    def digests(path: Path) -> list[str]:
        with tarfile.open(path) as tar:
            files = [tar.extractfile(member) for member in tar if member.isfile()]
            return [hashlib.sha256(file.read()).hexdigest() for file in files if file is not None]

    test = digests(Path(cifar10_test))
    train = Path(cifar10_test).with_name("cifar10-train.tar")
    if not train.exists():
        pytest.skip("no cifar10-train.tar beside cifar10-test.tar")
    assert len(test) == 5000
    assert not set(test) & set(digests(train))
