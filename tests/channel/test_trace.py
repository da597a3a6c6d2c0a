"""A trace says what its file says, step by step and over and over."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from channel.profiles import Profile
from channel.trace import Trace
from thinwire.errors import InvalidRequestError

TRACE = Trace((0.0, 0.5, 2.0, 4.0), (10.0, -3.0, 7.5, 0.0), (1e4, 2e4, 500.0, 1.0))


def test_a_file_is_read_with_and_without_symbol_rates(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time_s,snr_db\n0,-30\n0.25,60\n1e1,3.5\n")
    assert Trace.read(path) == Trace((0.0, 0.25, 10.0), (-30.0, 60.0, 3.5))
    path.write_text("time_s,snr_db,symbol_rate_hz\n0,1,0.001\n2,3,1e6")
    assert Trace.read(path) == Trace((0.0, 2.0), (1.0, 3.0), (0.001, 1e6))


def test_a_file_of_excel_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s,snr_db\r\n0,1\r\n2,3\r\n")
    assert Trace.read(path) == Trace((0.0, 2.0), (1.0, 3.0))


@pytest.mark.parametrize("trace", [TRACE, Trace((0.0, 0.1), (1.25, -0.5))])
def test_what_is_written_is_read(tmp_path: Path, trace: Trace) -> None:
    trace.write(tmp_path / "trace.csv")
    assert Trace.read(tmp_path / "trace.csv") == trace


BAD_FILES = {
    "empty": ("", "expected the header time_s,snr_db or time_s,snr_db,symbol_rate_hz, got an empty file"),
    "another header": ("time,snr\n0,1\n", "line 1: expected the header time_s,snr_db or .*, got 'time,snr'"),
    "no header": ("0,1\n1,2\n", "line 1: expected the header .*, got '0,1'"),
    "no rows": ("time_s,snr_db\n", "line 2: expected a row of time_s,snr_db, got the end of the file"),
    "too few": ("time_s,snr_db,symbol_rate_hz\n0,1,2\n1,2\n", "line 3: expected 3 numbers, got '1,2'"),
    "too many": ("time_s,snr_db\n0,1,2\n", "line 2: expected 2 numbers, got '0,1,2'"),
    "blank line": ("time_s,snr_db\n0,1\n\n1,2\n", "line 3: expected 2 numbers, got ''"),
    "no number": ("time_s,snr_db\n0,1\n1,ten\n", "line 3: expected 2 numbers, got '1,ten'"),
    "late start": ("time_s,snr_db\n0.5,1\n", "line 2: expected the first time_s to be 0, got 0.5"),
    "first time nan": ("time_s,snr_db\nnan,1\n", "line 2: expected the first time_s to be 0, got nan"),
    "same time": ("time_s,snr_db\n0,1\n1,1\n1,2\n", "line 4: expected a finite time_s above 1, got 1"),
    "time backwards": ("time_s,snr_db\n0,1\n2,1\n1,2\n", "line 4: expected a finite time_s above 2, got 1"),
    "time nan": ("time_s,snr_db\n0,1\nnan,2\n", "line 3: expected a finite time_s above 0, got nan"),
    "time infinite": ("time_s,snr_db\n0,1\ninf,2\n", "line 3: expected a finite time_s above 0, got inf"),
    "snr too low": ("time_s,snr_db\n0,-30.1\n", "line 2: snr_db must be from -30 to 60, got -30.1"),
    "snr too high": ("time_s,snr_db\n0,1\n1,60.1\n", "line 3: snr_db must be from -30 to 60, got 60.1"),
    "snr nan": ("time_s,snr_db\n0,nan\n", "line 2: snr_db must be from -30 to 60, got nan"),
    "rate of zero": (
        "time_s,snr_db,symbol_rate_hz\n0,1,0\n",
        "line 2: symbol_rate_hz must be .* at least 0.001, got 0",
    ),
    "rate infinite": ("time_s,snr_db,symbol_rate_hz\n0,1,inf\n", "line 2: symbol_rate_hz must be finite .*, got inf"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=f"^{re.escape(str(path))}(, |: ){message}"):
        Trace.read(path)


def test_a_file_that_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.csv", tmp_path, tmp_path / "binary"):
        with pytest.raises(InvalidRequestError, match=f"cannot read the trace {path}"):
            Trace.read(path)
    with pytest.raises(InvalidRequestError, match="cannot write the trace"):
        TRACE.write(tmp_path / "missing" / "trace.csv")


def test_lookup_agrees_with_a_loop_that_walks_the_rows() -> None:
    rng = np.random.default_rng(1)
    # Multiples of 1/64, so that the loop's subtractions are exact; some times fall on rows.
    times_s = (0.0, *(np.cumsum(rng.integers(1, 9, 20)) / 64).tolist())
    trace = Trace(times_s, tuple(range(21)), tuple(float(index + 1) for index in range(21)))
    for time_s in (np.arange(int(times_s[-1] * 64) * 3 + 5) / 64).tolist():
        phase = time_s
        while phase >= times_s[-1]:
            phase -= times_s[-1]
        row = 0
        for index, start_s in enumerate(times_s):
            if start_s <= phase:
                row = index
        assert trace.at(time_s) == (row, row + 1.0)


def test_the_last_row_marks_the_end_and_starts_the_trace_again() -> None:
    met = [TRACE.at(time_s)[0] for time_s in (0.0, 0.49, 0.5, 1.99, 2.0, 3.99, 4.0, 4.5, 7.99, 8.0)]
    assert met == [10.0, 10.0, -3.0, -3.0, 7.5, 7.5, 10.0, -3.0, 7.5, 10.0]


def test_a_trace_of_one_row_holds_for_ever() -> None:
    trace = Trace((0.0,), (5.0,))
    assert trace.at(0.0) == trace.at(1e9) == (5.0, None)


def test_a_profile_keeps_all_that_the_trace_does_not_say() -> None:
    profile = Profile("rayleigh", 1.0, seed=5, symbol_rate_hz=300.0, inject_airtime=True)
    assert TRACE.over(profile, 2.5) == replace(profile, snr_db=7.5, symbol_rate_hz=500.0)
    assert Trace((0.0,), (-4.0,)).over(profile, 2.5) == replace(profile, snr_db=-4.0)
