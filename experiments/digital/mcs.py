"""Modulation and coding schemes: how many bits a frame of n channel uses carries, and how."""

from dataclasses import dataclass

from experiments.digital.crc import crc_bits
from thinwire.errors import InvalidRequestError

# Up to so many bits a frame is one word of a block code, and has no CRC; above, it is one of the LDPC code.
MOST_BLOCK_BITS = 11
# Bits per symbol and code rate times 1,024. The first six are the lowest of TS 38.214, table 5.1.3.1-3 (low spectral
# efficiency), the others all of table 5.1.3.1-2 (up to 256-QAM).
TABLE = (
    (2, 30), (2, 40), (2, 50), (2, 64), (2, 78), (2, 99),
    (2, 120), (2, 193), (2, 308), (2, 449), (2, 602),
    (4, 378), (4, 434), (4, 490), (4, 553), (4, 616), (4, 658),
    (6, 466), (6, 517), (6, 567), (6, 616), (6, 666), (6, 719), (6, 772), (6, 822), (6, 873),
    (8, 682.5), (8, 711), (8, 754), (8, 797), (8, 841), (8, 885), (8, 916.5), (8, 948),
)  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """How a frame is sent.

    Attributes:
        uses: channel uses, n.
        order: bits per symbol of the QAM: 2, 4, 6 or 8.
        bits: that the code carries, CRC included.

    Raises:
        InvalidRequestError: there is no such modulation, or the code has no such rate.
    """

    uses: int
    order: int
    bits: int

    def __post_init__(self) -> None:
        if self.order not in (2, 4, 6, 8):
            raise InvalidRequestError(f"a symbol carries 2, 4, 6 or 8 bits, got {self.order}")
        if self.uses < 16 or not 3 <= self.bits <= self.coded * 948 / 1024:
            raise InvalidRequestError(
                f"{self.uses} channel uses (at least 16) of {self.order} bits carry 3 to "
                f"{self.coded * 948 // 1024} bits, got {self.bits}"
            )

    @property
    def coded(self) -> int:
        """Coded bits: all that the symbols hold."""
        return self.uses * self.order

    @property
    def has_crc(self) -> bool:
        """Whether the receiver can tell that a frame is broken."""
        return self.bits > MOST_BLOCK_BITS

    @property
    def payload(self) -> int:
        """Bits that are left to the source."""
        return self.bits - crc_bits(self.bits) if self.has_crc else self.bits

    @property
    def text(self) -> str:
        """Modulation and code rate, for a table."""
        return f"{'QPSK' if self.order == 2 else f'{2**self.order}-QAM'} {self.bits / self.coded:.2f}"


def schemes(uses: int) -> list[Scheme]:
    """All that a frame of so many channel uses can have, by their payload: a word of the block code, and the table."""
    found: dict[int, Scheme] = {}
    sizes = [(2, bits) for bits in range(3, MOST_BLOCK_BITS + 1)]
    sizes += [(order, int(uses * order * rate / 1024)) for order, rate in TABLE]
    for order, bits in sizes:
        if bits >= 3:
            scheme = Scheme(uses, order, bits)
            found.setdefault(scheme.payload, scheme)
    return [found[payload] for payload in sorted(found)]
