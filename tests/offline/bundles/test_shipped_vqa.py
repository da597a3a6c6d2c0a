"""The shipped bundle that answers questions, on pictures that the project draws."""

import json

import numpy as np
import pytest

from deploy.cli.main import main
from offline.data.drawn import drawn_images
from offline.data.question_texts import easy_texts
from offline.data.questioned import QuestionedImages
from offline.measure.evaluator import BYPASS, Evaluator
from policies.budget import Budget
from policies.choice import AUTO, choose_for
from policies.fronts import Fronts
from policies.policy import Policy
from thinwire.bundle import FRONT, load_bundle
from thinwire.channels import Channel

# Beyond what anything was trained on.
FIRST_DRAWN = 3 * 10**9
AWGN = Channel("awgn", 10.0)


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture():
    return load_bundle("easy-vqa")


@pytest.fixture(scope="module", name="evaluator")
def evaluator_fixture(bundle):
    """Every fourth picture of the series is one plain shape, as in easy-VQA."""
    images = drawn_images(80, FIRST_DRAWN, 0, bundle.preprocessing)
    images = images.take(np.arange(2, 80, 4))
    easy = easy_texts()
    kept = [index for index, text in enumerate(images.questions) if text in easy]
    asked = QuestionedImages(
        images.names,
        images.pixels,
        tuple(images.questions[index] for index in kept),
        tuple(images.answers[index] for index in kept),
        images.owners[kept],
    )
    return Evaluator.load(bundle, asked)


def test_the_plain_model_answers(bundle, evaluator):
    plain = evaluator.measure_policy(Policy.unmerged(bundle.split_layer, 1), BYPASS, 0)
    assert plain.accuracy > 0.98


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_budget_costs_little(bundle, evaluator, share):
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    uses = int(share * bundle.reference.channel_uses)
    policy = choose_for(bundle, fronts, AUTO, Budget(channel_uses=uses), AWGN).policy
    measured = evaluator.measure_policy(policy, AWGN, 0, uses)
    assert measured.uses.max() <= uses
    change, _ = measured.change_from(evaluator.unmerged(AWGN, 0))
    assert change > -0.03


def test_it_is_small(bundle):
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) < 16e6


@pytest.mark.data
def test_the_data_sets_own_questions(easy_vqa, capsys):
    arguments = ["evaluate", "--bundle", "easy-vqa", "--data", easy_vqa, "--limit", "100", "--json"]
    assert main([*arguments, "--policy", "none", "--channel", "none"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 100
    assert report["questions"] > 500
    assert report["accuracy"] > 0.97
