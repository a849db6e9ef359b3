"""Ask and tell in closed-form basins: what converges, what stays inside, what a run teaches."""

from __future__ import annotations

import math

import pytest

from forescale.sweep.search import Search
from forescale.workload import Workload

WORKLOAD = Workload(params=2e8, tokens=1e10, seq_len=2048)
BOX = {"learning_rate": (1e-4, 1e-2), "batch_tokens": (2.0**15, 2.0**21)}


def bowl(rate: float, batch: float, best: tuple[float, float] = (2e-3, 2.0**18)) -> float:
    """A parabola in octaves: 0.4 % of loss at one octave from the best."""
    return 3.0 * math.exp(0.004 * (math.log2(rate / best[0]) ** 2 + math.log2(batch / best[1]) ** 2))


@pytest.mark.parametrize("best", [(2e-3, 2.0**18), (4e-4, 2.0**20), (5e-3, 2.0**16)])
def test_a_bowl_is_solved_within_a_dozen_runs_wherever_it_lies(best: tuple[float, float]) -> None:
    search = Search(WORKLOAD, box=BOX)
    for _ in range(12):
        asked = search.ask()
        search.tell(asked, bowl(asked.learning_rate, asked.batch_tokens, best))
    lowest = search.best().lowest
    assert lowest is not None
    assert lowest.loss == pytest.approx(3.0, rel=2e-3)
