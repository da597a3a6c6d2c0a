"""Speech through three processes: what is written down is what the parts make of the clip, and so are the accounts."""

import json
from dataclasses import dataclass, replace

import httpx
import pytest

from channel.profiles import Profile
from channel.realisation import keyed_generator
from channel.transmission import carry
from cloud.torch_transcriber import TorchTranscriber
from cloud.transcriber import Utterance
from deploy.cli.main import main
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from edge.onnx_engine import OnnxEngine
from tests.cloud.speech_server import clip, heard
from tests.e2e.processes import unharmed
from tests.exposition import outcomes, samples
from tests.sounds import BROKEN
from tests.speech import POSITIONS
from tests.speech_bundle import MERGING, write_whole_speech_bundle
from thinwire import Client, audio
from thinwire.bundle import Bundle
from thinwire.equalise import receive
from thinwire.transcription import TranscriptionOptions

ID = "00112233445566778899aabbccddee01"
SEED, SNR_DB, WINDOW = 7, 10.0, POSITIONS * audio.SAMPLES_PER_POSITION
# Two windows, the last of half a second.
SAMPLES = WINDOW + 8_000
URL = "/v1/audio/transcriptions"


@dataclass
class Speech:
    """The processes, the bundle that they serve, and the same bundle here."""

    testbed: LocalTestbed
    bundle: Bundle
    engine: OnnxEngine
    transcriber: TorchTranscriber

    def post(self, url=None, headers=None, data=None, **fields):
        """A form; by default at the edge, of one try."""
        fields = {"temperature": "0.5", "channel[snr_db]": SNR_DB, "channel[seed]": SEED} | fields
        parts = [("file", ("clip.wav", clip(SAMPLES) if data is None else data))]
        parts += [(name, (None, str(value))) for name, value in fields.items() if value is not None]
        return httpx.post((url or self.testbed.edge_url) + URL, files=parts, headers=headers, timeout=60)

    def made(self):
        """What the device makes of each window."""
        windows = audio.windows(heard(SAMPLES), WINDOW)
        return [self.engine.encode(audio.log_mel(one.audio, 8, POSITIONS), MERGING, SNR_DB) for one in windows]

    def text(self, **options):
        """What the cloud makes of it behind the noise of the link."""
        parts = []
        for number, encoded in enumerate(self.made()):
            generator = keyed_generator(SEED, "edge", ID, number)
            arrival = carry(encoded.symbols, Profile("awgn", SNR_DB, seed=SEED), generator)
            tokens = receive(arrival.symbols, arrival.gain, arrival.noise_variance)
            (found,) = self.transcriber.hear_frames([tokens])
            asked = Utterance(
                replace(found, seconds=min(WINDOW, SAMPLES - number * WINDOW) / audio.SAMPLE_RATE),
                TranscriptionOptions(temperatures=(0.0,), **options),
            )
            (transcript,) = self.transcriber.transcribe([asked])
            parts.append((float(number), transcript.to_message()))
        return audio.joined(parts, SAMPLES / audio.SAMPLE_RATE).text


@pytest.fixture(name="speech", scope="module")
def speech_fixture(tmp_path_factory):
    bundle = write_whole_speech_bundle(tmp_path_factory.mktemp("bundles") / "speech")
    logs = tmp_path_factory.mktemp("logs")
    with LocalTestbed([str(bundle.folder)], Ports.free(), log_folder=logs) as testbed:
        yield Speech(testbed, bundle, OnnxEngine.load(bundle), TorchTranscriber.load(bundle))


def told(response):
    """The text at the end of a stream."""
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert events[-1]["type"] == "transcript.text.done", response.text
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"]
    return events[-1]["text"]


def test_it_is_written_down_as_the_parts_do_and_again_from_what_is_held(speech):
    # A stream is decoded once, greedily: nothing of it is drawn.
    asked = {"temperature": None, "stream": "true"}
    response = speech.post(headers={"idempotency-key": ID}, **asked)
    text = speech.text()
    assert len(text) > 20
    assert told(response) == text
    frames = f"http://127.0.0.1:{speech.testbed.ports.channel_metrics}/metrics"
    before = outcomes(httpx.get(frames).text, "thinwire_frames_total")
    for prompt in ("", "one two two"):
        again = {"id": ID, "stream": True, "prompt": prompt}
        found = told(httpx.post(speech.testbed.cloud_url + URL, json=again, timeout=60))
        assert found == speech.text(prompt=prompt)
    assert outcomes(httpx.get(frames).text, "thinwire_frames_total") == before


