"""The schedules as functions of progress."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError, UnknownNameError
from forescale.schedules import (
    SCHEDULES,
    Schedule,
    by_name,
    constant,
    cosine,
    cyclic,
    inverse_sqrt,
    linear,
    linear_to_zero,
    options_of,
    points,
    step,
    tenth,
    wsd,
)

WARMED = [name for name in SCHEDULES if name != "points"]
PROGRESS = np.linspace(0, 1, 1001).tolist()


def mean(schedule: Schedule, cells: int = 10_000) -> float:
    return float(np.mean([schedule((i + 0.5) / cells) for i in range(cells)]))


def test_linear_to_zero() -> None:
    schedule = linear_to_zero(warmup=0.1)
    assert (schedule(0), schedule(0.1), schedule(1)) == (0, 1, 0)
    assert schedule(0.55) == pytest.approx(0.5, abs=1e-16)
    assert schedule(0.05) == 0.5
    assert [linear()(p) for p in PROGRESS] == [schedule(p) for p in PROGRESS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # Means over a run without warmup, closed forms; linear, tenth, cosine, wsd: Straight to Zero (2502.15938).
        ("constant", 1),
        ("linear", 1 / 2),
        ("tenth", 0.55),
        ("linear:final=0.1", 0.55),
        ("cosine", 1 / 2),
        ("cosine:final=0.1", 0.55),
        ("wsd:decay=0.3", 1 - 0.3 / 2),
        ("wsd-sqrt:decay=0.3", 1 - 0.3 * 2 / 3),
        ("wsd-sqrt:decay=0.3,final=0.1", 1 - 0.9 * 0.3 * 2 / 3),
        ("step", 0.8 + 0.0316 + 0.01),
        ("cyclic:cycles=4", 1 / 2),
        ("inverse-sqrt:scale=0.5", 2 * math.sqrt(0.5) * (math.sqrt(1.5) - math.sqrt(0.5))),
    ],
)
def test_means(name: str, expected: float) -> None:
    assert mean(by_name(name, warmup=0)) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30)
@given(st.floats(0, 0.999))
def test_linear_to_zero_averages_half_for_any_warmup(warmup: float) -> None:
    assert mean(linear_to_zero(warmup), 4000) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", WARMED)
@given(st.floats(0.001, 0.75), st.floats(0, 1))
def test_every_warmup_is_a_line_from_zero_to_the_peak(name: str, warmup: float, passed: float) -> None:
    schedule = by_name(name, warmup=warmup)
    assert schedule(0) == 0
    assert schedule(warmup) == 1
    if passed < 1:
        assert schedule(passed * warmup) == pytest.approx(passed, abs=1e-12)


@pytest.mark.parametrize("name", WARMED)
@given(st.floats(0, 1))
def test_factors_lie_between_zero_and_the_peak(name: str, progress: float) -> None:
    assert 0 <= by_name(name)(progress) <= 1


@pytest.mark.parametrize("name", [name for name in WARMED if "final" in options_of(name)])
@given(st.floats(0, 0.5), st.floats(0, 1))
def test_the_end_is_the_final_factor_and_nothing_after_the_warmup_lies_below(
    name: str, warmup: float, final: float
) -> None:
    schedule = by_name(name, warmup=warmup, final=final)
    assert schedule(1) == final
    assert schedule(warmup) == 1
    assert min(schedule(p) for p in PROGRESS[::50] if p >= warmup) >= final - 1e-15


def test_no_warmup_starts_at_the_peak() -> None:
    for name in WARMED:
        assert by_name("inverse-sqrt:scale=0.1" if name == "inverse-sqrt" else name, warmup=0)(0) == 1


def test_wsd() -> None:
    line, root = wsd(0.1, 0.2), wsd(0.1, 0.2, "sqrt")
    assert {line(p) for p in (0.1, 0.3, 0.8)} == {1}
    assert line(0.9) == pytest.approx(0.5)
    assert root(0.85) == pytest.approx(0.5)  # a quarter of the decay: 1 - sqrt(1/4)
    assert line(1) == root(1) == 0
    full = wsd(0.1, 0.9)
    assert [full(p) for p in PROGRESS] == pytest.approx([linear_to_zero(0.1)(p) for p in PROGRESS], abs=1e-15)


def test_inverse_sqrt_is_sqrt_of_warmup_over_progress() -> None:
    schedule = inverse_sqrt(0.04)  # Vaswani et al. 2017: min(step / W, sqrt(W / step)) of the peak
    for p in (0.04, 0.16, 0.36, 1.0):
        assert schedule(p) == pytest.approx(math.sqrt(0.04 / p))


def test_step_takes_the_new_factor_from_the_drop_on() -> None:
    schedule = step(0.1)  # DeepSeek LLM, 2401.02954: 31.6 % after 80 % of the tokens, 10 % after 90 %
    assert [schedule(p) for p in (0.1, 0.7999, 0.8, 0.8999, 0.9, 1)] == [1, 1, 0.316, 0.316, 0.1, 0.1]


def test_cyclic_falls_rises_and_ends_at_the_bottom() -> None:
    schedule = cyclic(0.1, cycles=2, final=0.1)
    assert [schedule(p) for p in (0.1, 0.25, 0.4, 0.55, 0.7, 1)] == pytest.approx([1, 0.55, 0.1, 0.55, 1, 0.1])
    once = cyclic(0.1, cycles=1)
    assert [once(p) for p in PROGRESS] == pytest.approx([linear_to_zero(0.1)(p) for p in PROGRESS], abs=1e-15)


def test_points_are_joined_by_lines() -> None:
    schedule = points([(0, 0), (0.1, 1), (1, 0)])
    assert [schedule(p) for p in PROGRESS] == pytest.approx([linear_to_zero(0.1)(p) for p in PROGRESS], abs=1e-15)
    assert (schedule(0), schedule(0.1), schedule(1)) == (0, 1, 0)


@pytest.mark.parametrize("name", [*WARMED, "points:0=1,1=0"])
@pytest.mark.parametrize("progress", [-1e-9, 1 + 1e-9, float("nan"), float("inf"), True, None, "0.5"])
def test_progress_is_a_number_between_zero_and_one(name: str, progress) -> None:
    with pytest.raises(ForescaleError, match="progress must"):
        by_name(name)(progress)


@pytest.mark.parametrize("name", WARMED)
@pytest.mark.parametrize("warmup", [-0.1, 1, 10, float("nan"), "0.1"])
def test_a_warmup_is_a_share_below_one(name: str, warmup) -> None:
    with pytest.raises(ForescaleError, match="warmup"):
        by_name(name, warmup=warmup)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: linear(final=1.1), "final must lie between 0 and 1"),
        (lambda: cosine(final=-0.1), "final must lie between 0 and 1"),
        (lambda: wsd(decay=0), "decay must be above 0"),
        (lambda: wsd(0.5, 0.6), "decay must be above 0 and fit beside the warmup"),
        (lambda: wsd(shape="cubic"), "shape must be linear or sqrt"),  # type: ignore[arg-type]
        (lambda: inverse_sqrt(0), "give scale"),
        (lambda: inverse_sqrt(0.1, scale=-1), "scale must be finite and above zero"),
        (lambda: cyclic(cycles=0), "cycles must be a whole number above zero"),
        (lambda: cyclic(cycles=1.5), "cycles must be a whole number"),  # type: ignore[arg-type]
        (lambda: step(0.5, [(0.4, 0.1)]), "drops must lie after the warmup"),
        (lambda: step(drops=[]), "drops must lie after the warmup"),
        (lambda: step(drops=[(0.9, 0.1), (0.8, 0.3)]), "drops must rise in progress"),
        (lambda: step(drops=[(1, 0.1)]), "before the end"),
        (lambda: points([(0, 1)]), "begin at progress 0 and end at progress 1"),
        (lambda: points([]), "begin at progress 0"),
        (lambda: points([(0.1, 1), (1, 0)]), "begin at progress 0"),
        (lambda: points([(0, 1), (0, 0.5), (1, 0)]), "points must rise in progress"),
        (lambda: points([(0, 0), (1, 0)]), "learn somewhere"),
        (lambda: points([(0, 2), (1, 0)]), "factor of points must lie between 0 and 1"),
        (lambda: points([(0, 1, 2)]), "pairs"),  # type: ignore[list-item]
    ],
)
def test_arguments_that_make_no_schedule(make, words: str) -> None:
    with pytest.raises(ForescaleError, match=words):
        make()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("linear", linear()),
        ("linear:warmup=0.2,final=0.1", linear(0.2, 0.1)),
        ("wsd:decay=0.1", wsd(decay=0.1)),
        ("wsd: decay = 0.1, shape = sqrt", wsd(decay=0.1, shape="sqrt")),
        ("wsd-sqrt", wsd(shape="sqrt")),
        ("tenth", tenth()),
        ("constant", constant()),
        ("cyclic:cycles=3", cyclic(cycles=3)),
        ("step:0.5=0.1,0.75=1e-2", step(drops=[(0.5, 0.1), (0.75, 0.01)])),
        ("step:warmup=0.2,0.5=0.1", step(0.2, [(0.5, 0.1)])),
        ("points:0=0,0.1=1,1=0", points([(0, 0), (0.1, 1), (1, 0)])),
    ],
)
def test_names_with_options(text: str, same: Schedule) -> None:
    named = by_name(text)
    assert [named(p) for p in PROGRESS] == [same(p) for p in PROGRESS]


def test_what_the_text_states_goes_before_what_is_given_for_all() -> None:
    assert by_name("linear:warmup=0.5", warmup=0.1)(0.25) == 0.5
    assert by_name("linear", warmup=0.5, final=0.2)(1) == 0.2


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("wds", {}, "one of linear, cosine, wsd"),
        ("", {}, "one of linear"),
        ("linear:decay=0.1", {}, "the schedule linear has warmup, final; got decay"),
        ("constant", {"final": 0.1}, "the schedule constant has warmup; got final"),
        ("points:0=1,1=0", {"warmup": 0.1}, "the schedule points has progress=factor; got warmup"),
        ("linear:0.5=0.1", {}, "got progress=factor"),
        ("points", {}, "needs progress=factor pairs"),
        ("wsd:decay", {}, "option=value"),
        ("wsd:decay=0.1,decay=0.2", {}, "each once"),
        ("wsd:decay=few", {}, "a number; got 'decay=few'"),
        ("wsd:decay=nan", {}, "decay must"),
        ("step:0.5=half", {}, "a number"),
    ],
)
def test_names_that_are_none(text: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ForescaleError, match=re.escape(words)):
        by_name(text, **options)
    if "one of" in words:
        with pytest.raises(UnknownNameError):
            by_name(text, **options)


def test_schedules_need_the_standard_library_only() -> None:
    probe = "import sys; import forescale.schedules; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "torch", "scipy", "polars", "matplotlib", "jax"}
