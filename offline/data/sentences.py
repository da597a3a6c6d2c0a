"""English sentences that a synthesiser reads, in many voices: speech where no recordings are at hand."""

import ctypes
import re
from functools import cache
from importlib.util import find_spec
from math import gcd
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from thinwire.audio import SAMPLE_RATE
from thinwire.errors import UnavailableError

# eSpeak NG's accents, and what changes a voice of any of them; it is in the phonetic tradition, so they differ a lot.
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
VARIANTS = ("", *(f"+m{number}" for number in range(1, 8)), *(f"+f{number}" for number in range(1, 6)))
WORDS_PER_MINUTE = (110, 190)
# Of a scale from 0 to 100.
PITCH = (30, 70)
WORDS = re.compile(r"[A-Za-z][a-z']+(?:,? [a-z']+){4,15}")
# eSpeak NG's own numbers (speak_lib.h, version 1.52).
SYNCHRONOUS, RATE, PITCH_OF = 2, 1, 3
CHARACTERS, UTF8 = 1, 1


def check_synthesiser() -> None:
    """Check that sentences can be read.

    Raises:
        UnavailableError: the package is not installed.
    """
    if find_spec("espeakng_loader") is None:
        raise UnavailableError("clips.read: sentences need eSpeak NG: pip install 'thinwire[offline]'")


def random_sentence(generator: np.random.Generator) -> NDArray[np.float32]:
    """Some words of Python's own documentation in a random voice.

    The library keeps a little of what it said before: the same words may be a sample longer another time.

    Args:
        generator: of the words, the voice, its speed and pitch.

    Returns:
        samples at 16 kHz, from -1 to 1.

    Raises:
        UnavailableError: the synthesiser is not installed.
    """
    text = _sentences()[generator.integers(len(_sentences()))]
    voice = ACCENTS[generator.integers(len(ACCENTS))] + VARIANTS[generator.integers(len(VARIANTS))]
    return _synthesiser().read(text, voice, int(generator.integers(*WORDS_PER_MINUTE)), int(generator.integers(*PITCH)))


@cache
def _sentences() -> tuple[str, ...]:
    prose = " ".join(" ".join(topics[name].split()) for name in sorted(topics))
    return tuple(sorted(set(WORDS.findall(prose))))


class _Synthesiser:
    """The library, whose state is one for the process."""

    def __init__(self) -> None:
        check_synthesiser()
        import espeakng_loader

        self._library: Any = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self._rate = int(self._library.espeak_Initialize(SYNCHRONOUS, 0, data, 0))
        if self._rate <= 0:
            raise UnavailableError("clips.read: eSpeak NG does not start")
        self._parts: list[NDArray[np.int16]] = []
        form = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        # The library keeps no reference to it.
        self._hear = form(self._heard)
        self._library.espeak_SetSynthCallback(self._hear)

    def _heard(self, samples: Any, count: int, _: Any) -> int:
        if count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def read(self, text: str, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
        self._parts.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH_OF, pitch, 0)
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, CHARACTERS, 0, UTF8, None, None)
        samples = np.concatenate(self._parts).astype(np.float32) / 2**15
        shared = gcd(self._rate, SAMPLE_RATE)
        heard: NDArray[np.float32] = resample_poly(samples, SAMPLE_RATE // shared, self._rate // shared)
        return heard.astype(np.float32)


@cache
def _synthesiser() -> _Synthesiser:
    return _Synthesiser()
