"""Training of a small LLaVA from scratch, on drawn pictures and easy-VQA's: the tower runs once per image.

The language model meets random subsets of the visual tokens on some of the batches, so it does not depend on their
number; the tower never meets merging. What is in each patch is asked of the tower's tokens too, by a linear head that
is not part of the model: that teaches a transformer without a prior of images in thousands of steps what answers alone
teach in many more. A checkpoint a minute makes the run resumable to the same weights.
"""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from transformers import LlavaForConditionalGeneration

from offline.data.drawings import COLOURS, KINDS
from offline.data.question_texts import words
from offline.data.questioned import QuestionedImages, load_vqa, split_select
from offline.measure.llava_report import report, right_answers, tower_tokens, visual_tokens
from offline.train.llava_batches import Batch, Mixture, make_batch
from offline.train.llava_model import build_llava, build_tokenizer, patch_size, save_llava
from offline.train.packing import IGNORED, Segments, answer_logits
from offline.train.running import Checkpoint, attention_backends, digest_of, mixed_precision
from thinwire.errors import InvalidRequestError
from thinwire.images import Preprocessing, normalise
from thinwire.records import Count, JsonObject, NotNegative, Positive, Whole, record

log = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKPOINTS = 60
STEPS_BETWEEN_LOGS = 100
# Nine patches of ten show nothing but the ground.
GROUND_WEIGHT = 0.1


@record("llava_training")
class LlavaTraining:
    """Hyperparameters of one run; the learning rate rises over ``warm_up`` steps and falls as a cosine."""

    steps: Count
    warm_up: Whole
    learning_rate: Positive
    weight_decay: NotNegative
    patch_loss: NotNegative
    mixture: Mixture

    def __post_init__(self) -> None:
        if self.warm_up > self.steps:
            raise InvalidRequestError(
                f"llava_training.warm_up: expected at most the {self.steps} steps, got {self.warm_up}"
            )


@record()
class LlavaRecipe:
    """How a small LLaVA is made; ``model`` as in `build_llava`."""

    name: str
    model: JsonObject
    preprocessing: Preprocessing
    training: LlavaTraining


