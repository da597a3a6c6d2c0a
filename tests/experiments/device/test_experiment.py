"""The table of the device's engines, on a tiny model."""

from pathlib import Path

import numpy as np
import pytest

from experiments.device import experiment
from experiments.device.cases import make_cases
from experiments.device.subjects import Subject
from experiments.harness.report import Interval
from experiments.harness.setting import Setting
from tests.onnx import engines


def test_every_engine_has_its_row_and_all_its_times_are_marked(monkeypatch, tmp_path: Path):
    engine, onnx_engine = engines("narrow")
    subject = Subject("tiny", "narrow", engine.tower.module, engine, onnx_engine, 1)
    cases = []

    def made(*asked):
        cases.extend(make_cases(*asked))
        return cases[-1:]

    monkeypatch.setattr(experiment, "subjects", lambda name, rules, threads: [subject])
    monkeypatch.setattr(experiment, "make_cases", made)
    options = experiment.EXPERIMENT.given(True, ["--repetitions", "2", "--threads", "1", "--batch", "1", "2"])
    (table,) = experiment.run(Setting("edge", tmp_path, tmp_path, options=options)).tables
    onnx, torch = ["timm-onnxruntime", "onnxruntime", "tome-onnxruntime", "oracle"], ["timm", "torch", "tome"]
    assert [row["engine"] for row in table.rows] == [*onnx, *torch, *onnx[:-1], *torch]
    first = table.rows[0]
    assert first["efficiency"] == Interval(1.0, 1.0, 1.0)
    assert first["MACs saved, %"] == 0
    assert first["tokens"] is None
    assert {name for name, cell in first.items() if isinstance(cell, Interval)} < set(table.timed)
    assert {"model", "engine", "tokens", "MACs saved, %"}.isdisjoint(table.timed)
    # There is no oracle of several images.
    assert [row["of oracle"] is None for row in table.rows] == 7 * [False] + 6 * [True]
    # Of one image and of two, 30% of the MACs are saved, and what ran has merged as the case says.
    saved = [row["MACs saved, %"] for row in table.rows if row["engine"] == "onnxruntime"]
    assert saved == pytest.approx([30, 30], abs=5)
    assert [case.counts.shape for case in cases] == [(1, 3), (2, 3)]
    for case in cases:
        ours = [encoded.tokens_per_layer for encoded in case.onnx["onnxruntime"]()]
        assert np.array_equal(np.array(ours) - 1, case.counts)
