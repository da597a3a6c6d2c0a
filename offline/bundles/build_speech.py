"""From recordings to a bundle that writes down speech: a Whisper as it is, a codec for its tokens, graphs."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cloud.speech.model import SpeechModel
from offline.bundles.folders import check_folders
from offline.bundles.own_output import check_codec
from offline.bundles.policies import check_designed, check_search, check_work, with_policies
from offline.bundles.whisper_source import INSIDE, read_source, write_configuration, write_whisper
from offline.bundles.write import write_weights
from offline.data.digits import Recordings, load_recordings, split_select
from offline.data.spoken import random_utterance
from offline.data.utterances import load_utterances
from offline.export.bundle import export_bundle
from offline.measure.studies import check_merging
from offline.recipes.speech_recipe import SpeechRecipe
from offline.train.heard import ONCE, HeardTokens, hear
from offline.train.jscc import CodecTrainer
from offline.train.transcript_teacher import TranscriptTeacher
from thinwire.bundle import Bundle, Speech
from thinwire.errors import InvalidRequestError
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.towers.whisper_tower import SIZES, WhisperTower

log = logging.getLogger(__name__)


def build_speech(
    recipe: SpeechRecipe,
    data: str,
    work: Path,
    output: Path,
    seed: int = 0,
    weights: str | None = None,
    revision: str | None = None,
) -> Bundle:
    """Train a codec for the tokens of a Whisper and write a bundle, with graphs and policies.

    Args:
        recipe: what to make.
        data: a tar of recordings of digits; see `offline.data.digits.load_recordings`.
        work: folder of tokens and checkpoints; a second call with the same folder resumes.
        output: folder of the bundle.
        seed: of weights, utterances and noise.
        weights: instead of the recipe's; see `offline.bundles.whisper_source.read_source`.
        revision: of the weights on the hub.

    Raises:
        BundleError: the weights are no Whisper.
        InvalidRequestError: recipe, data and folders do not fit each other.
        UnavailableError: the library that searches policies is not installed. All of this is told before anything is
            trained.
    """
    check_search(recipe.search)
    check_folders(recipe.name, work, output)
    if recipe.clips.count < recipe.codec_training.batch_size:
        raise InvalidRequestError(
            f"codec_training.batch_size: expected at most the {recipe.clips.count} clips, "
            f"got {recipe.codec_training.batch_size}"
        )
    model, tokenizer = read_source(weights or recipe.weights, revision)
    tower = WhisperTower.around(model)
    check_merging(tower.depth, tower.patches)
    check_designed(recipe.search, tower.depth + recipe.merging.front)
    check_codec(recipe.codec, tower.width)
    check_work(work)
    train, _ = split_select(load_recordings(data))
    select = load_utterances(data, select=True)
    if not train:
        raise InvalidRequestError(f"data: expected recordings to train on, got none but those to select by: {data}")
    work.mkdir(parents=True, exist_ok=True)
    log.info("%d recordings to train on, %d utterances to select by", len(train), len(select))
    encoder, decoder = _train_codec(recipe, model, tokenizer, train, work, seed)
    config = {name: getattr(model.config, name) for name in (*SIZES, "activation_function")}
    bundle = Bundle(
        name=recipe.name,
        task="transcription",
        model={"tower": "whisper", "config": config},
        split_layer=tower.depth,
        depth=tower.depth,
        width=tower.width,
        patches=tower.patches,
        prefix_tokens=0,
        labels=(),
        merging=recipe.merging,
        codec=recipe.codec,
        speech=Speech(INSIDE, None, recipe.sizes_in_logits),
        files=_write(model, tokenizer, encoder, decoder, output),
        folder=output,
    )
    bundle.save()
    return with_policies(export_bundle(bundle), select, recipe.search, work, seed)


def _train_codec(
    recipe: SpeechRecipe, model: Any, tokenizer: Any, train: Recordings, work: Path, seed: int
) -> tuple[JsccEncoder, JsccDecoder]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    speech = SpeechModel(model.to(device), tokenizer, recipe.sizes_in_logits)
    make = partial(random_utterance, train)
    clips = hear(WhisperTower.around(model), speech, recipe.merging, recipe.clips, make, seed, work / "tokens")
    vocabulary = speech.vocabulary
    begin = vocabulary.begin(ONCE, next(iter(vocabulary.languages.values()), None))
    texts = [clip.text for clip in clips]
    teacher = TranscriptTeacher(model, texts, begin, vocabulary.end, recipe.sizes_in_logits)
    sets = HeardTokens(clips, recipe.merging.weight)
    trainer = CodecTrainer(teacher, recipe.codec, recipe.codec_training, sets, work / "codec.ckpt", seed)
    trainer.run()
    model.cpu()
    return trainer.encoder, trainer.decoder


def _write(model: Any, tokenizer: Any, encoder: JsccEncoder, decoder: JsccDecoder, output: Path) -> dict[str, str]:
    output.mkdir(parents=True, exist_ok=True)
    files = write_weights({"encoder": encoder, "decoder": decoder}, output)
    files |= write_configuration(model, tokenizer, output) | write_whisper(model, output)
    return dict(sorted(files.items()))
