"""Every experiment by its name, in the order in which they run and are listed."""

import importlib
from typing import TYPE_CHECKING

from thinwire.errors import InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from experiments.harness.experiment import Experiment

# Each module has an EXPERIMENT.
MODULES = {
    "profile": "experiments.profile",
    "tradeoff": "experiments.tradeoff.experiment",
    "search": "experiments.searches",
    "snr": "experiments.snr",
    "split": "experiments.split",
    "robustness": "experiments.robustness",
    "codecs": "experiments.codecs",
    "questions": "experiments.visual_questions",
    "speech": "experiments.speech.experiment",
    "video": "experiments.video.experiment",
    "privacy": "experiments.privacy.experiment",
    "digital": "experiments.digital.experiment",
    "budgets": "experiments.budgets",
    "merging": "experiments.merging_rules",
    "rotary": "experiments.rotary_positions",
    "answer": "experiments.answer_time",
    "edge": "experiments.device.experiment",
    "budget-time": "experiments.edge_time",
    "packing": "experiments.packed_blocks",
    "evaluator": "experiments.evaluator_speed",
    "cloud": "experiments.service.under_load",
    "overhead": "experiments.service.per_frame",
    "request": "experiments.service.per_request",
    "stream": "experiments.service.one_stream",
    "dialogue": "experiments.service.dialogue",
    "footprint": "experiments.service.footprint",
}


def load(name: str) -> "Experiment":
    """An experiment by its name.

    Raises:
        InvalidRequestError: there is none of that name.
        UnavailableError: it needs a package that is not installed.
    """
    if name not in MODULES:
        raise InvalidRequestError(f"no experiment {name!r}; there are {', '.join(MODULES)}")
    try:
        experiment: Experiment = importlib.import_module(MODULES[name]).EXPERIMENT
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "experiments":
            raise
        raise UnavailableError(f"{name} needs the package {error.name}") from None
    return experiment