class LlavaTrainer:
    """One model in training; uses a GPU where there is one.

    Args:
        recipe: model and hyperparameters.
        train: the data set's train split.
        select: what checkpoints are measured on.
        checkpoint: written once a minute; training goes on from it where it exists.
        seed: of weights, pictures and batches.
    """

    def __init__(
        self, recipe: LlavaRecipe, train: QuestionedImages, select: QuestionedImages, checkpoint: Path, seed: int = 0
    ) -> None:
        self.recipe = recipe
        self.train = train
        self.select = select
        self.seed = seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = build_tokenizer(words())
        self.segments = Segments(self.tokenizer)
        torch.manual_seed(seed)
        self.model: LlavaForConditionalGeneration = build_llava(recipe.model, self.tokenizer).to(self.device)
        width = self.model.model.vision_tower.config.hidden_size
        self.patch_head = nn.Linear(width, 2 + len(KINDS) + len(COLOURS)).to(self.device)
        parameters = [*self.model.parameters(), *self.patch_head.parameters()]
        training = recipe.training
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [one for one in parameters if one.ndim > 1], "weight_decay": training.weight_decay},
                {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=training.learning_rate,
            betas=(0.9, 0.98),
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            training.learning_rate,
            total_steps=training.steps + 1,
            pct_start=training.warm_up / (training.steps + 1),
            cycle_momentum=False,
        )
        parts = {
            "model": self.model,
            "patch_head": self.patch_head,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        self.state = Checkpoint(checkpoint, parts, digest_of(recipe, seed, len(train)), "step")

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the answers' tokens, and of what is in each patch."""
        images = torch.from_numpy(normalise(batch.pixels, self.recipe.preprocessing)).to(self.device)
        with sdpa_kernel(attention_backends(self.device)), mixed_precision(self.device):
            tokens = tower_tokens(self.model, images)
            said = self.patch_head(tokens).float()
            if batch.kept is not None:
                index = batch.kept.to(self.device)[..., None].expand(-1, -1, tokens.shape[-1])
                tokens = tokens.gather(1, index)
            visual = self.model.model.multi_modal_projector(tokens)
            logits, targets = answer_logits(self.model, visual, self.segments.before, batch.packed)
        kinds, colours = said.split((1 + len(KINDS), 1 + len(COLOURS)), dim=-1)
        patches = _cross_entropy(kinds, batch.kinds) + _cross_entropy(colours, batch.colours)
        return F.cross_entropy(logits.float(), targets), patches

    def run(self) -> None:
        """Train, or go on from the checkpoint."""
        first = self.state.resume(self.device)
        training = self.recipe.training
        patch = patch_size(self.model)
        parameters = [*self.model.parameters(), *self.patch_head.parameters()]
        saved = logged = time.monotonic()
        self.model.train()
        totals, summed = torch.zeros(2), 0
        for step in range(first, training.steps):
            batch = make_batch(training.mixture, self.train, self.segments, patch, self.seed, step)
            answers, patches = self.losses(batch)
            self.optimiser.zero_grad(set_to_none=True)
            (answers + training.patch_loss * patches).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            self.optimiser.step()
            self.schedule.step()
            totals += torch.stack((answers, patches)).detach().cpu()
            summed += 1
            if (step + 1) % STEPS_BETWEEN_LOGS == 0:
                mean, now = totals / summed, time.monotonic()
                log.info("step %d/%d: loss %.4f, of patches %.4f, select accuracy %.4f, %.0f s", step + 1,
                         training.steps, mean[0], mean[1], self.accuracy(), now - logged)  # fmt: skip
                totals, summed, logged = torch.zeros(2), 0, time.monotonic()
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                self.state.save(step + 1)
                saved = time.monotonic()
        self.state.save(training.steps)
        self.model.eval()

    def accuracy(self, limit: int = 100) -> float:
        """Share of exact answers on a sample of the select split."""
        self.model.eval()
        asked = self.select.even_sample(limit)
        tokens = visual_tokens(self.model, asked.pixels, self.recipe.preprocessing)
        right = right_answers(self.model, self.segments, tokens, asked.rows)
        self.model.train()
        return float(right.mean())


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the patches that are known, weighted by `GROUND_WEIGHT`; 0 where none is."""
    flat = labels.to(logits.device).flatten()
    losses = F.cross_entropy(logits.flatten(0, 1), flat, ignore_index=IGNORED, reduction="none")
    weights = torch.where(flat == 0, GROUND_WEIGHT, 1.0) * (flat != IGNORED)
    return (losses * weights).sum() / weights.sum().clamp_min(1)


def train_llava(recipe: LlavaRecipe, data: str, work: Path, seed: int = 0) -> Path:
    """Train and export.

    Args:
        recipe: what to make.
        data: a tar or a folder; see `load_vqa`.
        work: folder of the checkpoint, the report and the result; a second call with the same folder resumes.
        seed: of weights, pictures and batches.

    Returns:
        the folder of the result, in the hub's layout.
    """
    work.mkdir(parents=True, exist_ok=True)
    train, select = split_select(load_vqa(data, recipe.preprocessing, "train"))
    log.info("%d images to train on, %d to select on", len(train), len(select))
    trainer = LlavaTrainer(recipe, train, select, work / "llava.ckpt", seed)
    trainer.run()
    model = trainer.model.cpu()
    folder = work / "llava"
    save_llava(model, trainer.tokenizer, recipe.preprocessing, folder)
    measured = report(model, trainer.tokenizer, recipe.preprocessing, train, select)
    (work / "report-select.json").write_text(json.dumps(asdict(measured), indent=2) + "\n")
    log.info("select: %s", measured)
    return folder
