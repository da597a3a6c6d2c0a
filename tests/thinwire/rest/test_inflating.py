"""Compressed bodies: what comes out, in what pieces, and where it ends."""

import gzip
import random
import zlib

import pytest

from thinwire.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedEncodingError
from thinwire.rest.inflating import MAX_MEMBERS, PIECE_BYTES, Inflater, coding_of

NOISE = random.Random(0).randbytes(200_000)
TEXT = b"what is in the image? " * 20_000


def raw(content, level=6):
    deflater = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


COMPRESSED = {
    "gzip": ("gzip", gzip.compress),
    "gzip, as it is": ("gzip", lambda content: gzip.compress(content, 0)),
    "gzip with a name": (
        "gzip",
        lambda content: b"\x1f\x8b\x08\x08" + gzip.compress(content)[4:10] + b"a.json\0" + gzip.compress(content)[10:],
    ),
    "gzip in members": (
        "gzip",
        lambda content: gzip.compress(content[:7]) + gzip.compress(b"") + gzip.compress(content[7:]),
    ),
    "zlib": ("deflate", zlib.compress),
    "zlib, best": ("deflate", lambda content: zlib.compress(content, 9)),
    "zlib, a small window": ("deflate", lambda content: zlib.compress(content, wbits=9)),
    "raw": ("deflate", raw),
    "raw, as it is": ("deflate", lambda content: raw(content, 0)),
}


def inflate(coding, chunks, limit=10**6):
    inflater = Inflater(coding, limit)
    pieces = [piece for chunk in chunks for piece in inflater.feed(chunk)]
    inflater.finish()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


def cut(content, size):
    return [content[at : at + size] for at in range(0, len(content), size)]


@pytest.mark.parametrize(
    "content", [b"", b"{}", NOISE, TEXT, b"\0" * 900_000], ids=["empty", "short", "noise", "text", "0"]
)
@pytest.mark.parametrize("name", COMPRESSED)
def test_what_was_compressed_comes_out(name, content):
    coding, compress = COMPRESSED[name]
    compressed = compress(content)
    assert inflate(coding, [compressed]) == content
    assert inflate(coding, [*cut(compressed, 1000), b""]) == content
    if len(compressed) < 5000:
        assert inflate(coding, cut(compressed, 1)) == content


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_cut_is_noticed(name):
    coding, compress = COMPRESSED[name]
    compressed = compress(b"some words of text, and words of text")
    # Between two members a body may end.
    ends = (
        {0}
        if name != "gzip in members"
        else {0, len(gzip.compress(b"some wo")), len(gzip.compress(b"some wo") + gzip.compress(b""))}
    )
    for length in range(len(compressed)):
        if length in ends - {0}:
            continue
        with pytest.raises(InvalidRequestError, match=f"the {coding} of the body is cut short"):
            inflate(coding, [compressed[:length]])


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_limit_counts_what_comes_out(name):
    coding, compress = COMPRESSED[name]
    assert len(inflate(coding, [compress(TEXT)], len(TEXT))) == len(TEXT)
    with pytest.raises(PayloadTooLargeError, match=f"over {len(TEXT) - 1} bytes once it is inflated"):
        inflate(coding, [compress(TEXT)], len(TEXT) - 1)


def test_a_bomb_is_left_as_soon_as_it_is_known():
    bomb = gzip.compress(b"\0" * 10**7)
    taken = []
    with pytest.raises(PayloadTooLargeError):
        taken.extend(map(len, Inflater("gzip", 10**6).feed(bomb)))
    assert sum(taken) <= 10**6


CORRUPT = {
    "no gzip": ("gzip", b'{"inputs": ""}'),
    "zlib for gzip": ("gzip", zlib.compress(TEXT)),
    "raw for gzip": ("gzip", raw(TEXT)),
    "gzip for deflate": ("deflate", gzip.compress(TEXT)),
    "no deflate": ("deflate", b'{"inputs": ""}'),
    "a bit": ("gzip", gzip.compress(TEXT)[:50] + b"\xff" + gzip.compress(TEXT)[51:]),
    "another checksum": ("gzip", gzip.compress(TEXT)[:-8] + bytes(4) + gzip.compress(TEXT)[-4:]),
    "another length": ("gzip", gzip.compress(TEXT)[:-4] + bytes(4)),
    "another checksum of zlib": ("deflate", zlib.compress(TEXT)[:-4] + bytes(4)),
    "garbage behind": ("gzip", gzip.compress(TEXT) + b"garbage"),
    "zeros behind": ("gzip", gzip.compress(TEXT) + bytes(512)),
    "a byte behind": ("gzip", gzip.compress(TEXT) + b"\n"),
    "garbage behind zlib": ("deflate", zlib.compress(TEXT) + b"garbage"),
    "another one behind zlib": ("deflate", zlib.compress(TEXT) + zlib.compress(TEXT)),
    "too many members": ("gzip", gzip.compress(b"") * (MAX_MEMBERS + 1)),
    "a dictionary": ("deflate", b"\x78\xbb" + bytes(20)),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPT)
def test_what_is_corrupt_is_refused(name):
    coding, compressed = CORRUPT[name]
    for chunks in ([compressed], cut(compressed, 100)):
        with pytest.raises(InvalidRequestError, match=coding):
            inflate(coding, chunks)


def test_as_many_members_as_block_gzip_has():
    assert inflate("gzip", [gzip.compress(b"a") * MAX_MEMBERS]) == b"a" * MAX_MEMBERS


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], ""),
        ([""], ""),
        (["identity"], ""),
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["gzip, identity"], "gzip"),
        (["identity ,\tGzip ,"], "gzip"),
        (["identity", "deflate"], "deflate"),
    ],
)
def test_codings(values, coding):
    assert coding_of(values) == coding


@pytest.mark.parametrize(
    "values",
    [["br"], ["zstd"], ["utf-8"], ["gzip, br"], ["gzip, gzip"], ["gzip", "deflate"], ["x-deflate"], ["gzip;q=1"]],
)
def test_other_codings(values):
    with pytest.raises(UnsupportedEncodingError, match="expected gzip, deflate or identity, got ") as caught:
        coding_of(values)
    assert repr(", ".join(values)) in str(caught.value)
