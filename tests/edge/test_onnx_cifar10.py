"""The shipped bundle on the whole CIFAR-10 test set: ONNX Runtime against torch."""

import numpy as np
import pytest

from cloud.onnx_classifier import OnnxClassifier
from cloud.torch_classifier import TorchClassifier
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.data.images import load
from policies.fronts import Fronts
from thinwire.bundle import FRONT, load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.nn.merging.transformer import rules_for

NEAR, BATCH, NOISE = 1e-4, 100, 0.1


@pytest.mark.data
@pytest.mark.timeout(600)
def test_both_engines_decide_and_answer_alike(cifar10_test):
    bundle = load_bundle("cifar10")
    images = load(cifar10_test, bundle.preprocessing, bundle.labels)
    # The policy of most merging, and so of most decisions. A limit on tokens would hide what layers decided.
    measured = Fronts.load(bundle.path(FRONT), bundle.digest).policies
    policy = min(
        (one for one in measured if one.policy.max_tokens is None), key=lambda one: one.objectives.edge_gmacs
    ).policy
    in_torch, in_onnx = TorchEngine.load(bundle), OnnxEngine.load(bundle)
    torch_classifier, onnx_classifier = TorchClassifier.load(bundle), OnnxClassifier.load(bundle)
    generator = np.random.default_rng(0)
    near = differing = far_differing = 0
    right = np.zeros(2, dtype=np.int64)
    for start in range(0, len(images), BATCH):
        pixels, labels = images.pixels[start : start + BATCH], images.labels[start : start + BATCH]
        transformed = in_torch.transform(pixels, rules_for(policy.thresholds), policy.thresholds)
        expected = in_torch.transmit(transformed, policy.symbols_per_token, 10.0, None, policy.max_tokens)
        found = [in_onnx.encode(image, policy, 10.0) for image in pixels]
        ties = transformed.tokens.margin.numpy() < NEAR
        frames: tuple[list[ReceivedTokens], list[ReceivedTokens]] = ([], [])
        for tie, one, other in zip(ties, expected, found, strict=True):
            # All may end as one token, whatever was decided on the way: then the symbols tell.
            same = one.merge_map.tolist() == other.merge_map.tolist()
            same = same and np.allclose(one.symbols, other.symbols, rtol=0, atol=2e-4)
            near, differing, far_differing = near + tie, differing + (not same), far_differing + (not same and not tie)
            # The same noise for what is sent in the same place.
            shape = max(one.symbols.shape, other.symbols.shape)
            noise = generator.normal(scale=np.sqrt(NOISE / 2), size=(*shape, 2)).astype(np.float32)
            noise = noise.view(np.complex64)[..., 0]
            for kept, encoded in zip(frames, (one, other), strict=True):
                kept.append(ReceivedTokens(encoded.symbols + noise[: len(encoded.symbols)], NOISE))
        for index, logits in enumerate(
            (torch_classifier.classify_frames(frames[0]), onnx_classifier.classify_frames(frames[1]))
        ):
            right[index] += (logits.argmax(1) == labels).sum()
    shares = f"{differing} of {len(images)} differ, {near} have a near tie, accuracies {right / len(images)}"
    print(shares)
    assert far_differing == 0, shares
    assert differing <= 0.005 * len(images), shares
    assert abs(right[0] - right[1]) <= 0.001 * len(images), shares
