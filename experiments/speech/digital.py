"""What is sent as bits: Opus for the whole model in the cloud, and the text of a device that has all of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import exp1

from edge.torch_engine import count_edge
from experiments.digital.finite_blocklength import capacity
from experiments.speech.opus import through_opus
from experiments.speech.plain import decoder_gmacs, hear
from offline.data.utterances import Utterances
from offline.measure.evaluator import Evaluator
from offline.measure.heard import TranscriptJudge


def opus(evaluator: Evaluator) -> dict[str, list[Any]]:
    """Errors of each utterance after Opus, and its bits; the device computes nothing that is counted."""
    utterances, judge = _parts(evaluator)
    coded = [through_opus(one.audio) for one in utterances.utterances]
    texts = [hear(judge, audio) for audio, _ in coded]
    return _found(judge, texts, [bits for _, bits in coded], [0.0] * len(texts))


def text(evaluator: Evaluator) -> dict[str, list[Any]]:
    """Errors of the plain model on the device, the bits of what it wrote in UTF-8, and what it computed for that."""
    utterances, judge = _parts(evaluator)
    engine, bundle = evaluator.engine, evaluator.bundle
    speech = judge.transcriber.speech
    texts = [hear(judge, one.audio) for one in utterances.utterances]
    bare = count_edge(engine.tower, bundle.split_layer, bundle.merging, None)
    counts = [bundle.patches] * (bundle.steps + 1)
    encoder = bare.macs(counts, [False] * bundle.steps, bundle.patches) / 1e9
    written = [len(speech.tokenizer.encode(one, add_special_tokens=False)) for one in texts]
    gmacs = [encoder + decoder_gmacs(speech.model, bundle.patches, count) for count in written]
    return _found(judge, texts, [8 * len(one.encode()) for one in texts], gmacs)


def uses_over(bits: NDArray[np.float64], model: str, snr_db: float) -> NDArray[np.float64]:
    """The fewest channel uses on average that carry so many bits without errors.

    On AWGN by its capacity; on Rayleigh fading by the ergodic one, ``exp(1/g) E1(1/g) / ln 2`` bits a use for an SNR of
    g (Goldsmith, 2005, Wireless Communications, eq. 4.4), which takes a code over many gains and flatters it.
    """
    snr = 10 ** (snr_db / 10)
    ergodic = float(np.exp(1 / snr) * exp1(1 / snr) / np.log(2))
    return bits / (ergodic if model == "rayleigh" else capacity(snr_db))


def _parts(evaluator: Evaluator) -> tuple[Utterances, TranscriptJudge]:
    assert isinstance(evaluator.images, Utterances)
    assert isinstance(evaluator.judge, TranscriptJudge)
    return evaluator.images, evaluator.judge


def _found(judge: TranscriptJudge, texts: list[str], bits: list[int], gmacs: list[float]) -> dict[str, list[Any]]:
    errors = judge.errors(texts, np.arange(len(texts)))
    return {"errors": errors.tolist(), "tokens": [0] * len(texts), "uses": bits, "gmacs": gmacs}
