import os

import pytest

from thinwire import cores


@pytest.mark.parametrize(
    ("affinity", "quota", "usable", "threads"),
    [
        (8, None, 8, 7),
        (8, "max 100000", 8, 7),
        (8, "250000 100000", 3, 2),
        (8, "50000 100000", 1, 1),
        (2, "800000 100000", 2, 1),
        (1, None, 1, 1),
        (4, "nonsense", 4, 3),
        (4, "100000 0", 4, 3),
        (4, "0 100000", 1, 1),
    ],
)
def test_affinity_and_quota_bound_the_cores(monkeypatch, tmp_path, affinity, quota, usable, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert (cores.usable_cores(), cores.model_threads()) == (usable, threads)
