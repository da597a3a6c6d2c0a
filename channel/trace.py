"""A channel that changes with time, as somebody measured or drew it."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path

from channel.profiles import Profile
from thinwire.errors import InvalidRequestError

_COLUMNS = ("time_s", "snr_db", "symbol_rate_hz")
_HEADERS = tuple(",".join(_COLUMNS[:count]) for count in (2, 3))


@dataclass(frozen=True)
class Trace:
    """SNR over time, and the symbol rate (the bandwidth) if it changes too.

    A row holds from its time until the next row's. The period is the last row's time: there the trace starts again, so
    the last row only marks the end and its values are never met. A trace of one row holds for ever.

    Make one with `read`, which checks what it reads.

    Attributes:
        times_s: seconds from the start; the first is 0, and they rise strictly.
        snr_db: average SNR (Es/N0) in dB from each of these times on.
        symbol_rates_hz: channel uses per second, likewise; None where the trace leaves them to the profile.
    """

    times_s: tuple[float, ...]
    snr_db: tuple[float, ...]
    symbol_rates_hz: tuple[float, ...] | None = None

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Read a trace from CSV with the header ``time_s,snr_db`` or ``time_s,snr_db,symbol_rate_hz``.

        Raises:
            InvalidRequestError: the file is missing, unreadable or empty, its header is another, times do not start at
                0 and rise strictly, or a value is no number or outside a `Profile`'s limits; the text names the line.
        """
        try:
            # Excel begins UTF-8 with a mark.
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequestError(f"cannot read the trace {path}: {error}") from error
        expected = " or ".join(_HEADERS)
        if not lines:
            raise InvalidRequestError(f"{path}: expected the header {expected}, got an empty file")
        if lines[0] not in _HEADERS:
            raise InvalidRequestError(f"{path}, line 1: expected the header {expected}, got {lines[0][:80]!r}")
        if len(lines) == 1:
            raise InvalidRequestError(f"{path}, line 2: expected a row of {lines[0]}, got the end of the file")
        width = lines[0].count(",") + 1
        rows: list[list[float]] = []
        for number, line in enumerate(lines[1:], start=2):
            try:
                rows.append(_row(line, width, rows[-1][0] if rows else None))
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{path}, line {number}: {error}") from error
        times_s, snr_db, *rest = (tuple(column) for column in zip(*rows, strict=True))
        return cls(times_s, snr_db, rest[0] if rest else None)

    def write(self, path: Path) -> None:
        """Write the trace as `read` takes it: times to 12 significant digits, SNRs to 0.0001 dB.

        Raises:
            InvalidRequestError: the file cannot be written.
        """
        columns = [[f"{value:.12g}" for value in self.times_s], [f"{value:.4f}" for value in self.snr_db]]
        if self.symbol_rates_hz is not None:
            columns.append([f"{value:.12g}" for value in self.symbol_rates_hz])
        lines = [_HEADERS[len(columns) - 2], *(",".join(row) for row in zip(*columns, strict=True))]
        try:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidRequestError(f"cannot write the trace {path}: {error}") from error

    def at(self, time_s: float) -> tuple[float, float | None]:
        """SNR in dB and symbol rate in Hz (None: not in the trace) at a time of at least 0 seconds.

        They are those of the last row at or before ``time_s`` modulo the period.
        """
        period_s = self.times_s[-1]
        row = bisect_right(self.times_s, time_s % period_s) - 1 if period_s else 0
        return self.snr_db[row], None if self.symbol_rates_hz is None else self.symbol_rates_hz[row]

    def over(self, profile: Profile, time_s: float) -> Profile:
        """A profile with what the trace says at a time in place of its own SNR and symbol rate."""
        snr_db, symbol_rate_hz = self.at(time_s)
        return replace(
            profile,
            snr_db=snr_db,
            symbol_rate_hz=profile.symbol_rate_hz if symbol_rate_hz is None else symbol_rate_hz,
        )


def _row(line: str, width: int, previous_s: float | None) -> list[float]:
    """The numbers of one line.

    Raises:
        InvalidRequestError: they are not as `Trace.read` wants them; the text does not name the line.
    """
    cells = line.split(",")
    if len(cells) != width:
        raise InvalidRequestError(f"expected {width} numbers, got {line[:80]!r}")
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise InvalidRequestError(f"expected {width} numbers, got {line[:80]!r}") from error
    time_s = values[0]
    if previous_s is None and time_s != 0:
        raise InvalidRequestError(f"expected the first time_s to be 0, got {time_s:g}")
    # Written so that NaN fails too.
    if previous_s is not None and not previous_s < time_s < float("inf"):
        raise InvalidRequestError(f"expected a finite time_s above {previous_s:.12g}, got {time_s:.12g}")
    # A profile knows its own limits, and says them.
    Profile(**dict(zip(_COLUMNS[1:width], values[1:], strict=True)))  # type: ignore[arg-type]
    return values
