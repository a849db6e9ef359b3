"""Settings spread over a plateau, by the landscape of a law and by a fitted surface."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from forescale.errors import ForescaleError
from forescale.fit.surface import Surface, fit_surface
from forescale.plan import make_plan
from forescale.runs import read_runs
from forescale.sweep.design import Common, plateau
from forescale.sweep.design._plateau import _ground, _span
from forescale.workload import Workload

SIZE: dict[str, Any] = {"params": 1e8, "tokens": 2e9, "seq_len": 2048}


def cells(design: Any) -> dict[float, list[float]]:
    """Batch -> its learning rates."""
    found: dict[float, list[float]] = {}
    for job in design.jobs:
        found.setdefault(job.row["batch_tokens"], []).append(job.row["learning_rate"])
    return found


def test_every_setting_lies_on_the_laws_plateau_and_the_outer_ones_at_its_edge() -> None:
    design = plateau(Common(values=SIZE), loss_gap=0.01, batches=3, rates=3)
    assert len(design.jobs) == 9
    terrain = make_plan(Workload(params=1e8, tokens=2e9, seq_len=2048)).terrain
    found = cells(design)
    assert max(found) / min(found) > 4
    for batch, rates in found.items():
        gaps = [terrain.loss_gap_percent(rate, batch) for rate in rates]
        assert all(gap is not None and gap <= 1.05 for gap in gaps)
        # The grid that the edges are found on is a sixteenth of an octave.
        assert all(
            (terrain.loss_gap_percent(rate, batch) or 9) > 1
            for rate in (min(rates) * 2 ** (-1 / 15), max(rates) * 2 ** (1 / 15))
        )
        assert rates[1] == pytest.approx(math.sqrt(rates[0] * rates[2]))  # evenly in logarithms
    assert design.notes[0] == "the plateau of 1.00% is that of step-law"


def test_the_edges_at_the_best_batch_are_those_of_the_plans_band() -> None:
    workload = Workload(params=1e8, tokens=2e9, seq_len=2048)
    plan = make_plan(workload)
    band = next(band for band in plan.plateau.learning_rate.bands if band.loss_gap_percent == 1.0)
    ground = _ground(Common(values=SIZE), workload)
    low, high = _span(ground, ground.batch_tokens, 0.01) or (0, 0)
    # The plan's band is around the best rate at the recipe's batch, this one around that at the best batch.
    shift = plan.plateau.learning_rate.centre / ground.learning_rate
    assert low * shift == pytest.approx(band.low, rel=2 ** (1 / 16) - 1)
    assert high * shift == pytest.approx(band.high, rel=2 ** (1 / 16) - 1)


def test_a_law_without_a_landscape_of_its_own_keeps_its_choice() -> None:
    design = plateau(Common(values=SIZE, laws=("deepseek",)), batches=1, rates=1)
    own = make_plan(Workload(params=1e8, tokens=2e9, seq_len=2048)).recipe.learning_rate.number
    rate = design.jobs[0].row["learning_rate"]
    assert "step-law, around the choice of deepseek" in design.notes[0]
    assert abs(math.log2(rate / own)) > 0.1


@pytest.fixture(scope="module")
def surface() -> Surface:
    """A paraboloid in ln lr and ln B, its best values and curvatures stated."""
    rng = np.random.default_rng(0)
    rows = [
        {"params": n, "tokens": 20 * n, "learning_rate": lr, "batch_tokens": b}
        for n in (1e8, 4e8)
        for lr in 1e-3 * 2.0 ** np.arange(-2, 3)
        for b in 2.0**18 * 2.0 ** np.arange(-2, 3)
    ]
    for row in rows:
        u, v = math.log2(row["learning_rate"] / 1e-3), math.log2(row["batch_tokens"] / 2**18)
        level = 2.0 + 400 * row["params"] ** -0.3
        row["loss"] = level * (1 + 0.005 * (u - 0.3 * v) ** 2 + 0.004 * v * v + 1e-4 * rng.normal())
    import polars as pl

    return fit_surface(read_runs(pl.DataFrame(rows)), name="bowl")


def test_a_surfaces_plateau(surface: Surface) -> None:
    size = {"params": 1e8, "tokens": 2e9, "seq_len": 2048}
    design = plateau(Common(values=size), surface=surface, loss_gap=0.01, batches=3, rates=2)
    assert design.notes[0] == "the plateau of 1.00% is that of the surface bowl"
    for job in design.jobs:
        gap = surface.gap(job.row["params"], 2e9, job.row["learning_rate"], job.row["batch_tokens"])
        assert 0.008 < float(gap) < 0.0105  # both rates at the edge, to the grid of sixteenths and whole sequences


def test_several_sizes() -> None:
    sizes = [{"params": 1e8}, {"params": 4e8}]
    design = plateau(Common(values={"tokens_per_param": 20.0, "seq_len": 2048}), sizes=sizes, batches=1, rates=2)
    assert [round(job.row["params"] / 1e8) for job in design.jobs] == [1, 1, 4, 4]


def test_plateaus_that_cannot_be() -> None:
    with pytest.raises(ForescaleError, match="a plateau decides learning_rate"):
        plateau(Common(values={**SIZE, "learning_rate": 1e-3}))
    for wrong in ({"loss_gap": 0.0}, {"loss_gap": 1.5}, {"batches": 0}):
        with pytest.raises(ForescaleError, match="a loss gap between 0 and 1"):
            plateau(Common(values=SIZE), **wrong)  # type: ignore[arg-type]
