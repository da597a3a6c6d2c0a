"""Budgets through the running channel and cloud."""

from argparse import Namespace
from pathlib import Path

import pytest

from experiments import budgets
from experiments.harness.setting import Setting
from thinwire.bundle import load_bundle


@pytest.mark.data
@pytest.mark.timeout(900)
def test_budgets_hold_on_test_images_as_counted_by_the_proxy(cifar10_test: str, tmp_path: Path) -> None:
    options = Namespace(bundle="cifar10", limit=500, snr=10.0)
    (table,) = budgets.run(Setting("budgets", Path(cifar10_test), tmp_path, options=options)).tables
    reference = load_bundle("cifar10").reference
    assert reference is not None
    found = [row["budget, uses"] for row in table.rows]
    assert found == [None, *(int(reference.channel_uses * share) for share in (0.5, 0.2, 0.1, 0.05))]
    for row in table.rows:
        assert row["answered"] == row["frames at the proxy"] == 500
        assert row["budget, uses"] is None or 0 < row["uses, largest"] <= row["budget, uses"]
        # Far from chance, whatever the budget.
        assert row["accuracy, %"].value > 50
