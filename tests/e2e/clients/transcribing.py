"""Runs OpenAI's client for Python on audio, in an environment that has it and nothing of ours.

Standard input is JSON with ``url`` and ``file``; standard output is JSON, for each case what the client shows.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from python_clients import LIMITS, shown, stay_here

COMMON: dict[str, Any] = {"model": "whisper-1", "temperature": 0.5, "language": "en", "prompt": "one"}
OURS = {"policy": "none", "budget": {"channel_uses": 30}, "channel": {"snr_db": 10, "seed": 7}}


def whole(client: openai.OpenAI, file: Path) -> Any:
    asked = {**COMMON, "response_format": "verbose_json", "timestamp_granularities": ["segment"], "extra_body": OURS}
    answer = client.audio.transcriptions.create(file=file, **asked)
    extra = answer.model_extra or {}
    segments = [(one.start, one.end, one.text) for one in answer.segments or []]
    return {
        "kind": type(answer).__name__,
        "text": answer.text,
        "language": answer.language,
        "duration": answer.duration,
        "segments": segments,
        "uses": extra["link"]["channel_uses"],
    }


def short(client: openai.OpenAI, file: Path) -> Any:
    answer = client.audio.transcriptions.create(file=file, **COMMON)
    return {"kind": type(answer).__name__, "text": answer.text, "seconds": answer.usage.seconds}


def text(client: openai.OpenAI, file: Path) -> Any:
    return client.audio.transcriptions.create(file=file, **COMMON, response_format="text")


def subtitles(client: openai.OpenAI, file: Path) -> Any:
    return [client.audio.transcriptions.create(file=file, **COMMON, response_format=form) for form in ("srt", "vtt")]


def stream(client: openai.OpenAI, file: Path) -> Any:
    *deltas, done = client.audio.transcriptions.create(file=file, **COMMON, stream=True)
    return {"kinds": [type(one).__name__ for one in (*deltas, done)], "deltas": [one.delta for one in deltas]} | {
        "text": done.text
    }


def wrong_file(client: openai.OpenAI, file: Path) -> Any:
    return client.audio.transcriptions.create(file=("clip.wav", b"no audio"), **COMMON)


def wrong_budget(client: openai.OpenAI, file: Path) -> Any:
    return client.audio.transcriptions.create(file=file, **COMMON, extra_body={"budget": {"channel_uses": 1}})


CASES: tuple[Callable[[openai.OpenAI, Path], Any], ...] = (
    whole,
    short,
    text,
    subtitles,
    stream,
    wrong_file,
    wrong_budget,
)


def main() -> None:
    sys.addaudithook(stay_here)
    asked = json.load(sys.stdin)
    client = openai.OpenAI(base_url=asked["url"], api_key="none", **LIMITS)
    results: dict[str, Any] = {}
    for case in CASES:
        try:
            results[case.__name__] = {"answer": case(client, Path(asked["file"]))}
        except Exception as error:
            results[case.__name__] = {"error": shown(error)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
