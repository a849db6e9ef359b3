"""Cores of one processor that each take a part of a batch, in threads of one process.

A small model's operators gain little from threads of their own, and their barriers stall as soon as another process wants
a core. So every core computes the gradients of a part of the batch with one thread, and the parts are added in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Found = TypeVar("Found")


class Cores:
    """`count` cores, of which the calling thread is one; torch is set to one thread in each until `joined` ends."""

    def __init__(self, count: int) -> None:
        self.count = count
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(count - 1, "core", initializer=torch.set_num_threads, initargs=(1,))

    def split(self, rows: Tensor) -> list[Tensor]:
        """Rows in as many parts as there are cores, or fewer where there are fewer rows."""
        return list(rows.tensor_split(min(self.count, len(rows))))

    def run(self, work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
        """What `work` makes of every part, in their order."""
        others = [self._pool.submit(work, part) for part in parts[1:]]
        return [work(parts[0]), *(other.result() for other in others)]

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()
