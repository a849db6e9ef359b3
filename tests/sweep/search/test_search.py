"""Ask and tell in closed-form valleys: what converges, what stays inside, what a run teaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.fit import make_cells
from forescale.fit.calibrate import calibrate
from forescale.fit.calibrate._choice import best_choice
from forescale.laws import Law, law
from forescale.runs import Runs, read_runs
from forescale.sweep.search import Search, Setting
from forescale.workload import Workload

WORKLOAD = Workload(params=2e8, tokens=1e10, seq_len=2048)
BOX = {"learning_rate": (1e-4, 1e-2), "batch_tokens": (2.0**15, 2.0**21)}
STEP_LAW = law("step-law")  # its optimum at the workload: 1.79 N^-0.713 D^0.307, 0.58 D^0.571
CENTRE = (1.79 * 2e8**-0.713 * 1e10**0.307, 0.58 * 1e10**0.571)
Loss = Callable[[float, float], float]


def valley(best: tuple[float, float], below: float = 0.004, above: float = 0.004, ridge: float = 0.0) -> Loss:
    """Half parabolas in octaves; a share of the loss at one octave from the best, which loses 3 nats."""

    def loss(rate: float, batch: float) -> float:
        v = math.log2(batch / best[1])
        u = math.log2(rate / best[0]) - ridge * v
        return 3 * math.exp((below if u < 0 else above) * u**2 + 0.004 * v**2)

    return loss


def searched(loss: Loss, runs: int, prior: Law | None = STEP_LAW, noise: float = 0.0, seed: int = 0) -> Search:
    search, rng = Search(WORKLOAD, prior, box=BOX, seed=seed), np.random.default_rng(seed)
    for _ in range(runs):
        asked = search.ask()
        search.tell(asked, loss(asked.learning_rate, asked.batch_tokens) * math.exp(noise * rng.standard_normal()))
    return search


def gap_of_best(search: Search, loss: Loss) -> float:
    best = search.best()
    return loss(best.learning_rate, best.batch_tokens) / 3 - 1


OFF = {
    "where the prior says": (1.0, 1.0),
    "two octaves above": (4.0, 1.0),
    "two octaves below": (0.25, 1.0),
    "both, across the ridge": (0.35, 3.0),
}


@pytest.mark.parametrize("factors", OFF.values(), ids=OFF)
@pytest.mark.parametrize("shape", [(0.008, 0.003, 0.0), (0.003, 0.008, 0.9)], ids=str)
def test_the_optimum_is_found_wherever_it_is_and_whatever_the_valleys_shape(
    factors: tuple[float, float], shape: tuple[float, float, float]
) -> None:
    # The prior's optimum, asymmetry and ridge may all be wrong: the true optimum is the closed form's.
    loss = valley((CENTRE[0] * factors[0], CENTRE[1] * factors[1]), *shape)
    assert gap_of_best(searched(loss, 16, noise=0.0005), loss) < 0.0025


def test_the_first_setting_is_that_of_calibration_by_another_method() -> None:
    # fit.calibrate integrates over a Gaussian, along and across the ridge one after the other; here valleys are drawn.
    octaves = [STEP_LAW.transfer_errors[q].octaves for q in ("learning_rate", "batch_tokens")]
    assert STEP_LAW.landscape is not None
    offset = best_choice(STEP_LAW.landscape, np.diag(np.square(octaves)) * math.log(2) ** 2).offset
    first = Search(WORKLOAD, STEP_LAW).ask()
    assert math.log(first.learning_rate / CENTRE[0]) == pytest.approx(offset[0], abs=0.4)
    assert math.log(first.batch_tokens / CENTRE[1]) == pytest.approx(offset[1], abs=0.4)
    assert "no runs yet" in first.reason
    assert "Step Law" in first.reason


def test_a_prior_that_is_known_well_is_followed() -> None:
    sure = replace(STEP_LAW, transfer_errors={q: replace(e, octaves=0.01) for q, e in STEP_LAW.transfer_errors.items()})
    sure = replace(sure, predicts={q: replace(f, covariance=(), covariance_of=()) for q, f in sure.predicts.items()})
    first = Search(WORKLOAD, sure).ask()
    assert (first.learning_rate, first.batch_tokens) == pytest.approx(CENTRE, rel=0.15)


def test_noisy_runs_leave_more_open_than_exact_ones() -> None:
    loss = valley(CENTRE)
    widths = []
    for noise in (0.0003, 0.01):
        best = searched(loss, 12, noise=noise).best()
        widths.append(math.log2(best.learning_rate_interval[1] / best.learning_rate_interval[0]))
    assert widths[0] < widths[1]


def test_runs_leave_less_open_than_none() -> None:
    loss = valley(CENTRE)
    before, after = Search(WORKLOAD, STEP_LAW, box=BOX).best(), searched(loss, 10).best()
    assert before.lowest is None
    assert after.loss_gap < before.loss_gap / 3


def test_the_order_of_the_runs_does_not_matter() -> None:
    loss, rng = valley(CENTRE), np.random.default_rng(3)
    told = [(float(r), float(b)) for r, b in zip(rng.uniform(3e-4, 5e-3, 9), rng.uniform(1e5, 9e5, 9), strict=True)]
    answers = []
    for order in (told, told[::-1]):
        search = Search(WORKLOAD, STEP_LAW, box=BOX)
        for rate, batch in order:
            search.tell((rate, batch), loss(rate, batch) if rate < 4e-3 else math.inf)
        answers.append((search.ask(), search.best()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("loss", [math.inf, math.nan, 9.0])
def test_a_diverged_run_moves_the_belief_down(loss: float) -> None:
    search = Search(WORKLOAD, STEP_LAW, box=BOX)
    search.tell((CENTRE[0] / 8, CENTRE[1]), 3.0)
    before = search.best()
    search.tell((CENTRE[0], CENTRE[1]), loss)
    after = search.best()
    assert after.learning_rate < before.learning_rate
    assert after.learning_rate_interval[1] < before.learning_rate_interval[1]
    assert after.lowest is not None
    assert after.lowest.loss == 3.0


def test_a_run_that_hardly_learnt_is_no_diverged_one() -> None:
    # Five octaves below the best rate: a loss 28 % above the lowest, which is no reason to go lower still.
    search, loss = Search(WORKLOAD, STEP_LAW, box=BOX), valley(CENTRE, 0.01, 0.01)
    for factor in (1.0, 0.5, 2.0, 2.0**-5):
        search.tell((factor * CENTRE[0], CENTRE[1]), loss(factor * CENTRE[0], CENTRE[1]))
    assert gap_of_best(search, loss) < 0.0025
    assert "diverged" not in search.best().reason


def test_one_accident_at_the_best_rate_does_not_end_the_search() -> None:
    loss, search = valley(CENTRE, 0.008, 0.008), Search(WORKLOAD, STEP_LAW, box=BOX)
    search.tell(CENTRE, math.inf)  # a node died, say: nothing diverges in this valley
    for _ in range(18):
        asked = search.ask()
        search.tell(asked, loss(asked.learning_rate, asked.batch_tokens))
    assert gap_of_best(search, loss) < 0.0025


def test_a_dominated_run_says_that_the_optimum_is_elsewhere() -> None:
    both = []
    for dominated in (False, True):
        search = Search(WORKLOAD, STEP_LAW, box=BOX)
        search.tell((CENTRE[0] / 2, CENTRE[1]), 3.0)
        if dominated:
            search.tell((2 * CENTRE[0], CENTRE[1]), 2.0, dominated=True)  # the loss is not read
        both.append(search.best())
    assert both[1].learning_rate_interval[1] < both[0].learning_rate_interval[1]
    assert both[1].lowest is not None
    assert both[1].lowest.loss == 3.0


def test_an_extrapolated_loss_counts_for_less() -> None:
    losses = {1.0: 3.0, 0.25: 3.06, 4.0: 3.0}
    widths = []
    for sd in (0.0, 0.05):
        search = Search(WORKLOAD, STEP_LAW, box=BOX)
        for factor, loss in losses.items():
            search.tell((factor * CENTRE[0], CENTRE[1]), loss, sd=sd)
        low, high = search.best().learning_rate_interval
        widths.append(high / low)
    assert widths[0] < widths[1]


def test_asks_at_once_differ() -> None:
    search = Search(WORKLOAD, STEP_LAW, box=BOX)
    asked = [search.ask() for _ in range(6)]
    apart = [
        math.hypot(math.log2(a.learning_rate / b.learning_rate), math.log2(a.batch_tokens / b.batch_tokens))
        for i, a in enumerate(asked)
        for b in asked[:i]
    ]
    assert min(apart) > 0.05
    assert "running" in asked[-1].reason
    assert len(search.runs) == 6
    search.tell(asked[2], 3.0)
    assert [r.loss for r in search.runs].count(None) == 5


@settings(max_examples=12, deadline=None)
@given(
    low=st.floats(-14, -6), width=st.floats(0, 6), batch=st.floats(14, 22), tall=st.floats(0, 5), loss=st.floats(1, 9)
)
def test_every_ask_and_every_answer_lies_in_the_box(
    low: float, width: float, batch: float, tall: float, loss: float
) -> None:
    box = {"learning_rate": (2**low, 2 ** (low + width)), "batch_tokens": (2**batch, 2 ** (batch + tall))}
    search = Search(WORKLOAD, STEP_LAW, box=box)
    for _ in range(2):
        asked = search.ask()
        search.tell(asked, loss)
        for found in (asked, search.best()):
            assert box["learning_rate"][0] <= found.learning_rate <= box["learning_rate"][1]
            assert box["batch_tokens"][0] <= found.batch_tokens <= box["batch_tokens"][1]


def test_an_optimum_beyond_the_box_is_sought_at_its_edge() -> None:
    loss = valley((CENTRE[0] * 32, CENTRE[1]))
    search = searched(loss, 10)
    assert search.best().learning_rate == pytest.approx(BOX["learning_rate"][1], rel=0.15)


def test_the_priors_that_one_may_have(data: Path) -> None:
    runs = one_cell_less(data, 3)[1]
    firsts = {}
    for prior in (None, STEP_LAW, calibrate(runs, scored=False), runs):
        asked = Search(WORKLOAD, prior).ask()
        firsts[type(prior).__name__] = asked
        assert asked.reason
    # Runs are calibrated on: the same belief, so nearly the same setting.
    assert firsts["Runs"].learning_rate == pytest.approx(firsts["Calibration"].learning_rate, rel=0.1)
    with pytest.raises(ForescaleError, match="a Law, a Calibration, Runs or None"):
        Search(WORKLOAD, "step-law")  # type: ignore[arg-type]


def one_cell_less(data: Path, left_out: int) -> tuple[str, Runs]:
    import polars as pl

    runs = read_runs(data / "step-law" / "moe_lr_bs_loss.csv", seq_len=2048)
    name = sorted(set(runs.frame["cell"]))[left_out]
    return name, replace(runs, frame=runs.frame.filter(pl.col("cell") != name))


def test_a_real_cell_takes_a_third_of_the_runs_of_random_search(data: Path) -> None:
    # Expected runs of random search: one over the share of the box within 0.25 %, counted on a mesh of the same surface.
    import polars as pl

    name, others = one_cell_less(data, 3)
    runs = read_runs(data / "step-law" / "moe_lr_bs_loss.csv", seq_len=2048)
    (cell,) = make_cells(replace(runs, frame=runs.frame.filter(pl.col("cell") == name))).cells
    terrain = cell.terrain()
    share = float((terrain.loss_gap - terrain.loss_gap.min() <= 0.0025).mean())
    prior = calibrate(others, target=cell.workload, without=["Step Law"], scored=False)
    box = {"learning_rate": cell.learning_rates[[0, -1]], "batch_tokens": cell.batches[[0, -1]]}
    search = Search(cell.workload, prior, box={k: (float(a), float(b)) for k, (a, b) in box.items()})
    rng, gaps = np.random.default_rng(0), []
    while not gaps or gaps[-1] > 0.0025:
        asked = search.ask()
        gaps.append(float(cell.gaps(asked.learning_rate, asked.batch_tokens).smooth[0] - terrain.loss_gap.min()))
        search.tell(asked, cell.minimum * (1 + gaps[-1]) * math.exp(0.0015 * rng.standard_normal()))
    assert len(gaps) <= 1 / share / 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"learning_rate": (0.0, 1e-2)}, "0 < low <= high"),
        ({"learning_rate": (1e-2, 1e-3)}, "0 < low <= high"),
        ({"batch_tokens": (1e5, math.inf)}, "finite"),
        ({"batch": (1e5, 1e6)}, "a box has"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused(wrong: dict[str, tuple[float, float]], said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        Search(WORKLOAD, STEP_LAW, box=wrong)


@pytest.mark.parametrize(
    ("setting", "loss", "sd", "said"),
    [
        ((1e-3, 2e5), -1.0, 0.0, "above 0"),
        ((1e-3, 2e5), 0.0, 0.0, "above 0"),
        ((1e-3, 2e5), 3.0, -1.0, "sd must be"),
        ((0.0, 2e5), 3.0, 0.0, "learning_rate of a run"),
        ((1e-3, math.inf), 3.0, 0.0, "batch_tokens of a run"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(setting: tuple[float, float], loss: float, sd: float, said: str) -> None:
    search = Search(WORKLOAD, STEP_LAW)
    with pytest.raises(ForescaleError, match=said):
        search.tell(setting, loss, sd=sd)
    assert not search.runs


def test_a_law_that_predicts_neither_is_no_prior() -> None:
    with pytest.raises(ForescaleError, match="predicts neither"):
        Search(WORKLOAD, law("chinchilla"))


def test_a_law_of_batch_alone_takes_the_rate_from_the_published_prior() -> None:
    first, published = Search(WORKLOAD, law("power-lines")).ask(), Search(WORKLOAD).ask()
    assert first.learning_rate == pytest.approx(published.learning_rate, rel=0.5)


def test_a_setting_is_told_as_it_was_asked_or_as_it_was_run() -> None:
    search = Search(WORKLOAD, STEP_LAW)
    asked = search.ask()
    search.tell(asked, 3.0)
    rounded = search.ask()
    search.tell((rounded.learning_rate, 2048 * round(rounded.batch_tokens / 2048)), 3.1)
    assert isinstance(asked, Setting)
    assert [r.loss for r in search.runs] == [3.0, None, 3.1]
