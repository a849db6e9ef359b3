"""The law of final loss, on splits of real runs that it has not seen, and where it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hagele_runs import read_hagele
from numpy.typing import NDArray

from forescale.curves import FinalLaw, FinishedRun, fit_final_law
from forescale.errors import ForescaleError

Array = NDArray[np.float64]
Split = Callable[[dict[str, Any]], bool]
# What the issue asks for; a law of the same data with eta^2 noise and 7 free parameters had .0031, .0039 and .0050.
SPLITS: dict[str, tuple[Split, Split, float]] = {
    "horizon": (lambda r: r["iterations"] <= 35000, lambda r: r["iterations"] == 50000, 0.003),
    "family": (lambda r: r["scheduler"] == "wsd", lambda r: r["scheduler"] == "cos", 0.004),
    "peak": (lambda r: r["peak_lr"] <= 1e-3, lambda r: r["peak_lr"] > 1e-3, 0.005),
}


@pytest.fixture(scope="module")
def hagele(data: Path) -> list[dict[str, Any]]:
    return read_hagele(data)


def split(rows: list[dict[str, Any]], name: str) -> tuple[FinalLaw, list[FinishedRun]]:
    fitted, unseen, _ = SPLITS[name]
    return fit_final_law([r["run"] for r in rows if fitted(r)]), [r["run"] for r in rows if unseen(r)]


def predictions(law: FinalLaw, runs: list[FinishedRun]) -> tuple[Array, Array]:
    """Predicted and measured losses."""
    predicted = np.array([law.predict(run.step, run.learning_rate) for run in runs])
    return predicted, np.array([run.loss for run in runs])


@pytest.mark.parametrize("name", SPLITS)
def test_runs_of_a_horizon_a_family_or_a_peak_not_seen(name: str, hagele: list[dict[str, Any]]) -> None:
    predicted, measured = predictions(*split(hagele, name))
    assert len(measured) > 20
    assert np.abs(predicted / measured - 1).mean() < SPLITS[name][2]


def test_losses_under_wrong_schedules_are_not_predicted(hagele: list[dict[str, Any]]) -> None:
    predicted, measured = predictions(*split(hagele, "horizon"))
    shuffled = measured[np.random.default_rng(0).permutation(len(measured))]
    assert np.abs(predicted / shuffled - 1).mean() > 3 * np.abs(predicted / measured - 1).mean()


def test_a_peak_above_those_that_trained_is_a_warning(hagele: list[dict[str, Any]]) -> None:
    law, unseen = split(hagele, "peak")
    assert law.beyond(unseen[0].step, unseen[0].learning_rate)["peak"] == pytest.approx(2, rel=0.6)


def test_a_diverged_run_is_counted_and_left_out(hagele: list[dict[str, Any]]) -> None:
    runs = [row["run"] for row in hagele[:40]]
    broken = FinishedRun(step=runs[0].step, learning_rate=runs[0].learning_rate, loss=float("nan"))
    assert fit_final_law([*runs, broken]).left_out == 1


def test_sizes_of_a_known_world_are_told_apart() -> None:
    steps = np.linspace(10, 1000, 100)
    rates = 1e-3 * np.minimum(steps / 100, 1) * np.clip((1000 - steps) / 500, 0.01, 1)
    runs = [
        FinishedRun(
            step=steps[: 100 - cut],
            learning_rate=scale * rates[: 100 - cut],
            loss=2 + 0.5 * size**-0.34 + 0.02 * cut**0.5 + 0.05 * scale,
            params=size,
        )
        for size in (0.5, 1.0, 2.0)
        for cut in (0, 10, 20)
        for scale in (0.5, 1.0)
    ]
    law = fit_final_law(runs)
    losses = [law.predict(steps, rates, params=size) for size in (1.0, 4.0)]
    assert losses[0] - losses[1] == pytest.approx(0.5 * (1 - 4**-0.34), abs=0.02)  # nu's prior is centred at 0.34


def test_too_few_runs_are_an_error() -> None:
    run = FinishedRun(step=[1, 2, 3], learning_rate=[1, 1, 0.1], loss=3.0)
    with pytest.raises(ForescaleError, match="10 runs that did not diverge; got 3"):
        fit_final_law([run] * 3)


def test_a_schedule_that_only_rises_is_an_error() -> None:
    run = FinishedRun(step=[1, 2, 3], learning_rate=[1, 2, 3], loss=3.0, name="up")
    with pytest.raises(ForescaleError, match="the run up must go on after its peak"):
        fit_final_law([run] * 12)
