"""Rounding a batch to devices, counting steps."""

import pytest

from forescale.errors import ForescaleError
from forescale.plan._batch import count_steps, lay_out
from forescale.workload import Workload

RUN = Workload(params=1e9, tokens=2048 * 1000 * 100, seq_len=2048)


@pytest.mark.parametrize(
    ("target", "devices", "micro_batch", "sequences"),
    # By hand: the multiple of devices x micro_batch nearest to target / 2048, at least one.
    [
        (2048 * 100, 1, 1, 100),
        (2048 * 100, 8, 4, 96),
        (2048 * 100, 64, 1, 128),
        (2048, 16, 2, 32),
        (2048 * 96, 64, 1, 128),
    ],
)
def test_nearest_multiple(target: int, devices: int, micro_batch: int, sequences: int) -> None:
    assert lay_out(RUN, target, devices, micro_batch).sequences == sequences


def test_steps_use_only_the_tokens_there_are() -> None:
    assert count_steps(RUN, lay_out(RUN, 2048 * 100, 1, 1)) == 1000
    assert count_steps(RUN, lay_out(RUN, 2048 * 99, 1, 1)) == 1010  # 1010 x 99 = 99,990 of 100,000 sequences


def test_one_step_is_the_least() -> None:
    assert count_steps(RUN, lay_out(RUN, RUN.tokens, 1, 1)) == 1
    with pytest.raises(ForescaleError, match="must not exceed the run"):
        lay_out(RUN, RUN.tokens + 1, 1, 1)
    with pytest.raises(ForescaleError, match="fewer tokens"):
        lay_out(RUN, 2048, 1_000_000, 1)
