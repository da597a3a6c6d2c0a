"""``thinwire stream`` against something that answers like an edge, and then does not."""

import json
import signal
import subprocess
import sys
import threading
from argparse import ArgumentTypeError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.cli.main import main
from deploy.cli.stream import GIVE_UP, options_at, switch
from tests.answers import body_of
from tests.videos import coloured, write_video


class StandIn(ThreadingHTTPServer):
    """Answers so many requests, but for those that the air loses, and hangs up on all others."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.lost = ()
        self.asked = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        (parameters,) = parse_qs(urlsplit(self.path).query)["parameters"]
        with self.server.lock:
            self.server.asked.append(json.loads(parameters))
            number = len(self.server.asked) - 1
            if number >= self.server.answers:
                self.close_connection = True
                return
        problem = {"error": "frame_lost", "detail": "gone"}
        body = json.dumps(problem if number in self.server.lost else body_of()).encode()
        self.send_response(503 if number in self.server.lost else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(name="stand_in")
def stand_in_fixture():
    with StandIn(answers=3) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(name="clip")
def clip_fixture(tmp_path):
    return str(write_video(tmp_path / "clip.mp4", coloured(20)))


def test_a_peer_that_dies_leaves_what_was_answered(capsys, clip, stand_in):
    assert main(["stream", clip, "--url", stand_in.url, "--overlap", "1"]) == 1
    told = capsys.readouterr()
    *lines, summary = told.out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["0", "cat"], ["1", "cat"], ["2", "cat"]]
    assert "p-1" in lines[0]
    assert [line.split()[:2] for line in lines[3:]] == [[str(number), "lost:"] for number in range(3, 2 + GIVE_UP)]
    assert summary.startswith(f"3 frames ({GIVE_UP - 1} lost), ")
    assert "24.0 uses a frame" in summary
    (error,) = [line for line in told.err.splitlines() if line.startswith("thinwire: ")]
    assert error.startswith("thinwire: unavailable: frame 12 (clip.mp4 at 2.40 s): no answer from http://127.0.0.1:")
    assert "parameters=" not in error


def test_a_camera_goes_on_after_frames_that_the_air_loses(capsys, clip, stand_in):
    stand_in.answers, stand_in.lost = 20, {0, 3, *range(5, 14)}
    assert main(["stream", clip, "--url", stand_in.url, "--overlap", "1", "--json"]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(20))
    assert {line["frame"] for line in lines if line.get("error") == "frame_lost"} == stand_in.lost
    assert lines[3]["detail"] == "gone"
    assert (last["summary"]["frames"], last["summary"]["lost"]) == (9, 11)


def test_a_stream_that_loses_all_its_frames_fails(capsys, clip, stand_in):
    stand_in.lost = {0, 1, 2}
    assert main(["stream", clip, "--url", stand_in.url, "--limit", "3"]) == 1
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 3
    assert "thinwire: unavailable: no frame was answered" in told.err


def test_nobody_there_is_one_line(capsys, clip):
    assert main(["stream", clip, "--url", "http://127.0.0.1:9"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "unavailable: frame 0 (clip.mp4 at 0.00 s): no answer from http://127.0.0.1:9" in told.err


def test_a_limit_and_switches_reach_the_edge(capsys, clip, stand_in):
    switches = ["--switch", "2:none", "--switch", "1:9"]
    given = ["--limit", "3", "--overlap", "1", "--json", "--budget-channel-uses", "38", "--snr", "5"]
    assert main(["stream", clip, "--url", stand_in.url, *given, *switches]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines[:-1]] == [0, 1, 2]
    assert lines[0]["picture"] == "clip.mp4 at 0.00 s"
    assert lines[0]["time_to_answer_ms"] > 0
    assert (lines[-1]["summary"]["frames"], lines[-1]["summary"]["channel_uses_mean"]) == (3, 24)
    common = {"top_k": 1, "channel": {"snr_db": 5.0}}
    assert stand_in.asked == [
        common | {"policy": "auto", "budget": {"channel_uses": 38}},
        common | {"policy": "auto", "budget": {"channel_uses": 9}},
        common | {"policy": "none"},
    ]


def test_an_interrupt_ends_with_the_summary(clip, stand_in):
    stand_in.answers = 1000
    command = [sys.executable, "-m", "deploy.cli.main", "stream", clip, "--url", stand_in.url, "--fps", "4"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert first.split()[0] == "0"
    assert "time to answer" in rest.splitlines()[-1]
    assert int(rest.splitlines()[-1].split()[0]) == len(rest.splitlines()) < 20
    assert (process.returncode, errors) == (130, "")


@pytest.mark.parametrize("text", ["5", "5:", ":5", "x:5", "-1:5", "1.5:none"])
def test_what_is_no_switch_is_told(text):
    with pytest.raises(ArgumentTypeError, match="must be FRAME:USES or FRAME:POLICY"):
        switch(text)


def test_a_switch_lasts_until_the_next():
    first = {"channel": None, "policy": "p-1", "budget": 96}
    switches = [switch("7:none"), switch("3:38")]
    found = [options_at(number, first, switches) for number in range(9)]
    assert found[:3] == [first] * 3
    assert found[3:7] == [{"channel": None, "policy": "auto", "budget": 38}] * 4
    assert found[7:] == [{"channel": None, "policy": "none", "budget": None}] * 2
