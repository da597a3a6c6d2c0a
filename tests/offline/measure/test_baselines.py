"""Each family of baselines against a computation of its own; and a second call measures only what is missing."""

import math

import numpy as np
import pytest

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from edge.torch_engine import TorchEngine
from offline.data.images import LabelledImages
from offline.measure.baselines import Baselines, measure_baselines
from offline.measure.evaluator import LINK_ID, Evaluator, request_id_of
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from offline.measure.workers import Task
from policies.policy import Policy
from policies.store import Store
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.bundle import Reference
from thinwire.channels import Channel
from thinwire.equalise import receive
from thinwire.errors import BundleError, StoreError

AWGN = Channel("awgn", 10.0)
COUNT = 24


def make_baselines(channel=AWGN, seed=2, reference=True, count=COUNT, **options):
    options = options or {"class_token": False, "global_pool": "avg"}
    engine, classifier = make_engine(**options), make_classifier(**options)
    if reference:
        object.__setattr__(engine.bundle, "reference", Reference(2, 50, 0.5, 0.01, 40, 10.0))
    pixels = random_pixels(count)
    # What the plain model says, but for every fourth, so that an answer can be right or wrong.
    labels = classifier.classify_images(pixels).argmax(1)
    labels[::4] = (labels[::4] + 1) % 7
    images = LabelledImages(tuple(f"i/{i}" for i in range(count)), pixels, labels, engine.bundle.labels)
    return Baselines(
        PolicyMeter(Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images), (channel,), seed)
    )


@pytest.fixture(name="baselines", scope="module")
def baselines_fixture():
    return make_baselines()


def family(candidates, **parameters):
    return next(one for one in candidates if parameters.items() <= one.parameters.items()).measure()


def test_no_merging_sends_every_token(baselines):
    for candidate in baselines.without_merging():
        figures = candidate.measure()
        assert figures.tokens == 25
        assert figures.channel_uses == figures.channel_uses_p95 == 25 * candidate.parameters["symbols_per_token"]
    # The reference itself.
    assert family(baselines.without_merging(), symbols_per_token=2).accuracy_change == 0


def test_one_threshold_is_that_policy(baselines):
    figures = family(baselines.one_threshold(), threshold=0.5, symbols_per_token=4)
    evaluator = baselines._evaluator
    policy = Policy.create([0.5] * 3, 4)
    cap = evaluator.measure_policy(policy, AWGN, 2).uses_p95
    assert figures == evaluator.measure_policy(policy, AWGN, 2, cap).objectives(evaluator.unmerged(AWGN, 2))


@pytest.mark.parametrize(("r", "left"), [(1, 22), (4, 13), (7, 6), (12, 4)])
def test_tome_merges_a_fixed_number(baselines, r, left):
    # With r = 7: 25, 18, 11, and of 11 tokens five are sources. With r = 12: 25, 13, 7, 4.
    figures = family(baselines.tome(), r=r, symbols_per_token=2)
    assert (figures.tokens, figures.tokens_sd, figures.capped_share) == (left, 0, 0)
    assert figures.channel_uses == 2 * left
    unmerged = family(baselines.without_merging(), symbols_per_token=2)
    assert figures.edge_gmacs < unmerged.edge_gmacs


def test_with_a_limit_one_threshold_is_that_policy_and_tome_sends_so_many(baselines):
    figures = family(baselines.one_threshold([3]), threshold=0.5, symbols_per_token=4)
    evaluator = baselines._evaluator
    policy = Policy.create([0.5] * 3, 4, 3)
    assert figures == evaluator.measure_policy(policy, AWGN, 2, 12).objectives(evaluator.unmerged(AWGN, 2))
    limited = family(baselines.tome([3]), r=4, symbols_per_token=2)
    assert (limited.tokens, limited.channel_uses) == (3, 6)
    # The limit merges behind the last layer: it saves the encoder's work and costs its own matching.
    free = family(baselines.tome(), r=4, symbols_per_token=2)
    assert limited.edge_gmacs != free.edge_gmacs
    assert {one.family for one in baselines.tome([3])} == {"tome-limited"}


def test_limits_are_those_that_the_bundle_can_keep(baselines):
    found = {one.parameters["max_tokens"] for one in baselines.candidates() if one.family.endswith("-limited")}
    assert found == {1, 4, 12}
    with_class_token = make_baselines(class_token=True).candidates()
    assert {one.parameters["max_tokens"] for one in with_class_token if one.family == "tome-limited"} <= {1, 4, 12}


def test_tome_takes_every_number_that_differs_at_every_rate(baselines):
    found = [(one.parameters["r"], one.parameters["symbols_per_token"]) for one in baselines.tome()]
    assert found == [(r, rate) for r in range(1, 13) for rate in (1, 2, 4, 8)]


def test_the_pooled_token_is_the_mean_of_all(baselines, monkeypatch):
    sent, encoder = [], TorchEngine.transmit

    def transmit(self, part, *arguments):
        frames = encoder(self, part, *arguments)
        mean = part.tokens.x.mean(1, keepdim=True)
        pooled = self._merge_down_to(part.tokens, 1).x
        np.testing.assert_allclose(pooled.numpy(), mean.numpy(), atol=1e-5)
        sent.extend(len(frame.symbols) for frame in frames)
        return frames

    monkeypatch.setattr(TorchEngine, "transmit", transmit)
    figures = family(baselines.pooled_token(), symbols_per_token=8)
    assert sent == [1] * COUNT
    assert (figures.tokens, figures.channel_uses) == (1, 8)


