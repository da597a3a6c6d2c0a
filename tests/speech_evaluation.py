"""A whole tiny bundle that writes down speech, and utterances and recordings for it."""

import io
import tarfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.speech.model import SpeechModel
from cloud.torch_transcriber import TorchTranscriber
from edge.torch_engine import TorchEngine
from offline.bundles.write import write_bundle
from offline.data.digits import Utterance
from offline.data.utterances import Utterances
from tests.speech import make_speech
from tests.speech_bundle import WIDTH, make_decoder, make_speech_bundle
from thinwire.bundle import Bundle, Merging, Reference
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.whisper_tower import SIZES, WhisperTower

# Five pauses of 0.2 s, and as much again for the digits.
POSITIONS = 75
MERGING = Merging(weight="size", proportional_attention=True, neighbours=3, front=True)


def make_parts(
    folder: Path = Path("nowhere"), positions: int = POSITIONS
) -> tuple[Bundle, TorchEngine, TorchTranscriber]:
    """A manifest without files, the device's side and the cloud's, of one model."""
    model, tokenizer = make_speech(max_source_positions=positions, max_target_positions=24)
    bundle = make_speech_bundle(
        folder,
        patches=positions,
        merging=MERGING,
        model={"tower": "whisper", "config": {name: getattr(model.config, name) for name in SIZES}},
        reference=Reference(4, 4 * positions, -0.5, 0.1, 9, 10.0),
    )
    torch.manual_seed(1)
    encoder = MlpEncoder(WIDTH, bundle.codec.hidden, 8)
    engine = TorchEngine(bundle, WhisperTower.around(model), encoder)
    return bundle, engine, TorchTranscriber(bundle, SpeechModel(model, tokenizer, sizes_in_logits=True), make_decoder())


def write_spoken_bundle(folder: Path, positions: int = POSITIONS) -> Bundle:
    """All of it in a folder."""
    bundle, engine, transcriber = make_parts(folder, positions)
    parts = {"backbone": engine.tower.module, "encoder": engine.encoder, "decoder": transcriber.decoder}
    checkpoint = folder.parent / f"{folder.name}-checkpoint"
    transcriber.speech.model.save_pretrained(checkpoint)
    transcriber.speech.tokenizer.save_pretrained(checkpoint)
    assert bundle.speech is not None
    return write_bundle(replace(bundle, speech=replace(bundle.speech, checkpoint="llava")), parts, checkpoint)


def make_utterances(count: int = 12, seed: int = 0) -> Utterances:
    """Sounds of 0.2 to 1.4 s, each with digits that have nothing to do with them."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(generator.integers(3_200, 22_400))
        envelope = np.abs(np.sin(np.linspace(0, generator.uniform(3, 20), length)))
        audio = (0.3 * envelope * generator.normal(size=length)).astype(np.float32)
        digits = tuple(int(digit) for digit in generator.integers(0, 10, 6))
        made.append(Utterance(f"{'ab'[number % 2]}/{number:04d}", "ab"[number % 2], digits, audio))
    return Utterances(tuple(made))


def write_recordings(path: Path, speakers: tuple[str, ...] = ("ann", "bob"), numbers: int = 2) -> str:
    """A tar of short noises under the names of spoken digits."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for speaker in speakers:
            for digit in range(10):
                for number in range(numbers):
                    content = _wav(generator.normal(0, 4_000, 400 + 10 * digit))
                    member = tarfile.TarInfo(f"{digit}_{speaker}_{number}.wav")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return str(path)


def _wav(samples: NDArray[np.float64]) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()
