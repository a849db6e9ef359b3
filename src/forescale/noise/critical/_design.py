"""The branches to train: which batch and learning rate from which checkpoint, for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from forescale.errors import ForescaleError
from forescale.quantities import positive

EXPONENTS = {"adam": 0.5, "sgd": 1.0}
BRANCH_TOKENS = 2e9  # arXiv:2505.23971


@dataclass(frozen=True, kw_only=True)
class BranchRun:
    """One run to make: resume from the checkpoint with this batch and learning rate, for `tokens` more."""

    checkpoint_tokens: float
    factor: float
    batch_tokens: float
    learning_rate: float
    tokens: float
    steps: int


def branch_design(
    checkpoints: Sequence[float],
    batch_tokens: float,
    learning_rate: float,
    *,
    factors: Sequence[float] = (1, 2, 4, 8),
    tokens: float = BRANCH_TOKENS,
    optimizer: str = "adam",
) -> tuple[BranchRun, ...]:
    """Branches of batch k B and learning rate f(k) x `learning_rate` from each checkpoint (tokens).

    f is sqrt(k) for Adam, k for SGD (arXiv:2505.23971). `learning_rate` is the one in force at the checkpoints: branch where
    it is constant. Raises `ForescaleError` for another optimizer or a number that is not above zero.
    """
    if optimizer not in EXPONENTS:
        raise ForescaleError(f"the optimizer of branches is {' or '.join(EXPONENTS)}; got {optimizer!r}.")
    if not checkpoints or not factors:
        raise ForescaleError("branches need checkpoints and factors; got none of one: such as 10B,50B and 1,2,4,8.")
    for name, value in (("batch_tokens", batch_tokens), ("learning_rate", learning_rate), ("tokens", tokens)):
        positive(value, name)
    return tuple(
        BranchRun(
            checkpoint_tokens=positive(checkpoint, "a checkpoint"),
            factor=positive(factor, "a factor"),
            batch_tokens=factor * batch_tokens,
            learning_rate=learning_rate * factor ** EXPONENTS[optimizer],
            tokens=tokens,
            steps=math.ceil(tokens / (factor * batch_tokens)),
        )
        for checkpoint in checkpoints
        for factor in sorted(factors)
    )


def branch_csv(design: Sequence[BranchRun]) -> str:
    """The branches as CSV, one a row: a table of runs for `forescale sweep` (`kind = "file"`) or for any launcher."""
    names = [f.name for f in fields(BranchRun) if f.name != "steps"]  # a sweep takes one length
    rows = (",".join(f"{getattr(run, name):.17g}" for name in names) for run in design)
    return "\n".join([",".join(names), *rows, ""])