def test_a_class_token_stands_for_the_pooled_one_where_the_head_reads_that():
    assert family(make_baselines(class_token=True).pooled_token(), symbols_per_token=8).tokens == 1


def received(baselines, index, symbols):
    """One image's symbols over its own channel, by hand."""
    channel, images = baselines._channel, baselines._evaluator.images
    generator = keyed_generator(baselines._seed, LINK_ID, request_id_of(images.names[index]), 0)
    drawn = get(channel.model).draw((1, len(symbols)), channel.snr_db, generator)
    frame = apply(np.array([symbols], dtype=np.complex64), drawn)
    return receive(frame, complex(drawn.gain), float(drawn.noise_variance)).symbols[0]


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
def test_logits_and_label_are_the_loop_over_single_images(model):
    baselines = make_baselines(Channel(model, -3.0), count=60)
    images = baselines._evaluator.images
    scores = baselines._evaluator.judge.classifier.classify_images(images.pixels)
    right = {"logits": 0, "label": 0}
    for index, (row, label) in enumerate(zip(scores.astype(float), images.labels, strict=True)):
        values = np.append(row - row.mean(), 0.0)
        pairs = np.array([complex(values[i], values[i + 1]) for i in range(0, 8, 2)])
        arrived = received(baselines, index, pairs / np.sqrt((abs(pairs) ** 2).mean()))
        heard = [part for symbol in arrived for part in (symbol.real, symbol.imag)][:7]
        right["logits"] += int(np.argmax(heard)) == label
        words = {
            word: [(1 - 2 * (word & 1) + 1j * (1 - (word & 2))) / math.sqrt(2),
                   (1 - 2 * (word >> 2 & 1) + 1j * (1 - 2 * (word >> 3 & 1))) / math.sqrt(2)]
            for word in range(7)
        }  # fmt: skip
        arrived = received(baselines, index, words[int(row.argmax())])
        right["label"] += min(words, key=lambda word: (abs(arrived - words[word]) ** 2).sum()) == label
    assert baselines.on_device.logits().accuracy == pytest.approx(right["logits"] / 60)
    assert baselines.on_device.label().accuracy == pytest.approx(right["label"] / 60)
    assert baselines.on_device.logits().uses_p95 == 4
    assert baselines.on_device.label().uses_p95 == 2


def test_four_labels_fail_as_often_as_qpsk_does():
    count, snr_db = 3000, 3.0
    baselines = make_baselines(Channel("awgn", snr_db), count=count)
    # Four classes are one symbol; this is what a model that is always right would score.
    labels = np.arange(count) % 4
    baselines.on_device._scores = (labels[:, None] == np.arange(4)).astype(np.float32)
    baselines._evaluator.judge.labels = labels
    figures = baselines.on_device.label()
    bit_error = 0.5 * math.erfc(math.sqrt(10 ** (snr_db / 10) / 2))
    expected = (1 - bit_error) ** 2
    assert figures.uses_p95 == 1
    assert figures.accuracy == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / count))


def test_what_the_device_answers_costs_all_blocks_and_the_head(baselines):
    plain = baselines._evaluator.unmerged_gmacs() - 25 * baselines._evaluator.engine.encoder.macs_per_token() / 1e9
    for figures in (baselines.on_device.logits(), baselines.on_device.label()):
        assert figures.edge_gmacs == pytest.approx(np.full(COUNT, plain + 24 * 7 / 1e9))
        assert not figures.tokens.any()


def test_without_noise_the_device_answers_as_the_plain_model_does():
    baselines = make_baselines(Channel("awgn", 60.0))
    assert baselines.on_device.logits().accuracy == baselines.on_device.label().accuracy == 0.75


def test_a_bundle_without_a_reference_is_refused():
    with pytest.raises(BundleError, match="no unmerged reference"):
        make_baselines(reference=False)


def test_a_second_call_measures_only_what_is_missing(tiny_bundle, tmp_path, monkeypatch):
    pixels = random_pixels(6)
    images = LabelledImages(tuple(f"i/{i}" for i in range(6)), pixels, np.arange(6) % 7, tiny_bundle.labels)
    task = Task(tiny_bundle.folder, images, "test", (AWGN,), 0)
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        first = measure_baselines(store, "s", task)
        begun = [next(first) for _ in range(7)]
        first.close()
        rest = list(measure_baselines(store, "s", task))
        study = store.get_study("s")
        assert store.baselines(study) == (*begun, *rest)
        assert {one.family for one in rest} == {
            "one-threshold",
            "one-threshold-limited",
            "tome",
            "tome-limited",
            "pooled-token",
            "random",
            "down-sampled",
            "logits",
            "label",
        }
        monkeypatch.setattr(Evaluator, "measure", None)
        monkeypatch.setattr(Evaluator, "unmerged", lambda *_: None)
        assert list(measure_baselines(store, "s", task)) == []
        with pytest.raises(StoreError, match="seed is 0, got 1"):
            next(measure_baselines(store, "s", Task(tiny_bundle.folder, images, "test", (AWGN,), 1)))
