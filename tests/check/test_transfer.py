"""The transfer check: minima by closed forms, the verdict's three answers, and real runs with a planted fault."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_coords import Faulty, hidden_rate_as_it_is

from forescale.check import Point, Proxy, TransferCheck, check_transfer
from forescale.check._identity import digest_of, name_of
from forescale.check._minimum import find_minimum, loss_at, parabola, vertex
from forescale.check._transfer_values import find_minima
from forescale.errors import ForescaleError

RATES = tuple(2.0**e for e in range(-10, -3))


def bowl(at: float, bend: float = 0.02, seeds: int = 2) -> dict[float, list[float]]:
    """3 + bend (octaves from the best rate)^2, whose minimum is known."""
    return {rate: [3 + bend * math.log2(rate / at) ** 2] * seeds for rate in RATES}


@given(st.floats(-8.9, -5.1), st.floats(0.001, 1))
def test_the_vertex_of_a_parabola_is_found_exactly(octave: float, bend: float) -> None:
    found = find_minimum(1.0, bowl(2.0**octave, bend))
    assert math.log2(found.learning_rate) == pytest.approx(octave, abs=1e-6)
    assert found.loss == pytest.approx(3, abs=1e-9)
    assert not found.edge


def test_beside_a_divergence_the_best_run_counts() -> None:
    assert vertex((1, 2, 4), (3.0, 2.0, math.inf)) == (2, 2.0, False)
    assert vertex((1, 2, 4), (3.0, 2.0, 1.0)) == (4, 1.0, True)
    assert parabola((0.0, 1.0, 2.0), (1.0, 0.0, 1.0))[1] == pytest.approx(0)


def test_losses_between_rates() -> None:
    losses = {1.0: [2.0], 4.0: [3.0]}
    assert loss_at(2.0, losses) == pytest.approx(2.5)
    assert loss_at(0.1, losses) == 2
    assert loss_at(9, losses) == 3


def check(shifts: Sequence[float], bend: float = 0.02) -> TransferCheck:
    """A check whose minima lie so many octaves from 2^-7."""
    points = [
        Point(size=float(size), learning_rate=rate, seed=seed, loss=losses[seed])
        for size, shift in enumerate(shifts, start=1)
        for rate, losses in bowl(2.0 ** (shift - 7), bend).items()
        for seed in range(2)
    ]
    sizes = [float(i + 1) for i in range(len(shifts))]
    return TransferCheck(
        scheme="s",
        axis="width",
        fixed={},
        steps=1,
        tokens=1,
        seeds=2,
        points=tuple(points),
        minima=find_minima(points, sizes),
    )


def test_verdicts() -> None:
    assert check((0, 0.3, -0.4)).verdict == "pass"
    drifted = check((0, -0.7, -1.5))
    assert drifted.verdict == "fail"
    assert drifted.drift == pytest.approx(-1.5)
    # By the bowl the base's rate costs 0.02 * 1.5^2 of 3, read off straight lines between octaves: a little more.
    assert drifted.loss_gap_percent == pytest.approx(100 * 0.02 * 1.5**2 / 3, rel=0.15)
    assert check((0, -1.5), bend=0.0005).verdict == "undecided"  # a flat valley
    beyond = check((0, -4))  # below the grid: the drift is at least what is seen of it, and it costs
    assert beyond.minima[1].edge
    assert beyond.verdict == "fail"
    assert check((0, -4), bend=0.0001).verdict == "undecided"


SMALL = Proxy(seq_len=32, batch_sequences=4, steps=40, evaluated=16)


def test_runs_are_kept_and_not_made_again(tmp_path: Path) -> None:
    made: list[Point] = []
    options: dict[str, Any] = {
        "widths": (16, 32), "learning_rates": (2.0**-8, 2.0**-6, 2.0**-4), "proxy": SMALL, "folder": tmp_path,
        "progress": lambda point, *_: made.append(point),
    }  # fmt: skip
    first = check_transfer("mup", **options)
    runs = len(made)
    assert runs >= 6
    lines = (tmp_path / "points.jsonl").read_text().splitlines()
    (tmp_path / "points.jsonl").write_text("\n".join([*lines[:-1], lines[-1][:20]]))  # the last line was cut by a crash
    assert check_transfer("mup", **options) == first
    assert len(made) == runs + 1
    document = json.loads(json.dumps(first.to_json(), allow_nan=False))
    assert document["verdict"] == first.verdict
    assert document["check"] == "transfer"


def test_a_changed_model_is_not_taken_for_the_one_whose_runs_are_kept(tmp_path: Path) -> None:
    import runpy

    from forescale.check import _identity

    names: list[str] = []
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "x = 2"), ("b.py", "x = 2")):
        (tmp_path / name).write_text(f"{text}\n\n\ndef make(width, depth, density):\n    return x\n")
        _identity._file_digest.cache_clear()  # another process looks anew
        names.append(name_of(runpy.run_path(str(tmp_path / name))["make"]))
    assert names[0] != names[1] == names[2] == names[3]


def test_other_data_are_told_apart() -> None:
    import torch

    rows = torch.arange(12).view(3, 4)
    one, same, other = ((lambda _, t=t: t, rows) for t in (rows, rows.clone(), rows + 1))
    assert digest_of(one) == digest_of(same) != digest_of(other)
    assert digest_of(one) != digest_of((one[0], rows + 1))


def test_functions_that_no_other_process_can_import() -> None:
    with pytest.raises(ForescaleError, match=r"another process can import.*take 1 worker"):
        check_transfer(lambda *_: None, widths=(16, 32), proxy=SMALL, workers=2)


@pytest.mark.slow
def test_a_hidden_rate_that_is_not_scaled_drifts() -> None:
    options: dict[str, Any] = {"widths": (32, 128), "proxy": Proxy(steps=200)}
    right = check_transfer(lambda width, *_: Faulty(width), **options)
    wrong = check_transfer(lambda width, *_: Faulty(width, hidden_rate_as_it_is), **options)
    assert wrong.minima[0] == right.minima[0]  # the base is the base
    assert wrong.drift < right.drift - 0.7  # the largest stable rate of a matrix goes as 1 / width
    assert wrong.verdict == "fail"


@pytest.mark.slow
def test_standard_drifts_and_mup_does_not() -> None:
    options: dict[str, Any] = {"widths": (32, 128), "seeds": 2, "workers": 2, "proxy": Proxy(steps=200)}
    standard, mup = check_transfer("standard", **options), check_transfer("mup", **options)
    assert standard.verdict == "fail"
    assert standard.drift < -1
    assert abs(mup.drift) < 0.75


@pytest.mark.parametrize("rates", [(1e-3, 1e-2), (0.0, 1e-3, 1e-2)])
def test_too_few_rates(rates: tuple[float, ...]) -> None:
    with pytest.raises(ForescaleError, match="three or more learning rates"):
        check_transfer("mup", widths=(16, 32), learning_rates=rates, proxy=SMALL)
