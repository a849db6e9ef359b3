"""The optimizer steps of a run whose batch changes, counted stage by stage instead of one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step: its number from 0, the tokens seen before it, the sequences it takes."""

    step: int
    tokens: int
    sequences: int


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A run's optimizer steps. Iterating yields every `Step`; `blocks` has the first of each batch in a row."""

    blocks: tuple[Step, ...]
    count: int
    tokens: int  # seen at the end; the last step may pass the run's tokens
    seq_len: int

    @property
    def mean_sequences(self) -> float:
        """Mean batch over the steps, in sequences."""
        return self.tokens / self.seq_len / self.count

    @property
    def mean_batch(self) -> float:
        """Mean batch over the steps, in tokens."""
        return self.tokens / self.count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Step]:
        ends = [block.step for block in self.blocks[1:]] + [self.count]
        for block, end in zip(self.blocks, ends, strict=True):
            for i in range(end - block.step):
                seen = block.tokens + i * block.sequences * self.seq_len
                yield Step(step=block.step + i, tokens=seen, sequences=block.sequences)


def walk(stages: Sequence[tuple[int, int]], seq_len: int, total: int) -> Steps:
    """The steps over stages of (first token, sequences): each takes the batch of the tokens seen before it."""
    blocks: list[Step] = []
    seen = count = 0
    ends = [start for start, _ in stages[1:]] + [total]
    for (_, sequences), end in zip(stages, ends, strict=True):
        batch = sequences * seq_len
        many = -(-(min(end, total) - seen) // batch)
        if many <= 0:
            continue  # the batch before it has passed this stage
        blocks.append(Step(step=count, tokens=seen, sequences=sequences))
        count, seen = count + many, seen + many * batch
    return Steps(blocks=tuple(blocks), count=count, tokens=seen, seq_len=seq_len)
