"""The last stage of a build on a tiny bundle: a front per channel, and a second call that measures nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import offline.bundles.build
import offline.measure.studies
from offline.bundles import policies
from offline.bundles.policies import find_fronts
from offline.data.images import LabelledImages
from offline.measure import workers
from offline.recipes.recipe import SearchRecipe, load_recipe
from policies.front import Front
from policies.fronts import Fronts
from policies.store import Store
from tests.parts import random_pixels
from thinwire.bundle import FRONT
from thinwire.errors import UnavailableError

RECIPE = SearchRecipe(3, 20, 0.5, ("awgn:0", "rayleigh:10"), (0.0, 10.0))


def test_there_is_a_front_for_every_channel_and_nothing_is_measured_twice(tiny_bundle, tmp_path, monkeypatch):
    def pool(task, processes):
        monkeypatch.setattr(workers, "_meter", task.meter(), raising=False)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(offline.measure.studies, "pool", pool)
    labels = np.random.default_rng(0).integers(0, len(tiny_bundle.labels), 30)
    images = LabelledImages(tuple(f"i/{i}" for i in range(30)), random_pixels(30), labels, tiny_bundle.labels)
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        fronts = find_fronts(store, tiny_bundle, images, RECIPE, seed=1)
        counts = {study.name: len(store.trials(study)) for study in store.studies()}
        assert find_fronts(store, tiny_bundle, images, RECIPE, seed=1) == fronts
        assert {study.name: len(store.trials(study)) for study in store.studies()} == counts
    assert [front.channel.name for front in fronts.fronts] == ["awgn at 0 dB", "rayleigh at 10 dB"]
    assert fronts.bundle_digest == tiny_bundle.digest
    assert all(one.objectives.n == 30 for one in fronts.policies)


def test_a_build_without_the_searchs_library_ends_before_it_trains(tmp_path, monkeypatch):
    def missing(name):
        raise UnavailableError("the extra 'search'")

    monkeypatch.setattr(offline.measure.studies, "load_strategy", missing)
    with pytest.raises(UnavailableError, match="search"):
        offline.bundles.build.build(load_recipe("cifar10"), "nothing", tmp_path / "work", tmp_path / "bundle")
    assert not (tmp_path / "work").exists()


def test_a_second_build_keeps_what_was_exported_since(tiny_bundle, tmp_path, monkeypatch, caplog):
    bundle = replace(tiny_bundle, folder=tmp_path / "bundle")
    shutil.copytree(tiny_bundle.folder, bundle.folder)
    built = Fronts.load(bundle.path(FRONT), bundle.digest)
    first = built.fronts[0]
    exported = Fronts((Front(first.bundle_name, first.bundle_digest, first.policies[:1]),))
    assert exported != built
    monkeypatch.setattr(policies, "find_fronts", lambda *_, **__: built)
    monkeypatch.setattr(policies, "measure_reference", lambda *_: (bundle.reference, {}))
    monkeypatch.setattr(policies.Evaluator, "load", lambda *_: None)

    def build():
        policies.with_policies(bundle, None, RECIPE, tmp_path, 0)
        return Fronts.load(bundle.path(FRONT), bundle.digest)

    assert build() == built
    exported.save(bundle.path(FRONT))
    assert build() == exported
    assert "kept the policies that were exported" in caplog.text
    bundle.path(FRONT).unlink()
    assert build() == built
