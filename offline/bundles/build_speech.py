"""From recordings to a bundle that writes down speech: a Whisper as it is, a codec for its tokens, graphs."""

import logging
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
from offline.data.sentences import check_synthesiser
from offline.data.spoken import SpokenClips
from offline.data.utterances import load_utterances
from offline.export.bundle import export_bundle
from offline.measure.studies import check_merging
from offline.recipes.speech_recipe import SpeechRecipe
from offline.train.heard import ONCE, HeardTokens, hear
from offline.train.jscc import CodecTrainer
from offline.train.transcript_teacher import TranscriptTeacher
from thinwire.audio import SAMPLE_RATE, SAMPLES_PER_POSITION
from thinwire.bundle import Bundle, Speech, read_bundle
from thinwire.errors import InvalidRequestError
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.towers.whisper_tower import SIZES, WhisperTower
from thinwire.nn.weights import load_part

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
        BundleError: the weights are no Whisper, or there is no such bundle to begin with.
        InvalidRequestError: recipe, data and folders do not fit each other.
        UnavailableError: the library that searches policies, or the one that reads sentences, is not installed. All of
            this is told before anything is trained.
    """
    check_search(recipe.search)
    if recipe.clips.read:
        check_synthesiser()
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
    lender = None if recipe.begin_with is None else read_bundle(recipe.begin_with)
    if lender is not None and (lender.codec, lender.width) != (recipe.codec, tower.width):
        raise InvalidRequestError(
            f"begin_with: expected a pair for {tower.width} channels, of the recipe's shape, got that of {lender.name}"
        )
    check_work(work)
    train, _ = split_select(load_recordings(data))
    select = load_utterances(data, select=True)
    if not train:
        raise InvalidRequestError(f"data: expected recordings to train on, got none but those to select by: {data}")
    work.mkdir(parents=True, exist_ok=True)
    log.info("%d recordings to train on, %d utterances to select by", len(train), len(select))
    encoder, decoder = _train_codec(recipe, model, tokenizer, train, work, seed, lender)
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
    recipe: SpeechRecipe, model: Any, tokenizer: Any, train: Recordings, work: Path, seed: int, lender: Bundle | None
) -> tuple[JsccEncoder, JsccDecoder]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    speech = SpeechModel(model.to(device), tokenizer, recipe.sizes_in_logits)
    tower = WhisperTower.around(model)
    longest_s = SAMPLES_PER_POSITION * tower.patches / SAMPLE_RATE
    make = SpokenClips(train, recipe.clips.digits, recipe.clips.read, longest_s)
    clips = hear(tower, speech, recipe.merging, recipe.clips, make, seed, work / "tokens")
    vocabulary = speech.vocabulary
    begin = vocabulary.begin(ONCE, next(iter(vocabulary.languages.values()), None))
    texts = [clip.text for clip in clips]
    teacher = TranscriptTeacher(model, texts, begin, vocabulary.end, recipe.sizes_in_logits)
    sets = HeardTokens(clips, recipe.merging.weight)
    begin_with = None if lender is None else _pair(lender)
    trainer = CodecTrainer(teacher, recipe.codec, recipe.codec_training, sets, work / "codec.ckpt", seed, begin_with)
    trainer.run()
    model.cpu()
    return trainer.encoder, trainer.decoder


def _pair(lender: Bundle) -> tuple[JsccEncoder, JsccDecoder]:
    codec = lender.codec
    encoder = load_part(lender, "encoder", lambda: build_encoder(codec, lender.width))
    return encoder, load_part(
        lender, "decoder", lambda: JsccDecoder(lender.width, codec.hidden, codec.max_symbols_per_token)
    )


def _write(model: Any, tokenizer: Any, encoder: JsccEncoder, decoder: JsccDecoder, output: Path) -> dict[str, str]:
    output.mkdir(parents=True, exist_ok=True)
    files = write_weights({"encoder": encoder, "decoder": decoder}, output)
    files |= write_configuration(model, tokenizer, output) | write_whisper(model, output)
    return dict(sorted(files.items()))
