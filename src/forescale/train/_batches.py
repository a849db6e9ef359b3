"""The order in which sequences are drawn: a keyed permutation a pass, computed from a position and without state."""

from __future__ import annotations

import operator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.train._shards import TokenShards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

BLOCK = 16384  # places of the permutation that are computed at once
ROUNDS = 6


class Batches:
    """Sequences of `seq_len` + 1 tokens, each token but the first a target once a pass.

    A pass (epoch) visits `sequences` windows that do not overlap in their targets, each once, in an order that depends
    on `seed` and the pass alone; the first window starts at an offset below `seq_len` that changes from pass to pass.
    For this up to 2 `seq_len` - 1 tokens at the ends are left out of a pass. `shuffle=False` gives the windows as they
    lie, from the first token on, as evaluation wants them. `tokens` may also be a one-dimensional integer array.

    Raises `ForescaleError` where the tokens make fewer than `least` sequences.
    """

    def __init__(
        self,
        tokens: TokenShards | NDArray[Any],
        *,
        seq_len: int,
        seed: int = 0,
        shuffle: bool = True,
        least: int = 1,
    ) -> None:
        self._tokens = tokens.array if isinstance(tokens, TokenShards) else tokens
        self.seq_len, self.seed, self.shuffle = _whole(seq_len, "seq_len", 1), operator.index(seed), shuffle
        self.sequences = _sequences(len(self._tokens), self.seq_len, shuffle)
        _check_enough(len(self._tokens), self.seq_len, self.sequences, _whole(least, "least", 1))
        self._pass: tuple[int, Any] = (-1, None)
        self._block: tuple[int, int, Any] = (-1, 0, ())

    def at(self, position: int, count: int) -> Tensor:
        """Sequences `position` to `position + count` of the run, counted over all passes: int64, (count, seq_len + 1).

        `at(p, a + b)` equals `at(p, a)` followed by `at(p + a, b)`: a run resumes exactly, and rank r of a data-parallel
        step takes `at(p + r * k, k)`.
        """
        import torch

        if position < 0 or count < 0:
            raise ForescaleError(
                f"a position and a count of sequences must be 0 or more; got {position} and {count}: correct them."
            )
        engine: Any = torch  # its stubs leave from_numpy partly unknown
        epoch, start = divmod(position, self.sequences)
        if start + count <= self.sequences:
            return engine.from_numpy(self._rows(epoch, start, count))
        return engine.cat([engine.from_numpy(rows) for rows in self._passes(epoch, start, count)])

    def _passes(self, epoch: int, start: int, count: int) -> list[NDArray[np.int64]]:
        rows: list[NDArray[np.int64]] = []
        while count:
            here = min(count, self.sequences - start)
            rows.append(self._rows(epoch, start, here))
            epoch, start, count = epoch + 1, 0, count - here
        return rows

    def _rows(self, epoch: int, start: int, count: int) -> NDArray[np.int64]:
        windows = self._windows(epoch)
        if not self.shuffle:
            return windows[start : start + count].astype("int64")
        return windows[self._places(epoch, start, count)].astype("int64")

    def _windows(self, epoch: int) -> NDArray[Any]:
        """All windows of a pass as a view of the tokens, (sequences, seq_len + 1)."""
        import numpy as np

        if self._pass[0] != epoch:
            every = np.lib.stride_tricks.sliding_window_view(self._tokens[self._offset(epoch) :], self.seq_len + 1)
            self._pass = (epoch, every[:: self.seq_len][: self.sequences])
        return self._pass[1]

    def _offset(self, epoch: int) -> int:
        room = len(self._tokens) - self.sequences * self.seq_len
        return _keys(self.seed, epoch)[-1] % min(room, self.seq_len) if self.shuffle else 0

    def _places(self, epoch: int, start: int, count: int) -> NDArray[np.int64]:
        known, first, places = self._block
        if known != epoch or start < first or start + count > first + len(places):
            stop = min(start + max(count, BLOCK), self.sequences)
            places = permuted(start, stop, self.sequences, _keys(self.seed, epoch)[:ROUNDS])
            self._block, first = (epoch, start, places), start
        return places[start - first : start - first + count]


def _whole(value: int, name: str, least: int) -> int:
    number = operator.index(value)
    if number < least:
        raise ForescaleError(f"{name} must be {least} or more; got {number}: correct it.")
    return number


def _sequences(tokens: int, seq_len: int, shuffle: bool) -> int:
    whole = max(tokens - 1, 0) // seq_len
    return min(whole, max(tokens // seq_len - 1, 1)) if shuffle else whole


def _check_enough(tokens: int, seq_len: int, sequences: int, least: int) -> None:
    if sequences >= least:
        return
    needed = seq_len + 1 if least == 1 else (least + 1) * seq_len
    raise ForescaleError(
        f"the data must hold at least one batch, {least} sequences of {seq_len} tokens, which takes {needed:,} tokens; "
        f"{tokens:,} arrived: give more data, a smaller batch or a shorter seq_len."
    )


def _keys(seed: int, epoch: int) -> list[int]:
    digest = blake2b(f"{seed}:{epoch}".encode(), digest_size=8 * (ROUNDS + 1)).digest()
    return [int.from_bytes(digest[i : i + 8], "little") for i in range(0, len(digest), 8)]


def permuted(start: int, stop: int, size: int, keys: list[int]) -> NDArray[np.int64]:
    """Places `start` to `stop` of a permutation of `size` that `keys` decide, without computing the others.

    A Feistel network over the next power of two, walked until it falls below `size` (Black and Rogaway 2002, Ciphers
    with arbitrary finite domains).
    """
    import numpy as np

    bits = max(1, (size - 1).bit_length())
    places = _feistel(np.arange(start, stop, dtype=np.uint64), bits, keys)
    while (outside := np.flatnonzero(places >= size)).size:
        places[outside] = _feistel(places[outside], bits, keys)
    return places.astype(np.int64)


def _feistel(values: NDArray[np.uint64], bits: int, keys: list[int]) -> NDArray[np.uint64]:
    """Two parts of a number, the upper one a bit longer where `bits` is odd, that change each other in turn."""
    import numpy as np

    low = np.uint64(bits // 2)
    low_mask, high_mask = np.uint64((1 << bits // 2) - 1), np.uint64((1 << bits - bits // 2) - 1)
    high, rest = values >> low, values & low_mask
    for turn, key in enumerate(keys):
        if turn % 2:
            rest = rest ^ (_mixed(high + np.uint64(key)) & low_mask)
        else:
            high = high ^ (_mixed(rest + np.uint64(key)) & high_mask)
    return (high << low) | rest


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
