"""The whole model in one place: transformers' own transcripts, ours of sound, and what the decoder computes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from cloud.transcriber import Heard
from experiments.speech.ways import POSITIONS_PER_SECOND
from offline.data.utterances import Utterances
from offline.measure.evaluator import Evaluator
from offline.measure.heard import TranscriptJudge
from offline.measure.inputs import inputs_of
from thinwire.audio import SAMPLE_RATE

# Whisper begins with the start and with that there are no timestamps, and ends with the end.
AROUND = 3


@torch.inference_mode()
def transcribe(judge: TranscriptJudge, audio: NDArray[np.float32]) -> str:
    """A transcript as transformers makes it by itself: its features, its encoder, its greedy decoding."""
    speech = judge.transcriber.speech
    model, positions = speech.model, judge.transcriber.bundle.patches
    extractor = WhisperFeatureExtractor(
        feature_size=model.config.num_mel_bins, chunk_length=positions // POSITIONS_PER_SECOND
    )
    features = extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    begun = AROUND - 1
    most = min(224, model.config.max_target_positions - begun)
    # Otherwise a model that says timestamps of its own accord hears again what stands behind the last.
    ids = model.generate(features.to(model.dtype), max_new_tokens=most, force_unique_generate_call=True)
    text: str = speech.tokenizer.decode(ids[0], skip_special_tokens=True)
    return text.strip()


def hear(judge: TranscriptJudge, audio: NDArray[np.float32]) -> str:
    """Our transcript of sound that the cloud has, by the plain model."""
    return judge.texts(judge.transcriber.hear_audio([audio]))[0]


def decoder_gmacs(model: Any, positions: int, written: int) -> float:
    """What Whisper's decoder computes for one transcript with its cache, in 10^9 MACs.

    Args:
        positions: of the encoder's output.
        written: tokens of the transcript, without those that it begins and ends with.
    """
    config = model.config
    width, steps = config.d_model, written + AROUND
    # Keys and values of what is heard, once; of each step: self-attention's four projections, cross-attention's two.
    projections = 2 * positions * width**2 + steps * (6 * width**2 + 2 * width * config.decoder_ffn_dim)
    products = 2 * width * (steps * (steps + 1) // 2 + steps * positions)
    words = steps * width * config.vocab_size
    return float(config.decoder_layers * (projections + products) + words) / 1e9


def same_transcripts(evaluator: Evaluator, most: int) -> dict[str, int]:
    """Of so many utterances, how many transcripts are transformers' own, of our tokens unmerged and without a channel.

    Returns:
        ``same`` and ``of``.
    """
    judge, utterances = evaluator.judge, evaluator.images
    assert isinstance(judge, TranscriptJudge)
    assert isinstance(utterances, Utterances)
    engine = evaluator.engine
    same, few = 0, utterances.even_sample(most)
    for features, one in zip(inputs_of(few, engine), few.utterances, strict=True):
        tokens = engine.transform(features[None], [None] * engine.bundle.steps).tokens
        heard = Heard(tokens.x[0].cpu().numpy(), tokens.sizes[0].cpu().numpy())
        same += judge.texts([heard]) == [transcribe(judge, one.audio)]
    return {"same": same, "of": len(few)}
