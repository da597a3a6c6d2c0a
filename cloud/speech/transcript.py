"""What was said in one clip, and when."""

import itertools
import zlib
from collections.abc import Sequence

from cloud.speech.vocabulary import TIMESTAMPS_PER_SECOND, Vocabulary
from cloud.transcriber import Segment


def compression_ratio(text: str) -> float:
    """Bytes of a text over those of it compressed; a text that repeats itself has a high one."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def split(vocabulary: Vocabulary, tokens: Sequence[int], seconds: float) -> tuple[Segment, ...]:
    """Segments by their timestamps, as OpenAI's reference splits what was heard in one window.

    What stands behind the last pair of timestamps is a segment as well, which ends with the clip if nothing says when:
    the reference drops it and hears the clip again from there.

    Args:
        tokens: of text and timestamps, without the end.
        seconds: length of the clip.
    """
    first = vocabulary.first_timestamp
    is_time = [token >= first for token in tokens]
    cuts = [place for place in range(1, len(tokens)) if is_time[place] and is_time[place - 1]]
    edges = [0, *cuts, len(tokens)]
    segments = []
    for begin, end in itertools.pairwise(edges):
        part = tokens[begin:end]
        text = vocabulary.text(part)
        if not text.strip():
            continue
        times = [(token - first) / TIMESTAMPS_PER_SECOND for token in part if token >= first]
        start = times[0] if is_time[begin] else 0.0
        # One timestamp of 0 alone says no end.
        stop = times[-1] if times and (is_time[end - 1] or times[-1] > start) else seconds
        segments.append(Segment(start, max(start, stop), text, tuple(part)))
    return tuple(segments)
