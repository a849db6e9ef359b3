"""Compute-optimal tokens per parameter: closed forms against numerical optimisation, and public iso-FLOP sets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.fit.loss import fit_isoflops
from forescale.fit.loss._isoflop import closed_form
from forescale.laws import law
from forescale.plan._allocate import allocate

EPOCH = law("epoch").predicts["loss"].constants


def iso_set(noise: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(6e18, 1e21, 6), 9)
    N = np.sqrt(C / 6 / 20) * np.tile(np.geomspace(0.3, 3, 9), 6)
    loss = law("epoch").predict("loss", params=N, tokens=C / (6 * N))
    return {"params": N, "compute": C, "loss": loss * np.exp(noise * rng.standard_normal(len(C)))}


@pytest.mark.parametrize("compute", [1e18, 5.88e23, 1e26])
@pytest.mark.parametrize("name", ["epoch", "chinchilla"])
def test_the_closed_form_is_the_numerical_optimum(name: str, compute: float) -> None:
    c = law(name).predicts["loss"].constants
    ratio = closed_form(*(c[n] for n in ("E", "A", "B", "alpha", "beta")), product=compute / 6)
    N, D = allocate(compute, law(name))
    assert pytest.approx(ratio, rel=1e-6) == D / N


def test_muennighoffs_rule_is_the_numerical_optimum() -> None:
    # 2305.16264: with unlimited unique tokens the law is Chinchilla's; with few, more compute buys epochs and parameters
    # such that neither another epoch nor another parameter would have bought more: equal returns per FLOP.
    one = law("muennighoff")
    c = one.predicts["loss"].constants
    ratio = closed_form(*(c[n] for n in ("E", "A", "B", "alpha", "beta")), product=1e21 / 6)
    N, D = allocate(1e21, one)
    assert pytest.approx(ratio, rel=1e-6) == D / N
    unique = D / 6
    N, D = allocate(1e21, one, unique_tokens=unique)

    def loss(params: float, tokens: float) -> float:
        return one.predict("loss", params=params, tokens=tokens, unique_tokens=unique)

    by_params = (loss(N * 1.001, D) - loss(N / 1.001, D)) / math.log(1.001)
    by_tokens = (loss(N, D * 1.001) - loss(N, D / 1.001)) / math.log(1.001)
    assert by_params == pytest.approx(by_tokens, rel=1e-2)
    # The paper's finding: on repeated data epochs should grow faster than parameters.
    assert ratio < D / N


def test_the_law_finds_the_truth_and_says_the_parabolas_bias() -> None:
    found = fit_isoflops(iso_set(), bootstraps=20)
    assert len(found.optima) == 6
    for each in found.optima:
        true = closed_form(*(EPOCH[n] for n in ("E", "A", "B", "alpha", "beta")), product=each.compute / 6)
        assert each.tokens_per_param == pytest.approx(true, rel=1e-3)
        assert each.inside
        # Without noise all that parts the parabola from the truth is its bias.
        assert each.parabola / each.tokens_per_param == pytest.approx(each.bias, rel=1e-3)
        assert abs(math.log(each.bias)) > 1e-3


def test_the_law_is_surer_than_a_parabola() -> None:
    optima = fit_isoflops(iso_set(noise=0.003), bootstraps=200).optima
    for each in optima:
        assert each.low < each.tokens_per_param < each.high
    law_width = np.mean([math.log(o.high / o.low) for o in optima])
    assert law_width < np.mean([math.log(o.parabola_high / o.parabola_low) for o in optima])


def test_the_chinchilla_points_give_about_twenty(data: Path) -> None:
    table = pl.read_csv(data / "open-athena-isoflops" / "isoflops.csv", infer_schema_length=None)
    table = table.filter(pl.col("source") == "epochai_chinchilla", ~pl.col("outlier"))
    x = {"params": table["params"], "tokens": table["tokens"], "compute": table["budget"], "loss": table["loss"]}
    found = fit_isoflops(x, bootstraps=100)
    # 2203.15556, Table 3 and 2404.10102: about 20 tokens per parameter at these budgets, whichever way it is read.
    for each in found.optima:
        assert 13 < each.tokens_per_param < 27
        assert each.inside
        assert 0.95 < each.bias < 1.05


def test_porians_optima_are_the_authors_own(data: Path) -> None:
    # optimal_pairs.csv: the authors' own interpolated optima for the same runs (2406.19146).
    folder = data / "porian-compute-optimal"
    chosen = {"hparams": "tuned", "param_count": "standard"}
    points = pl.read_csv(folder / "isoflop_points.csv").filter(**chosen)
    theirs = pl.read_csv(folder / "optimal_pairs.csv").filter(**chosen).drop_nulls("multiplier")
    x = {"params": points["n"], "tokens": points["t"], "compute": points["flops"], "loss": points["loss"]}
    ours = {round(math.log(o.compute), 1): o for o in fit_isoflops(x, bootstraps=50).optima}
    pairs = [
        (ours[key], m)
        for c, m in theirs.select("flops", "multiplier").iter_rows()
        if (key := round(math.log(c), 1)) in ours
    ]
    assert len(pairs) >= 8
    # Their s.d. of the logarithm is 0.23; a parabola over the whole width of these sets is off by more, and upward.
    apart = [math.log(o.parabola / m) for o, m in pairs]
    assert 0 < np.median(apart) < math.log(1.5)


def test_a_set_without_budgets_is_refused() -> None:
    x = iso_set()
    scattered = {**x, "compute": np.geomspace(1e18, 1e22, len(x["loss"]))}
    with pytest.raises(ForescaleError, match="four sizes"):
        fit_isoflops(scattered, bootstraps=5)
