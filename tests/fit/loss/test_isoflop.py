"""Compute-optimal allocation: closed forms against numerical optimisation, the parabola's bias, public iso-FLOP sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar

from forescale.errors import ForescaleError, UnknownNameError
from forescale.fit.loss import Budget, fit_isoflops
from forescale.fit.loss._isoflop import closed_form
from forescale.laws import law
from forescale.plan._allocate import allocate

Columns = dict[str, Any]
EPOCH = law("epoch").predicts["loss"].constants
TRADES = ("A", "B", "alpha", "beta")
# Porian et al. 2024 (2406.19146): how the parameters are counted, warmup, decay and tuning move the exponent of N*.
PORIAN = {
    ("base", "long", "kaplan", "kaplan", "train"): 0.834,
    ("base", "long", "kaplan", "standard", "val"): 0.701,
    ("base", "short", "kaplan", "standard", "val"): 0.604,
    ("base", "short", "chinchilla", "standard", "val"): 0.571,
    ("tuned", "short", "const", "standard", "val"): 0.497,
}


def ratio(c: Any, compute: float) -> float:
    """Tokens per parameter of the closed form, C = 6 N D."""
    return compute / 6 / closed_form(**{n: c[n] for n in TRADES}, scale=compute / 6) ** 2


def surface(N: Any, D: Any) -> Any:
    return law("epoch").predict("loss", params=N, tokens=D)


def iso_set(noise: float = 0.0, budgets: int = 6, sizes: int = 9, low: float = 0.3, high: float = 3.0) -> Columns:
    """Epoch's law at sizes from `low` to `high` times 20 tokens per parameter's."""
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(6e18, 1e21, budgets), sizes)
    N = np.sqrt(C / 6 / 20) * np.tile(np.geomspace(low, high, sizes), budgets)
    loss = surface(N, C / (6 * N))
    return {"params": N, "compute": C, "loss": loss * np.exp(noise * rng.standard_normal(len(C)))}


def ln_ratio(budget: Budget) -> float:
    assert budget.parabola is not None
    return math.log(budget.parabola.tokens_per_param.value / budget.law.tokens_per_param.value)


@pytest.mark.parametrize("compute", [1e18, 5.88e23, 1e26])
@pytest.mark.parametrize("name", ["epoch", "chinchilla"])
def test_the_closed_form_is_the_numerical_optimum(name: str, compute: float) -> None:
    N, D = allocate(compute, law(name))
    assert pytest.approx(ratio(law(name).predicts["loss"].constants, compute), rel=1e-6) == D / N


@pytest.mark.parametrize("trade", [0.8, 1.0, 1.16])
def test_the_closed_form_holds_where_tokens_cost_more_or_less_than_parameters(trade: float) -> None:
    scale = 1e20 / 6 * 1e9 ** (trade - 1)

    def along(n: float) -> float:
        N = math.exp(n)
        return float(surface(N, scale * N**-trade))

    found = minimize_scalar(along, bounds=(math.log(1e7), math.log(1e11)), method="bounded", options={"xatol": 1e-12})
    exact = closed_form(**{n: EPOCH[n] for n in TRADES}, scale=scale, trade=trade)
    assert math.exp(found.x) == pytest.approx(exact, rel=1e-6)


def test_muennighoffs_rule_is_the_numerical_optimum() -> None:
    # 2305.16264: with unlimited unique tokens the law is Chinchilla's; with few, more compute buys epochs and parameters
    # such that neither another epoch nor another parameter would have bought more: equal returns per FLOP.
    one = law("muennighoff")
    N, D = allocate(1e21, one)
    exact = ratio(one.predicts["loss"].constants, 1e21)
    assert pytest.approx(exact, rel=1e-6) == D / N
    unique = D / 6
    N, D = allocate(1e21, one, unique_tokens=unique)

    def loss(params: float, tokens: float) -> float:
        return one.predict("loss", params=params, tokens=tokens, unique_tokens=unique)

    by_params = (loss(N * 1.001, D) - loss(N / 1.001, D)) / math.log(1.001)
    by_tokens = (loss(N, D * 1.001) - loss(N, D / 1.001)) / math.log(1.001)
    assert by_params == pytest.approx(by_tokens, rel=1e-2)
    # The paper's finding: on repeated data epochs should grow faster than parameters.
    assert exact < D / N


def test_muennighoffs_rule_beats_every_other_split() -> None:
    # The second route: the law itself on a fine grid of splits, for compute that buys one to some hundred epochs.
    one, unique = law("muennighoff"), 1e10
    for compute in (1e20, 1e21, 1e22):
        N, D = allocate(compute, one, unique_tokens=unique)
        sizes = np.geomspace(N / 30, N * 30, 20_001)
        losses = one.predict("loss", params=sizes, tokens=compute / (6 * sizes), unique_tokens=unique)
        best = one.predict("loss", params=N, tokens=D, unique_tokens=unique)
        assert best <= losses.min() * (1 + 1e-9)
        assert sizes[losses.argmin()] == pytest.approx(N, rel=2e-3)


@pytest.mark.parametrize("family", ["additive", "skaling"])
def test_the_law_finds_the_truth_and_says_the_parabolas_bias(family: str) -> None:
    found = fit_isoflops(iso_set(), family, bootstraps=20)
    assert len(found.budgets) == 6
    for each in found.budgets:
        assert each.law.tokens_per_param.value == pytest.approx(ratio(EPOCH, each.compute), rel=2e-3)
        N, D = each.law.params.value, each.law.tokens.value
        assert pytest.approx(each.compute, rel=1e-9) == 6 * N * D
        assert each.seen
        # Without noise all that parts the parabola from the truth is its bias.
        assert ln_ratio(each) == pytest.approx(math.log(each.bias), abs=2e-3)
        assert abs(math.log(each.bias)) > 2e-3
    # 2203.15556, Eq. 4: N* grows as C^(beta / (alpha + beta)).
    exponent = EPOCH["beta"] / (EPOCH["alpha"] + EPOCH["beta"])
    assert found.law is not None
    assert found.parabola is not None
    assert found.law.params.value == pytest.approx(exponent, abs=1e-3)
    assert found.law.tokens.value == pytest.approx(1 - exponent, abs=1e-3)
    assert found.law.tokens_per_param.value == pytest.approx(1 - 2 * exponent, abs=2e-3)
    assert found.parabola.params.value - found.law.params.value == pytest.approx(found.parabola_bias, abs=1e-3)


@pytest.mark.parametrize(("left", "right"), [(1.5, 1.5), (0.5, 2.5), (2.5, 0.5), (0.2, 1.0)])
def test_the_parabolas_bias_is_that_of_the_closed_form(left: float, right: float) -> None:
    # Where alpha = beta, loss over n = ln N is E + 2 c cosh(alpha (n - n*)). The least-squares parabola over even sizes
    # from n* - left to n* + right follows from its Legendre coefficients; with kappa = alpha h, h half the width, delta
    # the middle's distance from n*, s and c the hyperbolic sine and cosine of kappa, its vertex lies
    #   delta - h kappa (kappa c - s) tanh(alpha delta) / (5 kappa^2 s + 15 s - 15 kappa c)
    # from n*: nowhere else but in a symmetric window is that 0.
    alpha, compute, count = 0.35, 6e20, 801
    A, B = 480.0, 2100.0
    exact = closed_form(A=A, B=B, alpha=alpha, beta=alpha, scale=compute / 6)
    n = math.log(exact) + np.linspace(-left, right, count)
    N = np.tile(np.exp(n), 2)
    C = np.repeat([compute, compute / 10], count)
    N[count:] *= 10**-0.5  # a second budget with its sizes around its own optimum, so that the law can be told
    D = C / (6 * N)
    found = fit_isoflops(
        {"params": N, "tokens": D, "loss": 1.8 + A / N**alpha + B / D**alpha}, "additive", near=9, bootstraps=2
    )
    h, delta = (left + right) / 2, (right - left) / 2
    kappa = alpha * h
    s, c = math.sinh(kappa), math.cosh(kappa)
    shift = delta - h * kappa * (kappa * c - s) * math.tanh(alpha * delta) / (
        5 * kappa**2 * s + 15 * s - 15 * kappa * c
    )
    for each in found.budgets:
        assert ln_ratio(each) == pytest.approx(-2 * shift, abs=2e-3)
        assert math.log(each.bias) == pytest.approx(-2 * shift, abs=2e-3)
    assert (shift > 1e-3) == (right > left)


def test_a_window_on_one_side_misleads_the_parabola_and_not_the_law() -> None:
    found = fit_isoflops(iso_set(low=0.03, high=1.5, sizes=12), near=9, bootstraps=20)
    for each in found.budgets:
        exact = ratio(EPOCH, each.compute)
        assert each.law.tokens_per_param.value == pytest.approx(exact, rel=5e-3)
        assert each.parabola is not None
        assert abs(math.log(each.parabola.tokens_per_param.value / exact)) > 0.1


def test_the_law_is_surer_than_a_parabola() -> None:
    found = fit_isoflops(iso_set(noise=0.003), "additive", bootstraps=200)
    widths = []
    for each in found.budgets:
        p, q = each.law.tokens_per_param, each.parabola.tokens_per_param if each.parabola else None
        assert q is not None
        assert p.low < p.value < p.high
        widths.append((math.log(p.high / p.low), math.log(q.high / q.low)))
    by_law, by_parabola = np.mean(widths, axis=0)
    assert by_law < by_parabola


def test_checkpoints_of_one_run_are_drawn_together() -> None:
    # Six sizes, each with an error of its own at every budget: more budgets of the same runs say nothing new.
    x = iso_set(budgets=6, sizes=6)
    sizes = np.geomspace(1e8, 3e9, 6)
    x["params"] = np.tile(sizes, 6)
    x["loss"] = surface(x["params"], x["compute"] / (6 * x["params"]))
    x["loss"] = x["loss"] * np.tile(np.exp(0.003 * np.random.default_rng(4).standard_normal(6)), 6)
    together = fit_isoflops(x, "additive", near=9, bootstraps=300)
    apart = fit_isoflops(x, "additive", near=9, bootstraps=300, groups=None)
    assert together.law is not None
    assert apart.law is not None
    assert together.law.params.stderr > 1.5 * apart.law.params.stderr


def test_an_optimum_at_the_edge_is_said() -> None:
    found = fit_isoflops(iso_set(low=0.1, high=0.6), near=9, bootstraps=20)
    for each in found.budgets:
        assert each.best == each.law.edge == "largest"
        assert not each.seen
    assert any("best run is the smallest or largest size at every budget" in w for w in found.warnings)
    assert any("law puts the optimum beyond" in w for w in found.warnings)
    assert found.to_json()["budgets"][0]["optimum_seen"] is False


def test_one_budget_has_no_exponents() -> None:
    x = iso_set(budgets=1)
    found = fit_isoflops(x, "additive", bootstraps=20)
    assert (found.law, found.parabola, found.parabola_bias) == (None, None, None)
    assert any("no exponents" in w for w in found.warnings)


def test_learning_curves_are_read_off_at_equal_compute() -> None:
    sizes, steps = np.geomspace(1e8, 4e9, 9), np.geomspace(2e9, 2e11, 40)
    N, D = (m.ravel() for m in np.meshgrid(sizes, steps, indexing="ij"))
    found = fit_isoflops({"params": N, "tokens": D, "loss": surface(N, D)}, "additive", bootstraps=20)
    assert any("read off" in w for w in found.warnings)
    assert len(found.budgets) > 4
    for each in found.budgets:
        # Straight lines between checkpoints: a few thousandths of what the points themselves say.
        assert each.shelf.loss == pytest.approx(surface(each.shelf.params, each.shelf.tokens), rel=1e-4)
        assert each.law.tokens_per_param.value == pytest.approx(ratio(EPOCH, each.compute), rel=5e-3)


def test_a_budget_that_counts_more_than_6_n_d_keeps_its_own_trade() -> None:
    # Marin's and xLSTM's budgets count attention and embeddings: at equal compute D falls as N^-1.1, say.
    C = np.repeat(np.geomspace(1e19, 1e21, 5), 9)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.3, 3, 9), 5)
    D = C / 6 / N * (N / 1e9) ** -0.1
    found = fit_isoflops({"params": N, "tokens": D, "compute": C, "loss": surface(N, D)}, "additive", bootstraps=20)
    for each in found.budgets:
        assert each.shelf.trade == pytest.approx(1.1)
        exact = closed_form(**{n: EPOCH[n] for n in TRADES}, scale=each.compute / 6 * 1e9**0.1, trade=1.1)
        assert each.law.params.value == pytest.approx(exact, rel=2e-3)


def test_the_chinchilla_points_give_about_twenty(data: Path) -> None:
    found = fit_isoflops(open_athena(data, "epochai_chinchilla__massivetext__chinchilla"), bootstraps=200)
    # 2203.15556, Table 3 and 2404.10102: about 20 tokens per parameter at these budgets, whichever way it is read.
    for each in found.budgets:
        assert 13 < each.law.tokens_per_param.value < 27
        assert 0.95 < each.bias < 1.05
    # 2404.10102 (facts): N* ~ C^0.5126. Another set of points of the same figure.
    assert found.law is not None
    assert found.law.params.low < 0.5126 < found.law.params.high


def test_marins_parabolas_are_biased_on_real_runs(data: Path) -> None:
    # Sizes over a factor of 80 with the optimum off their middle; alpha and beta differ by nearly a factor of two.
    found = fit_isoflops(open_athena(data, "marin_202603__comma__llama_2"), near=9, bootstraps=50)
    assert all(each.bias < 0.97 and ln_ratio(each) < 0 for each in found.budgets)
    assert min(each.bias for each in found.budgets) < 0.8
    assert found.parabola_bias is not None
    assert found.parabola_bias > 0.01


@pytest.mark.parametrize("setting", PORIAN)
def test_porians_exponents_are_the_authors_own(data: Path, setting: tuple[str, ...]) -> None:
    # published_fits.csv: their bootstrapped exponents; optimal_pairs.csv: their interpolated optima of the same runs.
    folder = data / "porian-compute-optimal"
    chosen = dict(zip(("hparams", "warmup", "decay", "param_count", "val"), setting, strict=True))
    points = pl.read_csv(folder / "isoflop_points.csv").filter(**chosen)
    published = pl.read_csv(folder / "published_fits.csv").filter(**chosen, method="bs_median", quantity="n_exponent")
    assert published["value"].item() == pytest.approx(PORIAN[setting], abs=5e-4)
    theirs = pl.read_csv(folder / "optimal_pairs.csv").filter(**chosen).drop_nulls("multiplier")
    x = {"params": points["n"], "tokens": points["t"], "compute": points["flops"], "loss": points["loss"]}
    found = fit_isoflops(x, bootstraps=30)
    assert found.law is not None
    assert found.parabola is not None
    assert found.law.params.value == pytest.approx(PORIAN[setting], abs=0.035)
    assert found.parabola.params.value == pytest.approx(PORIAN[setting], abs=0.025)
    ours = {round(math.log(each.compute), 1): each for each in found.budgets}
    apart = [
        math.log(ours[key].law.tokens_per_param.value / m)
        for c, m in theirs.select("flops", "multiplier").iter_rows()
        if (key := round(math.log(c), 1)) in ours
    ]
    assert len(apart) >= 7
    # Their own s.d. of ln tokens per parameter is 0.2 to 0.47.
    assert np.sqrt(np.mean(np.square(apart))) < 0.35


def test_runs_far_above_their_budgets_lowest_loss_would_bend_the_law(data: Path) -> None:
    points = pl.read_csv(data / "porian-compute-optimal" / "isoflop_points.csv")
    points = points.filter(hparams="tuned", param_count="standard")
    x = {"params": points["n"], "tokens": points["t"], "compute": points["flops"], "loss": points["loss"]}
    near, every = (fit_isoflops(x, near=share, bootstraps=20) for share in (0.1, 9))
    assert near.fit.rms < 0.01 < 0.05 < every.fit.rms
    assert any("35 runs more than 10 % above" in w for w in near.warnings)
    assert near.law is not None
    assert every.law is not None
    assert abs(near.law.params.value - 0.497) < 0.01 < abs(every.law.params.value - 0.497)


def test_xlstm_and_gemstones(data: Path) -> None:
    runs = pl.read_csv(data / "xlstm-isoflop" / "runs.csv", infer_schema_length=None)
    runs = runs.filter(pl.col("final_val_dclm_loss") < 4, arch="llama", context_length=2048)
    x = {"params": runs["num_params"], "tokens": runs["tokens"], "loss": runs["final_val_dclm_loss"]}
    found = fit_isoflops(x, bootstraps=50)  # budgets told apart by 6 N D, which spreads by a fifth within each
    assert [len(each.shelf.loss) for each in found.budgets] == [22, 26, 36]
    assert all(each.seen for each in found.budgets)
    gems = pl.read_ndjson(data / "gemstones" / "wandb_df_for_fitting_hot.jsonl")
    y = {"params": gems["params_active_precise"], "tokens": gems["tokens"], "loss": gems["final_loss"]}
    read = fit_isoflops(y, bootstraps=50)
    # 22 shapes in six sizes, a checkpoint every 10B tokens: a chain of compute that is no budget, so read off.
    assert any("read off" in w for w in read.warnings)
    assert not all(each.seen for each in read.budgets)
    assert read.law is not None
    assert 0.4 < read.law.params.value < 0.7


def open_athena(data: Path, experiment: str) -> Columns:
    table = pl.read_csv(data / "open-athena-isoflops" / "isoflops.csv", infer_schema_length=None)
    table = table.filter(~pl.col("outlier"), experiment=experiment)
    return {"params": table["params"], "tokens": table["tokens"], "compute": table["budget"], "loss": table["loss"]}


SCATTERED = {**iso_set(), "compute": np.geomspace(1e18, 1e22, 54)}


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        (SCATTERED, {}, "no compute budget with four sizes"),
        (iso_set(), {"near": 1e-5}, "within 0.001 % of its lowest loss"),
        (iso_set(), {"near": 0.0}, "must be above 0"),
        (iso_set(), {"family": "kaplan"}, "skaling and additive; got 'kaplan'"),
        ({k: v[:4] for k, v in iso_set().items()}, {}, "6 constants"),
        ({**iso_set(), "loss": np.full(54, 3.0)}, {}, "same loss"),
    ],
)
def test_what_is_no_iso_flop_set_is_refused(x: Columns, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ForescaleError, match=says):
        fit_isoflops(x, **{"bootstraps": 5, **options})


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(UnknownNameError, match="no column 'run'"):
        fit_isoflops(iso_set(), groups="run", bootstraps=5)
