"""Fewer patches for the same model, against timm's own layers; the class token alone, against the head by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from offline.data.images import LabelledImages
from offline.measure import fewer_patches
from offline.measure.baselines import Baselines
from offline.measure.evaluator import Evaluator
from offline.measure.fewer_patches import has_lone_class_token, measure_class_token, prune, scale_down, smaller_sides
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.bundle import Reference
from thinwire.channels import Channel
from thinwire.images import normalise
from thinwire.nn.codec.decoder import decode_frames

AWGN = Channel("awgn", 10.0)
COUNT = 6


def make_evaluator(**options):
    engine, classifier = make_engine(**options), make_classifier(**options)
    object.__setattr__(engine.bundle, "reference", Reference(2, 52, 0.5, 0.01, 40, 10.0))
    labels = np.arange(COUNT) % 7
    images = LabelledImages(tuple(f"i/{i}" for i in range(COUNT)), random_pixels(COUNT), labels, engine.bundle.labels)
    return Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images)


@pytest.fixture(name="evaluator", scope="module")
def evaluator_fixture():
    return make_evaluator(global_pool="token+avg")


def by_image(parts):
    return {int(image): part.tokens.x[row] for images, part in parts for row, image in enumerate(images)}


def test_pruned_images_are_what_timms_layers_make_of_the_patches_that_are_left(evaluator):
    model, bundle = evaluator.engine.tower.module, evaluator.bundle
    found = by_image(prune(evaluator, 10, seed=3))
    more = {int(i): p.tokens.origin[r] >= 0 for ids, p in prune(evaluator, 20, seed=3) for r, i in enumerate(ids)}
    kept = {int(i): p.tokens.origin[r] >= 0 for ids, p in prune(evaluator, 10, seed=3) for r, i in enumerate(ids)}
    with torch.inference_mode():
        pixels = torch.from_numpy(normalise(evaluator.images.pixels, bundle.preprocessing))
        embedded = model._pos_embed(model.patch_embed(pixels))
        for image in range(COUNT):
            assert kept[image].sum() == 10
            # Fewer are a part of more.
            assert not (kept[image] & ~more[image]).any()
            x = torch.cat((embedded[image, :1], embedded[image, 1:][kept[image]]))[None]
            np.testing.assert_allclose(found[image].numpy(), model.blocks(x)[0, 1:].numpy(), atol=2e-5)
    assert len({tuple(one.tolist()) for one in kept.values()}) > 1


def test_what_is_dropped_was_embedded_all_the_same(evaluator):
    bundle, cost = evaluator.bundle, evaluator.engine.cost
    measured = evaluator.measure(prune(evaluator, 10, seed=3), 2, AWGN, 0)
    layers = replace(cost, embedding=0).macs([10] * 4, [False] * 3, 10)
    assert measured.edge_gmacs.tolist() == pytest.approx([(cost.embedding + layers) / 1e9] * COUNT)
    # Counts of the whole give the embedding alone, no less.
    assert cost.embedding == evaluator.engine.tower.embedding_macs() > 0
    assert bundle.patches == 25


def test_a_smaller_photograph_meets_resampled_positions_and_the_same_layers(evaluator):
    assert smaller_sides(evaluator) == [4, 3, 2]
    scaled = scale_down(evaluator, 3)
    model, bundle = evaluator.engine.tower.module, evaluator.bundle
    small = [np.asarray(Image.fromarray(one).resize((12, 12), Image.Resampling.BICUBIC)) for one in
             evaluator.images.pixels]  # fmt: skip
    with torch.inference_mode():
        positions = model.pos_embed[:, 1:].reshape(1, 5, 5, -1).permute(0, 3, 1, 2)
        positions = interpolate(positions, (3, 3), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 9, -1)
        patches = model.patch_embed.proj(torch.from_numpy(normalise(np.stack(small), bundle.preprocessing)))
        first = (model.cls_token + model.pos_embed[:, :1]).expand(COUNT, -1, -1)
        x = model.blocks(torch.cat((first, patches.flatten(2).transpose(1, 2) + positions), dim=1))
        found = by_image(scaled.transform([None] * 3))
        for image in range(COUNT):
            np.testing.assert_allclose(found[image].numpy(), x[image, 1:].numpy(), atol=2e-5)
    # What it was made from is left as it is.
    assert model.patch_embed.grid_size == (5, 5)
    assert model.pos_embed.shape[1] == 26


def test_both_are_counted_by_the_patches_that_run(evaluator):
    baselines = Baselines(PolicyMeter(evaluator, (AWGN,), 0))
    unmerged = evaluator.unmerged_gmacs()
    for candidates in (baselines.random_pruning(), baselines.down_sampled()):
        for one in candidates:
            figures, patches = one.measure(), one.parameters["patches"]
            assert (figures.tokens, figures.tokens_sd) == (patches + 1, 0)
            assert figures.channel_uses == (patches + 1) * one.parameters["symbols_per_token"]
            assert figures.edge_gmacs < unmerged
    counts = np.full((1, 4), 9)
    cost = scale_down(evaluator, 3).engine.cost
    assert cost.gmacs(counts, [False] * 3, counts[:, -1]) == pytest.approx(
        # Embedding of nine patches of 48 values, and what three layers and the encoder take for ten tokens.
        (9 * 48 * 24 + 3 * (10 * 12 * 24**2 + 2 * 100 * 24) + cost.encoding(10)) / 1e9
    )


def test_the_class_token_alone_is_read_beside_a_constant(evaluator):
    assert has_lone_class_token(evaluator)
    assert not has_lone_class_token(make_evaluator(class_token=True))
    unmerged = evaluator.transform([None] * 3)
    received = []
    decode = evaluator.judge.classifier.decoder

    def note(judge, frames, images):
        received.extend(zip(images.tolist(), frames, strict=True))
        return plain(judge, frames, images)

    plain = fewer_patches._ClassTokenJudge.frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fewer_patches._ClassTokenJudge, "frames", note)
        measured = measure_class_token(evaluator, unmerged, 4, AWGN, 0)
    assert measured.tokens.tolist() == [1] * COUNT
    assert measured.uses.tolist() == [4] * COUNT
    cost = evaluator.engine.cost
    spared = (cost.encoding(26) - cost.encoding(1)) / 1e9
    assert measured.edge_gmacs == pytest.approx(np.full(COUNT, evaluator.unmerged_gmacs() - spared))
    model = evaluator.judge.classifier.model
    with torch.inference_mode():
        tokens = by_image(unmerged)
        mean = torch.stack([model.norm(tokens[image]).mean(0) for image in range(COUNT)]).mean(0)
        for image, frame in received:
            x, _, _ = decode_frames(decode, [frame], torch.device("cpu"))
            logits = model.head(torch.cat((model.norm(x[0]), mean)))
            np.testing.assert_allclose(measured.logits[image], logits.numpy(), atol=1e-4)
