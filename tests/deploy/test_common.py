"""What commands serve where nobody says it."""

import pytest

from deploy.cli import common
from deploy.cli.common import DEFAULT_BUNDLE, DEFAULT_BUNDLES, bundles_for_cloud
from thinwire.bundle import load_bundle


@pytest.mark.parametrize("spec", [None, object()], ids=["without transformers", "with"])
def test_a_cloud_serves_what_it_has_packages_for(monkeypatch, spec):
    monkeypatch.setattr(common, "find_spec", {"transformers": spec}.__getitem__)
    served = [load_bundle(name) for name in bundles_for_cloud()]
    assert [one.task for one in served] == ["classify", "classify"] + ["vqa"] * (spec is not None)


def test_the_first_answers_where_no_model_is_named():
    assert DEFAULT_BUNDLES[0] == DEFAULT_BUNDLE == "cifar10"
