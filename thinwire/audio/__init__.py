"""Sound as a model hears it."""

from thinwire.audio.log_mel import POSITIONS, SAMPLE_RATE, SAMPLES_PER_POSITION, log_mel

__all__ = ["POSITIONS", "SAMPLES_PER_POSITION", "SAMPLE_RATE", "log_mel"]
