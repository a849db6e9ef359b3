"""A range coder: symbols to bytes by whole-number frequencies, within a few bits of what their probabilities allow.

Encoder and decoder are called alike, with the same table of frequencies, so one walk over a series serves both.
Source: Martin, "Range encoding", 1979; carries run back into the bytes already written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

WORD, LEAST = 1 << 32, 1 << 24  # the range lies between the second and the first
LARGEST_TOTAL = 1 << 16  # of a table; 2^24 / 2^16 leaves 8 bits, so rounding costs at most 2^-8 of a symbol's share


class Coder(Protocol):
    """An encoder, which is told each symbol, or a decoder, which finds it."""

    def code(self, cumulated: Sequence[int], symbol: int) -> int:
        """The symbol; it holds the share `cumulated[symbol]` to `cumulated[symbol + 1]` of the table's total."""
        ...


class Encoder:
    """Writes symbols; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._low, self._range, self._out = 0, WORD - 1, bytearray()

    def code(self, cumulated: Sequence[int], symbol: int) -> int:
        """Write a symbol, and return it."""
        share = self._range // cumulated[-1]
        self._low += share * cumulated[symbol]
        self._range = share * (cumulated[symbol + 1] - cumulated[symbol])
        self._carry()
        while self._range < LEAST:
            self._out.append(self._low >> 24)
            self._low = self._low << 8 & WORD - 1
            self._range <<= 8
        return symbol

    def finish(self) -> bytes:
        """All bytes; the last is the shortest number in the range, for the decoder reads zeros after the end."""
        self._low += LEAST - 1
        self._carry()
        return bytes(self._out) + bytes([self._low >> 24])

    def _carry(self) -> None:
        if self._low < WORD:
            return
        self._low -= WORD
        at = len(self._out) - 1
        while self._out[at] == 255:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1


class Decoder:
    """Reads the symbols that an `Encoder` wrote, by the same tables in the same order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._range = data, 4, WORD - 1
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def code(self, cumulated: Sequence[int], symbol: int) -> int:  # noqa: ARG002  # an encoder's call
        """The next symbol."""
        share = self._range // cumulated[-1]
        target = min(self._code // share, cumulated[-1] - 1)
        found = bisect_right(cumulated, target) - 1
        self._code -= share * cumulated[found]
        self._range = share * (cumulated[found + 1] - cumulated[found])
        while self._range < LEAST:
            byte = self._data[self._at] if self._at < len(self._data) else 0
            self._code, self._at, self._range = self._code << 8 | byte, self._at + 1, self._range << 8
        return found


def code_below(coder: Coder, limit: int, number: int) -> int:
    """A whole number from 0 to limit - 1, all alike; long ones in digits of 16 bits."""
    if limit <= LARGEST_TOTAL:
        return coder.code(range(limit + 1), number) if limit > 1 else 0
    high = code_below(coder, (limit - 1) // LARGEST_TOTAL + 1, number // LARGEST_TOTAL)
    return high * LARGEST_TOTAL + coder.code(range(LARGEST_TOTAL + 1), number % LARGEST_TOTAL)


class AdaptiveBit:
    """A bit whose odds are those seen so far."""

    def __init__(self) -> None:
        self.counts = [1, 1]

    def code(self, coder: Coder, bit: int) -> int:
        """The bit; older ones count less once there are many."""
        zeros, ones = self.counts
        bit = coder.code((0, zeros, zeros + ones), bit)
        self.counts[bit] += 1
        if sum(self.counts) > 4096:
            self.counts = [max(count // 2, 1) for count in self.counts]
        return bit


class AdaptiveNumber:
    """Whole numbers from 0 on of any size: Elias gamma code, the bits of its length adaptive."""

    def __init__(self) -> None:
        self.lengths = [AdaptiveBit() for _ in range(64)]

    def code(self, coder: Coder, number: int) -> int:
        """The number; small ones are cheap, and those often seen cheaper."""
        length, bits = 0, (number + 1).bit_length() - 1
        while self.lengths[length].code(coder, int(bits > length)):
            length += 1
        return (1 << length) - 1 + code_below(coder, 1 << length, number + 1 - (1 << length))

    def code_signed(self, coder: Coder, number: int) -> int:
        """A number of either sign: 0, -1, 1, -2, ... count as 0, 1, 2, 3, ..."""
        found = self.code(coder, 2 * number if number >= 0 else -2 * number - 1)
        return found // 2 if found % 2 == 0 else -(found + 1) // 2
