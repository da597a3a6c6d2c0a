"""Frames at random, as bytes, to the proxy and straight to the cloud: each is answered or refused, and none harms."""

import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError

from deploy.ports import HOST
from deploy.testbed import LocalTestbed
from tests.e2e.processes import unharmed
from thinwire.bundle import Bundle
from thinwire.frames import pack_symbols
from thinwire.rpc import ERROR_METADATA
from thinwire.v1 import link_pb2

SEED = 20_250_909
UNARY, STREAMS, FRAMES_PER_STREAM = 500, 10, 20
ANSWER_WITHIN_S = 30.0
REFUSALS = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
}
WORDS = {
    "invalid_frame",
    "invalid_request",
    "id_taken",
    "bundle_mismatch",
    "unknown_task",
    "over_budget",
    # For one that asks for an answer within a millisecond.
    "deadline_exceeded",
}


@dataclass(frozen=True)
class Peer:
    """One process that frames are sent to as bytes, and the name of its link."""

    name: str
    infer: Callable[..., Any]
    stream: Callable[..., Any]


@pytest.fixture(name="peer", scope="module", params=["channel", "cloud"])
def peer_fixture(request, testbed: LocalTestbed):
    ports = {"channel": testbed.ports.channel_grpc, "cloud": testbed.ports.cloud_grpc}
    service = "/thinwire.v1.SemanticLink"
    with grpc.insecure_channel(f"{HOST}:{ports[request.param]}") as channel:
        yield Peer(
            request.param,
            channel.unary_unary(f"{service}/Infer", response_deserializer=link_pb2.Result.FromString),
            channel.stream_stream(f"{service}/Stream", response_deserializer=link_pb2.Result.FromString),
        )


def valid_frame(bundle: Bundle, source: random.Random) -> link_pb2.Frame:
    """A frame that every peer answers."""
    tokens, rate = source.randint(1, bundle.patches), source.choice(bundle.codec.rates)
    phases = np.array([source.uniform(0, 2 * math.pi) for _ in range(tokens * rate)])
    return link_pb2.Frame(
        link_id="fuzz",
        request_id=f"{source.getrandbits(128):032x}",
        task=bundle.task,
        bundle_digest=bundle.digest,
        policy_id="p-0123456789",
        policy_digest="0" * 64,
        tokens=tokens,
        symbols_per_token=rate,
        symbols=pack_symbols(0.99 * np.exp(1j * phases)),
        want_logits=True,
    )


NUMBERS = (0, 1, 2, 7, 255, 256, 4096, 4097, 2**16, 2**31, 2**32 - 1)
# As a float of 32 bits, too.
REALS = (0.0, -0.0, 1e-320, 1.0, -1.0, 60.0, -31.0, 1e38, 3e38, math.inf, -math.inf, math.nan)
TEXTS = ("", "x", "fuzz", "\0", "ü" * 40, "x" * 100_000, "../..", "f" * 32, "F" * 32)