def test_the_accounts_are_those_of_the_frames(speech):
    metrics = f"http://127.0.0.1:{speech.testbed.ports.channel_metrics}/metrics"
    before = samples(httpx.get(metrics).text)
    content = speech.post(response_format="verbose_json", model="whisper-1").json()
    made = speech.made()
    assert 1 < len(made[0].sizes) < POSITIONS
    links = [window["link"] for window in content["windows"]]
    assert [link["tokens"] for link in links] == [len(one.sizes) for one in made]
    assert [link["channel_uses"] for link in links] == [one.symbols.size for one in made]
    assert [window["cost"]["edge_gmacs"] for window in content["windows"]] == [one.edge_gmacs for one in made]
    assert content["link"]["channel_uses"] == sum(one.symbols.size for one in made)
    assert content["policy"]["id"] == MERGING.id
    after = samples(httpx.get(metrics).text)
    counted = {name: after[name] - before.get(name, 0) for name in after if "channel_uses" in name}
    assert content["link"]["channel_uses"] in counted.values(), counted
    capped = speech.post(response_format="verbose_json", budget='{"channel_uses": 20}', policy=MERGING.id).json()
    assert [window["link"]["channel_uses"] for window in capped["windows"]] == [20] * 2
    assert capped["policy"]["capped"]


def test_all_forms_at_both_ends(speech):
    plain = {"channel[snr_db]": None, "channel[seed]": None}
    for url, fields in ((speech.testbed.edge_url, {}), (speech.testbed.cloud_url, plain)):
        found = {
            form: speech.post(url, data=clip(8_000), response_format=form, **fields)
            for form in ("json", "text", "verbose_json", "srt", "vtt")
        }
        assert {response.status_code for response in found.values()} == {200}
        assert found["json"].json().keys() == {"text", "usage"}
        assert found["verbose_json"].json()["duration"] == 0.5
        assert found["vtt"].text.startswith("WEBVTT\n\n")
        assert " --> " in found["srt"].text
        assert found["text"].text.endswith("\n")
        (model,) = httpx.get(f"{url}/v1/models").json()["models"]
        assert (model["name"], model["task"]) == (speech.bundle.name, "transcription")
        assert httpx.get(f"{url}/health/ready").status_code == 200


def test_the_command_and_the_client(speech, tmp_path, capsys):
    path = tmp_path / "clip.wav"
    path.write_bytes(clip(SAMPLES))
    where = ["--url", speech.testbed.edge_url]
    link = ["--snr", "10", "--seed", "7", "--policy", "none"]
    assert main(["transcribe", str(path), *where, *link, "--temperature", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["link"]["tokens"] == 2 * POSITIONS
    assert main(["stream", str(path), *where, "--json"]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["end"], line["final"]) for line in lines] == [(1.0, True), (1.5, False), (1.5, True)]
    assert last["summary"]["channel_uses"] == sum(line["link"]["channel_uses"] for line in lines[:-1])
    with Client(speech.testbed.edge_url, speech.testbed.cloud_url) as client:
        first = client.transcribe(path, policy=MERGING.id, budget=20, temperature=0.5)
        again = client.transcribe(first, prompt="one", temperature=0.5)
    assert (again.id, again.link, again.duration) == (first.id, None, first.duration)


def test_what_is_no_clip_leaves_the_processes_as_they_were(speech):
    # As much as a clip may take, which stays with the process.
    speech.post(data=BROKEN["10 h that nothing tells"][0])
    with unharmed(speech.testbed):
        for name in ("empty", "text", "truncated", "10 h that nothing tells"):
            data, reason = BROKEN[name]
            response = speech.post(data=data)
            assert (response.status_code, reason in response.json()["error"]["message"]) == (422, True)
    assert speech.post().status_code == 200
