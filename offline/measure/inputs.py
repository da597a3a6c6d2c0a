"""What enters the device's model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.torch_engine import TorchEngine
from offline.data.utterances import Utterances
from offline.measure.judges import Samples
from thinwire.audio import log_mel
from thinwire.nn.towers.interface import SpeechTower


def inputs_of(samples: Samples, engine: TorchEngine) -> NDArray[Any]:
    """Pixels of images; of utterances their features over all of the model's window, as `TorchEngine.embed` takes both.

    Raises:
        InvalidRequestError: an utterance is longer than that.
    """
    if not isinstance(samples, Utterances):
        return samples.pixels
    tower = engine.tower
    assert isinstance(tower, SpeechTower)
    return np.stack([log_mel(one.audio, tower.mel_bins, tower.patches) for one in samples.utterances])