def change_a_field(frame: link_pb2.Frame, other: link_pb2.Frame, source: random.Random) -> None:
    """Give a frame an odd value, or another frame's."""
    descriptor = source.choice(list(link_pb2.Frame.DESCRIPTOR.fields))
    name = descriptor.name
    if name == "symbols":
        at, value = 4 * source.randrange(8), struct.pack("<f", source.choice(REALS))
        odd = frame.symbols[:at] + value + frame.symbols[at + 4 :]
        frame.symbols = source.choice((odd, frame.symbols[:-1], other.symbols, b""))
    elif name == "channel":
        frame.channel.model = source.choice(("awgn", "rayleigh", "erasure:share=0.5", "jakes:doppler=9", "pigeon"))
        frame.channel.csi = source.choice(("", "none", "pilots:count=2,every=3", "pilots:count=-1", "pigeon"))
        frame.channel.snr_db = source.choice(REALS)
        frame.channel.seed = source.choice((0, 2**64 - 1))
    elif name == "reception":
        frame.reception.gain_real = source.choice(REALS)
        frame.reception.noise_variance = source.choice(REALS)
        count = source.choice((0, 1, len(frame.symbols) // 8))
        frame.reception.gains = struct.pack("<f", source.choice(REALS)) * 2 * count
        frame.reception.noise_variances = struct.pack("<f", source.choice(REALS)) * count
        frame.reception.pilot_uses = source.choice((0, 2**32 - 1))
    elif name == "generation":
        frame.generation.max_new_tokens = source.choice(NUMBERS)
        frame.generation.temperature = source.choice(REALS)
        frame.generation.top_p = source.choice(REALS)
        frame.generation.seed = source.choice((0, 2**64 - 1))
    elif name == "transcription":
        asked = frame.transcription
        asked.seconds = source.choice(REALS)
        asked.language, asked.task, asked.prompt = (source.choice(TEXTS) for _ in range(3))
        asked.beams, asked.max_new_tokens = source.choice(NUMBERS), source.choice(NUMBERS)
        asked.temperatures.extend(source.choice(REALS) for _ in range(source.choice((0, 1, 17))))
    elif name == "side_information":
        frame.side_information = source.randbytes(source.randrange(4))
    elif isinstance(getattr(frame, name), str):
        setattr(frame, name, source.choice((*TEXTS, getattr(other, name))))
    else:
        value = source.choice(NUMBERS)
        setattr(frame, name, bool(value % 2) if name.startswith("want_") else value)


def damage(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Change the bytes of a frame, the structure of the message in particular."""
    at, span = source.randrange(len(data)), source.randrange(1, 9)
    kind = source.randrange(9)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + other[source.randrange(len(other)) :]
    if kind == 3:
        return data[:at] + source.randbytes(span) + data[at + span :]
    if kind == 4:
        return data + other  # Every field twice: the last one counts, and messages merge.
    field = source.randrange(1, 20) << 3
    if kind == 5:
        # A length of up to 2^63.
        return data + bytes([field & 127 | 2]) + b"\xff" * source.randrange(1, 9) + b"\x7f"
    if kind == 6:
        # A number of more bits than its field has.
        return data + b"\x48" + b"\xff" * 9 + b"\x01"
    if kind == 7:
        # A field that there is not, as groups within groups.
        depth = source.choice((1, 50, 5000))
        return data + b"\xa3\x06" * depth + source.choice((b"", b"\xa4\x06" * depth))
    return data + bytes([source.choice((10, 18, 34, 42, 50)), 2, 0xC3, 0x28])  # A text that is not UTF-8.


def hostile(bundle: Bundle, source: random.Random) -> bytes:
    """The bytes of a frame with something wrong, most of the time."""
    frame, other = valid_frame(bundle, source), valid_frame(bundle, source)
    for _ in range(source.randrange(3)):
        change_a_field(frame, other, source)
    data = frame.SerializeToString()
    for _ in range(source.choice((0, 0, 1, 2))):
        data = damage(data, other.SerializeToString(), source) or b"\0"
    return data


def parses(data: bytes) -> bool:
    """Whether the bytes are a frame to protobuf; what is not never reaches our code."""
    try:
        link_pb2.Frame.FromString(data)
    except DecodeError:
        return False
    return True


def outcome(peer: Peer, data: bytes) -> str:
    """Send a frame; check that the answer is a result, a refusal of ours, or gRPC's own that it cannot be read."""
    try:
        result = peer.infer(data, timeout=ANSWER_WITHIN_S)
    except grpc.RpcError as raised:
        error = raised
    else:
        assert result.outputs
        return "answered"
    word = dict(error.trailing_metadata() or ()).get(ERROR_METADATA)
    if not parses(data):
        # By grpc.aio, which calls whatever a parser raises unknown.
        assert (error.code().name, word) == ("UNKNOWN", None), error
        assert "DecodeError" in error.details(), error
        return "unreadable"
    assert error.code().name in REFUSALS, error
    assert word in WORDS, error
    return "refused"


def logits(peer: Peer, frame: link_pb2.Frame) -> list[float]:
    return list(peer.infer(frame.SerializeToString(), timeout=ANSWER_WITHIN_S).logits)


def test_single_frames(peer, testbed, shipped):
    source = random.Random(f"{SEED} {peer.name}")
    witness = valid_frame(shipped, source)
    # The cloud hears of the proxy's frames, too.
    witness.link_id = peer.name
    before = logits(peer, witness)
    counts = {"answered": 0, "refused": 0, "unreadable": 0}
    with unharmed(testbed):
        for _ in range(UNARY):
            counts[outcome(peer, hostile(shipped, source))] += 1
    print(counts)
    # Otherwise they would try one thing only.
    assert min(counts.values()) > UNARY / 20
    assert logits(peer, witness) == before


def test_frames_in_streams(peer, testbed, shipped):
    source = random.Random(f"{SEED + 1} {peer.name}")
    witness = valid_frame(shipped, source)
    # The cloud hears of the proxy's frames, too.
    witness.link_id = peer.name
    before = logits(peer, witness)
    with unharmed(testbed):
        for _ in range(STREAMS):
            frames = [hostile(shipped, source) for _ in range(FRAMES_PER_STREAM)]
            readable = [frame for frame in frames if parses(frame)]
            results = list(peer.stream(iter(readable), timeout=ANSWER_WITHIN_S))
            assert len(results) == len(readable)
            for result in results:
                assert result.outputs or result.problem.code in WORDS, result
    assert logits(peer, witness) == before


def test_a_frame_that_cannot_be_read_ends_its_stream_and_no_other(peer, testbed, shipped):
    source = random.Random(f"{SEED + 2} {peer.name}")
    frame = valid_frame(shipped, source)
    frame.link_id = peer.name
    with unharmed(testbed):
        with pytest.raises(grpc.RpcError) as raised:
            list(peer.stream(iter([frame.SerializeToString(), b"\xff"]), timeout=ANSWER_WITHIN_S))
        assert dict(raised.value.trailing_metadata())[ERROR_METADATA] == "invalid_frame", raised.value
        frame.request_id = "0" * 32
        assert next(iter(peer.stream(iter([frame.SerializeToString()]), timeout=ANSWER_WITHIN_S))).outputs


MALFORMED = {
    "length": {"symbols": b"1234"},
    "not finite": {"symbols": pack_symbols(np.full(8, np.nan))},
    "power": {"symbols": pack_symbols(np.full(8, 1.5))},
    "another bundle": {"bundle_digest": "0" * 64},
    "another task": {"task": "vqa"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_bad_frame_is_refused_through_the_proxy_and_the_next_works(testbed, shipped, name):
    frame = valid_frame(shipped, random.Random(SEED + 3))
    frame.tokens, frame.symbols_per_token = 4, 2
    frame.symbols = pack_symbols(np.full(8, 0.5 + 0.5j))
    good = frame.SerializeToString()
    for field, value in MALFORMED[name].items():
        setattr(frame, field, value)
    with grpc.insecure_channel(f"{HOST}:{testbed.ports.channel_grpc}") as channel:
        infer = channel.unary_unary("/thinwire.v1.SemanticLink/Infer", response_deserializer=link_pb2.Result.FromString)
        assert outcome(Peer("channel", infer, infer), frame.SerializeToString()) == "refused"
        assert outcome(Peer("channel", infer, infer), good) == "answered"
