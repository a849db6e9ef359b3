"""The averaging view: coefficients of the updates and of the initial weights in the final weights."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.schedules import (
    SCHEDULES,
    Schedule,
    averaging,
    by_name,
    constant,
    cosine,
    factors,
    initial_weight,
    linear_to_zero,
    points,
    step,
    timescale_of,
    token_progress,
    update_weights,
    weight_decay_of,
    wsd,
)

STEPS = 20_000
HALF = points([(0, 0.5), (1, 1)])  # a batch that grows in a line from half to all of it

names = st.sampled_from([name for name in SCHEDULES if name != "points"])
timescales = st.floats(0.02, 2)
step_counts = st.integers(50, 500)


@pytest.mark.parametrize(
    ("timescale", "name", "c0", "peak", "effective", "last_tenth"),
    [  # facts/timescale-schedule-parametrization.md 7.2: S = 20,000; a row's digits as printed there
        (0.21, "constant:warmup=0", "0.0085", "1.000", "0.413", "0.379"),
        (0.21, "tenth:warmup=0", "0.0729", "0.628", "0.910", "0.067"),
        (0.21, "linear:warmup=0", "0.0924", "0.542", "0.872", "0.0235"),
        (0.21, "linear:warmup=0.1", "0.0924", "0.565", "0.831", "0.026"),
        (0.21, "cosine:warmup=0", "0.0924", "0.454", "0.765", "0.0039"),
        (0.05, "linear:warmup=0", "4.5e-5", "0.776", "0.504", "0.095"),
        (0.05, "tenth:warmup=0", "1.7e-5", "0.875", "0.458", "0.252"),
        (0.05, "constant:warmup=0", "2e-9", "1.000", "0.100", "0.865"),
    ],
)
def test_published_rows(timescale: float, name: str, c0: str, peak: str, effective: str, last_tenth: str) -> None:
    made = averaging(by_name(name), STEPS, timescale)
    printed = {"initial_weight": c0, "peak": peak, "effective_share": effective, "last_tenth": last_tenth}
    for field, text in printed.items():
        assert getattr(made, field) == pytest.approx(float(text), rel=0, abs=0.6 * unit(text)), field


def unit(text: str) -> float:
    """One in the last printed digit."""
    mantissa, _, power = text.partition("e")
    return 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


def test_a_wrong_step_semantics_would_be_seen() -> None:
    # A decay that starts two per cent of the run late moves every column of its row by more than is allowed above.
    late = averaging(points([(0, 1), (0.02, 1), (1, 0)]), STEPS, 0.21)
    assert abs(late.peak - 0.542) > 6e-4
    assert abs(late.initial_weight - 0.0924) > 6e-5
    assert abs(late.effective_share - 0.872) > 6e-4


@settings(max_examples=60, deadline=None)
@given(names, step_counts, timescales, st.booleans(), st.booleans())
def test_coefficients_are_a_convex_combination(
    name: str, steps: int, timescale: float, decays: bool, grows: bool
) -> None:
    options = {"weight_decay": cosine(0, 0.5) if decays else None, "batch": HALF if grows else None}
    weights = update_weights(by_name(name), steps, timescale, **options)
    first = initial_weight(by_name(name), steps, timescale, **options)
    assert weights.shape == (steps,)
    assert weights.min() >= 0
    assert weights.sum() + first == pytest.approx(1, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(names, st.integers(20, 60), st.floats(0.1, 2))
def test_coefficients_are_those_of_the_recursion(name: str, steps: int, timescale: float) -> None:
    # The definition: theta <- (1 - alpha) theta + alpha x, run with unit vectors for the initial weights and every x.
    theta, basis = np.eye(steps + 1)[0], np.eye(steps + 1)
    for i, factor in enumerate(factors(by_name(name), steps)):
        alpha = factor / (timescale * steps)
        theta = (1 - alpha) * theta + alpha * basis[i + 1]
    np.testing.assert_allclose(theta[0], initial_weight(by_name(name), steps, timescale), rtol=1e-12)
    np.testing.assert_allclose(theta[1:], update_weights(by_name(name), steps, timescale), rtol=1e-12, atol=1e-300)


def test_the_weights_of_a_real_adamw_are_this_average() -> None:
    # PyTorch's AdamW itself on a quadratic: its final weight is c0 theta_0 + sum c_i x_i with x_i = -update / decay.
    torch = pytest.importorskip("torch")
    steps, rate, decay, beta1, beta2, eps = 40, 0.02, 0.8, 0.9, 0.95, 1e-8
    weight = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=decay, betas=(beta1, beta2), eps=eps)
    seen, start = factors(cosine(0.1, 0.1), steps), weight.detach().numpy().copy()
    m, v, updates = np.zeros(2), np.zeros(2), []
    for i, factor in enumerate(seen.tolist(), start=1):
        gradient = 2 * weight.detach().numpy() + np.array([1.0, -2.0])
        weight.grad = torch.tensor(gradient)
        optimizer.param_groups[0]["lr"] = rate * factor
        optimizer.step()
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        updates.append(m / (1 - beta1**i) / (np.sqrt(v / (1 - beta2**i)) + eps))
    timescale = 1 / (rate * decay * steps)
    weights = update_weights(cosine(0.1, 0.1), steps, timescale)
    predicted = initial_weight(cosine(0.1, 0.1), steps, timescale) * start - weights @ np.array(updates) / decay
    np.testing.assert_allclose(weight.detach().numpy(), predicted, rtol=1e-12)


@pytest.mark.parametrize("timescale", [0.1, 0.21, 0.5])
@pytest.mark.parametrize(
    ("name", "mean"),
    [  # Closed forms of the mean factor (2.1); linear: whatever the warmup
        ("constant:warmup=0", 1),
        ("linear:warmup=0", 0.5),
        ("linear:warmup=0.1", 0.5),
        ("linear:warmup=0.5", 0.5),
        ("tenth:warmup=0", 0.55),
        ("cosine:warmup=0", 0.5),
        ("cosine:warmup=0,final=0.1", 0.55),
        ("wsd:warmup=0,decay=0.2", 0.9),
    ],
)
def test_the_initial_weight_depends_on_the_mean_factor_alone(name: str, mean: float, timescale: float) -> None:
    made = averaging(by_name(name), STEPS, timescale)
    assert made.mean_factor == pytest.approx(mean, abs=2 / STEPS)
    # To first order in alpha: ln c0 = sum ln(1 - alpha) lies within sum alpha^2 of -mean / timescale.
    assert made.initial_weight == pytest.approx(math.exp(-mean / timescale), rel=2 / (timescale**2 * STEPS))


@pytest.mark.parametrize("timescale", [0.05, 0.21, 0.6])
def test_linear_to_zero_has_its_closed_form_and_its_peak(timescale: float) -> None:
    x = (np.arange(STEPS) + 0.5) / STEPS  # 2.1: S c(x) = (1 / tau) (1 - x) exp(-(1 - x)^2 / (2 tau))
    density = (1 - x) / timescale * np.exp(-((1 - x) ** 2) / (2 * timescale))
    ours = STEPS * update_weights(linear_to_zero(0), STEPS, timescale)
    np.testing.assert_allclose(ours, density, atol=density.max() * 1e-3)
    peak = averaging(linear_to_zero(0), STEPS, timescale).peak
    assert peak == pytest.approx(1 - math.sqrt(timescale), abs=2e-4)


def test_a_constant_rate_grows_geometrically_towards_the_last_step() -> None:
    weights = update_weights(constant(0), 1000, 0.2)
    np.testing.assert_allclose(weights[1:] / weights[:-1], 1 / (1 - 1 / 200), rtol=1e-12)
    assert weights[-1] == pytest.approx(1 / 200)


def test_cosine_counts_the_last_updates_less_than_linear() -> None:
    # Straight to Zero's reason for linear: same initial weight, and less weight on the last tenth.
    line, curve = (averaging(make(0), STEPS, 0.21) for make in (linear_to_zero, cosine))
    assert line.initial_weight == pytest.approx(curve.initial_weight, rel=1e-4)
    assert line.last_tenth > 5 * curve.last_tenth


def test_the_last_tenth_of_steps_that_do_not_divide_by_ten() -> None:
    # One and a half of fifteen steps, at alpha = 1/15 each.
    weights = update_weights(constant(0), 15, 1)
    assert averaging(constant(0), 15, 1).last_tenth == pytest.approx(weights[14] + weights[13] / 2)


def test_a_flat_average_has_all_of_its_steps() -> None:
    # alpha_i = 1 / i keeps every update at the same coefficient: factors 1, 1/2, 1/3, ... of a peak alpha of 1.
    def harmonic(progress: float) -> float:
        return 1 / max(1, math.floor(progress * 100 + 1e-9) + 1)

    made = averaging(harmonic, 100, 1 / 100)
    assert made.effective_share == pytest.approx(1)
    np.testing.assert_allclose(update_weights(harmonic, 100, 1 / 100), 1 / 100)


def test_a_decay_schedule_multiplies_the_rate() -> None:
    weights = update_weights(constant(0), 500, 0.2, weight_decay=linear_to_zero(0))
    np.testing.assert_allclose(weights, update_weights(linear_to_zero(0), 500, 0.2), rtol=1e-12)
    halved = averaging(constant(0), 500, 0.2, weight_decay=points([(0, 0.5), (1, 0.5)]))
    assert halved.mean_factor == pytest.approx(0.5)
    assert halved.initial_weight == pytest.approx(averaging(constant(0), 500, 0.4).initial_weight)


def test_a_doubled_batch_halves_the_steps() -> None:
    # Half the tokens at b, half at 2 b: two of three steps lie in the first half; the scale of b does not matter.
    for low in (0.5, 0.1):
        edges = token_progress(lambda p, low=low: low if p < 0.5 else 2 * low, 300)
        np.testing.assert_allclose(edges[200], 0.5, atol=1e-9)
        np.testing.assert_allclose(np.diff(edges)[:200], 0.5 / 200, rtol=1e-6)
        np.testing.assert_allclose(np.diff(edges)[200:], 0.5 / 100, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 1), st.floats(0.02, 1), step_counts)
def test_steps_under_a_batch_that_changes_in_a_line(first: float, last: float, steps: int) -> None:
    # ds = dp / b(p), b = b0 + (b1 - b0) p: the batch itself is b0 (b1 / b0)^(s / S).
    edges = token_progress(points([(0, first), (1, last)]), steps)
    assert (edges[0], edges[-1]) == (0, 1)
    batch = first + (last - first) * edges
    np.testing.assert_allclose(batch, first * (last / first) ** (np.arange(steps + 1) / steps), rtol=1e-5)


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd"])
def test_a_constant_batch_is_no_schedule(name: str) -> None:
    even, same = (averaging(by_name(name), 700, 0.2, batch=batch) for batch in (None, points([(0, 0.3), (1, 0.3)])))
    for field in ("initial_weight", "peak", "effective_share", "last_tenth", "mean_factor"):
        assert getattr(even, field) == pytest.approx(getattr(same, field), rel=1e-9)


def test_a_growing_batch_reads_schedules_at_token_progress() -> None:
    edges = token_progress(HALF, 1000)
    seen = np.array([max(linear_to_zero(0)(a), linear_to_zero(0)(b)) for a, b in pairwise(edges)])
    alphas = seen / (0.2 * 1000)
    expected = [alphas[i] * np.prod(1 - alphas[i + 1 :]) for i in range(1000)]
    np.testing.assert_allclose(update_weights(linear_to_zero(0), 1000, 0.2, batch=HALF), expected, rtol=1e-10)
    made = averaging(linear_to_zero(0), 1000, 0.2, batch=HALF)
    late = np.array(expected)[edges[:-1] >= 0.9].sum()
    assert made.last_tenth == pytest.approx(late, abs=max(expected))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: update_weights(constant(0), 4, 0.2), "at most 1 in every step; got 1.25"),
        (lambda: averaging(constant(0), 10, 0.2, weight_decay=lambda _: 3.0), "at most 1 in every step; got 1.5"),
        (lambda: initial_weight(linear_to_zero(), 100, 0), "timescale must be finite and above zero"),
        (lambda: initial_weight(linear_to_zero(), 0, 0.2), "steps must be a whole number"),
        (lambda: update_weights(linear_to_zero(), 100, 0.2, batch=linear_to_zero()), "above 0 everywhere"),
        (lambda: averaging(lambda _: 0.0, 100, 0.2), "needs an update"),
        (lambda: averaging(lambda _: -1.0, 100, 0.2), "finite and at least 0"),
    ],
)
def test_what_is_no_average(call, words: str) -> None:
    with pytest.raises(ForescaleError, match=words):
        call()


def test_an_alpha_of_one_forgets_everything_before() -> None:
    weights = update_weights(step(0, [(0.5, 0.1)]), 10, 0.1)
    assert initial_weight(step(0, [(0.5, 0.1)]), 10, 0.1) == 0
    assert weights[:4].sum() == 0
    assert weights.sum() == pytest.approx(1)


def test_timescale_and_its_inverse() -> None:
    # Power Lines at 610M, 20 tokens per parameter (facts 7.1): D = 12.2e9, B = 252 x 2048, eta = 0.002, tau = 0.2236.
    decay = weight_decay_of(0.2236, 252 * 2048, 0.002, 12.2e9)
    assert decay == pytest.approx(0.0946, abs=5e-5)
    assert timescale_of(252 * 2048, 0.002, decay, 12.2e9) == pytest.approx(0.2236, rel=1e-15)
    with pytest.raises(ForescaleError, match="weight_decay"):
        timescale_of(252 * 2048, 0.002, 0, 12.2e9)


def test_a_long_plateau_remembers_less_than_a_line() -> None:
    made: list[Schedule] = [linear_to_zero(), wsd()]
    line, plateau = (averaging(each, STEPS, 0.21) for each in made)
    assert plateau.initial_weight < line.initial_weight
    assert plateau.peak > line.peak
