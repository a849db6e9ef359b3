from __future__ import annotations

from math import exp, log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.laws import law, names
from forescale.laws._conventions import conventions
from forescale.laws._load import CATALOG
from forescale.plan._choose import default_laws
from forescale.workload import Workload

REQUIRED = {
    "bjorck", "cerebras-gpt", "chinchilla", "completed-p", "deepseek", "epoch", "farseer", "gadre-c4", "hyperp",
    "kaplan", "kaplan-loss", "linear-batch", "ling-moe", "lingle", "marin-adamh", "marin-cbs", "marin-muonh", "minicpm",
    "mm1", "muennighoff", "porian", "power-lines", "schaipp", "scion", "skaling", "skaling-step", "small-batch-beta2",
    "sparse-t5", "sparse-vit", "square-root-batch", "step-law", "step-law-moe", "step-law-pooled", "steplaw-refit",
    "zhang-cbs", "zhang-refit", "zhou-2026",
}  # fmt: skip


@pytest.mark.parametrize("name", names())
def test_every_file_loads_under_its_own_name(name: str) -> None:
    found = law(name)
    assert found.name == name == (CATALOG / f"{name}.toml").stem
    assert found.title
    assert found.source.paper
    assert found.source.reference
    assert found.predicts
    assert all(f.unit for f in found.predicts.values())


def test_the_catalog_is_complete() -> None:
    assert set(names()) >= REQUIRED


@pytest.mark.parametrize("name", names())
def test_unverified_formulas_say_what_is_unverified(name: str) -> None:
    for formula in law(name).predicts.values():
        assert (formula.evidence == "unverified") == bool(formula.unverified)


def test_what_the_facts_mark_unverified_is_flagged() -> None:
    # facts/hp-laws.md 3.2, 3.6, 3.7, 3.10, section 4: the entries marked [U].
    flagged = {(n, q) for n in names() for q, f in law(n).predicts.items() if f.evidence == "unverified"}
    assert flagged == {
        ("bjorck-absolute", "learning_rate"),
        ("farseer", "loss"),
        ("power-lines", "critical_batch_tokens"),
        ("skaling-step", "batch_tokens"),
        ("zhang-cbs", "critical_batch_tokens"),
        ("zhou-2026", "learning_rate"),
    }


@pytest.mark.parametrize(
    "workload",
    [
        Workload(params=1e9, tokens=2e10, seq_len=2048),
        Workload(params=1e9, tokens=2e10, seq_len=2048, active_params=2e8),
        Workload(params=1e9, tokens=2e10, seq_len=2048, unique_tokens=1e10),
    ],
)
def test_no_default_law_is_unverified(workload: Workload) -> None:
    for quantity, chosen in default_laws(workload).items():
        assert chosen.formula(quantity).evidence in ("primary", "secondary", "computed")
        assert chosen.source.evidence != "unverified"


@pytest.mark.parametrize(
    ("N", "D", "rate", "batch"),
    [(1.07e9, 1e11, 1.56e-3, 1.11e6), (7e9, 1.4e12, 9.2e-4, 5.0e6), (7e10, 1.5e13, 3.7e-4, 19.4e6)],
)
@pytest.mark.parametrize("name", ["step-law", "step-law-moe"])
def test_step_law(name: str, N: float, D: float, rate: float, batch: float) -> None:
    # facts/hp-laws.md 1.1, worked values.
    assert law(name).predict("learning_rate", params=N, tokens=D) == pytest.approx(rate, rel=0.01)
    assert law(name).predict("batch_tokens", params=N, tokens=D) == pytest.approx(batch, rel=0.01)


def test_step_law_along_a_compute_optimal_path() -> None:
    # facts/hp-laws.md 1.1: N and D as C^0.5 give lr as C^-0.203 and B as C^0.286.
    powers = [
        log(law("step-law").predict(q, params=1e10, tokens=2e11) / law("step-law").predict(q, params=1e9, tokens=2e10))
        / log(100)
        for q in ("learning_rate", "batch_tokens")
    ]
    assert powers == pytest.approx([-0.203, 0.2855], abs=5e-4)


def test_power_lines_timescale() -> None:
    # facts/timescale-schedule-parametrization.md 7.1.
    table = {1: 1.0840, 10: 0.3221, 20: 0.2236, 30: 0.1805, 80: 0.1077, 200: 0.0664, 1000: 0.0284, 1280: 0.0250}
    got = law("power-lines").predict("timescale", tokens_per_param=np.array(list(table), dtype=float))
    assert got == pytest.approx(list(table.values()), abs=6e-5)


def test_power_lines_batch() -> None:
    # facts/timescale-schedule-parametrization.md 7.1, sequences of 2048; 267,171 tokens at 3e9 and 0.721M at 4e10
    # are the external worked examples of 1.2.
    table = {1e9: 85.65, 3e9: 130.45, 1e10: 206.88, 1.22e10: 223.25, 4e10: 351.81, 1e11: 499.71, 1e12: 1207.04}
    got = law("power-lines").predict("batch_tokens", tokens=np.array(list(table)))
    assert got / 2048 == pytest.approx(list(table.values()), rel=5e-5)
    assert got[1] == pytest.approx(267_171, rel=1e-4)
    assert got[4] == pytest.approx(0.721e6, rel=1e-3)


def test_kaplan_learning_rate_has_no_value_above_12_billion() -> None:
    # facts/hp-laws.md 3.5: negative above N = 1.21e10.
    kaplan = law("kaplan")
    assert kaplan.predict("learning_rate", params=1.20e10) > 0
    with pytest.raises(ForescaleError, match=r"kaplan has no positive learning_rate"):
        kaplan.predict("learning_rate", params=1.22e10)
    with pytest.raises(ForescaleError, match="some of these workloads"):
        kaplan.predict("learning_rate", params=np.array([1e9, 1.22e10]))


@pytest.mark.parametrize(
    ("name", "factor"),
    [("step-law", 2.2), ("deepseek", 2.7), ("porian", 5.0), ("kaplan", 0.54), ("steplaw-refit", 1.8), ("lingle", 4.7)],
)
def test_learning_rates_at_another_labs_large_run(name: str, factor: float) -> None:
    # facts/hp-laws.md 2.5: over the optimum 2.44e-4 at (4.7B, 100B tokens).
    N, D = 4.7e9, 1e11
    got = law(name).predict("learning_rate", params=N, tokens=D, compute=6 * N * D)
    assert got / 2.44e-4 == pytest.approx(factor, rel=0.03)


def test_bjorck_candidate() -> None:
    # facts/hp-laws.md 3.2: 4.95e-4 at 1.07B parameters and 100B tokens.
    got = law("bjorck-absolute").predict("learning_rate", params=1.07e9, tokens=1e11)
    assert got == pytest.approx(4.95e-4, rel=0.01)


@pytest.mark.parametrize("name", ["deepseek", "ling-moe"])
@pytest.mark.parametrize("C", [1e18, 1e21])
def test_allocation_spends_the_compute(name: str, C: float) -> None:
    # C = M D by definition (facts/hp-laws.md 3.1, 3.10).
    spent = law(name).predict("optimal_flops_per_token", compute=C) * law(name).predict("optimal_tokens", compute=C)
    assert spent == pytest.approx(C, rel=1e-3)


def test_compute_optimal_exponents() -> None:
    # N grows as C^(beta / (alpha + beta)): 0.5126 for Epoch's refit (facts/hp-laws.md 4), 0.46 in Hoffmann et al.'s
    # Table 2 (approach 3).
    for name, exponent, digits in (("epoch", 0.5126, 4), ("chinchilla", 0.46, 2)):
        c = law(name).formula("loss").constants
        assert round(c["beta"] / (c["alpha"] + c["beta"]), digits) == exponent


def test_chinchilla_is_its_closed_form() -> None:
    got = law("chinchilla").predict("loss", params=7e10, tokens=1.4e12)
    assert got == pytest.approx(1.6934 + 406.4 / 7e10**0.3392 + 410.7 / 1.4e12**0.2849)


def test_muennighoff_compute_optimal_parameters() -> None:
    # facts/hp-laws.md 4: U_N is about 0.051 U_D: below it parameters count fully, above they lose value.
    c = law("muennighoff").formula("loss").constants
    U_D, U_N = 1e10, 0.051e10

    def additive(N: float) -> float:
        return c["E"] + c["A"] / N ** c["alpha"] + c["B"] / U_D ** c["beta"]

    def got(N: float) -> float:
        return law("muennighoff").predict("loss", params=N, tokens=U_D, unique_tokens=U_D)

    assert got(0.99 * U_N) == pytest.approx(additive(0.99 * U_N), rel=1e-12)
    assert got(1.05 * U_N) > additive(1.05 * U_N) * (1 + 1e-9)


def test_muennighoff_repetition_is_worth_less_than_new_tokens() -> None:
    # Eq. 5: D' = U_D (1 + R_D (1 - exp(-R / R_D))), R the repetitions after the first pass; at most 1 + R_D = 16.4 U_D.
    muennighoff = law("muennighoff")

    def fresh(tokens: float) -> float:
        return muennighoff.predict("loss", params=1e8, tokens=tokens, unique_tokens=tokens)

    for epochs in (2, 4, 40, 1e6):
        repeated = muennighoff.predict("loss", params=1e8, tokens=epochs * 1e10, unique_tokens=1e10)
        worth = 1 + 15.387756 * (1 - exp(-(epochs - 1) / 15.387756))
        assert repeated == pytest.approx(fresh(worth * 1e10), rel=1e-9)
        assert repeated > fresh(epochs * 1e10)


def test_farseer() -> None:
    # facts/hp-laws.md 4: the recalled constants give 0.589 bits per character.
    assert law("farseer").predict("loss", params=1e9, tokens=1e11) == pytest.approx(0.589, abs=5e-4)


SPARSE = {
    "sparse-t5": ({0.5: 1.586, 0.75: 2.157, 0.875: 2.630, 0.9375: 2.981}, 0.24513173),
    "sparse-vit": ({0.5: 1.596, 0.75: 2.172, 0.875: 2.634, 0.9375: 2.957}, 0.39222675),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_parameters_are_worth_more(name: str) -> None:
    # facts/noise-and-sparsity.md 8, effective parameter multiplier at equal non-zeros.
    table, b_N = SPARSE[name]
    floor = law(name).predict("loss", sparsity=0.0, nonzero_params=1e300, tokens=1e10)
    dense = law(name).predict("loss", sparsity=0.0, nonzero_params=5e7, tokens=1e10) - floor
    for sparsity, multiplier in table.items():
        capacity = law(name).predict("loss", sparsity=sparsity, nonzero_params=5e7, tokens=1e10) - floor
        assert (capacity / dense) ** (-1 / b_N) == pytest.approx(multiplier, abs=6e-4)


def test_sparse_t5_extrapolates_as_published() -> None:
    # facts/noise-and-sparsity.md 8: N 604M at sparsity 0.75, 500,000 steps of 128 x 512 tokens: 1.46830.
    got = law("sparse-t5").predict("loss", sparsity=0.75, nonzero_params=6.04e8, tokens=5e5 * 128 * 512)
    assert got == pytest.approx(1.46830, abs=1e-4)


def test_skaling_agrees_with_the_additive_law_on_its_points() -> None:
    # Both fit the same 240 points; k in the 0.77 to 0.90 of the paper on such data (facts/hp-laws.md 4).
    assert 0.77 <= law("skaling").formula("loss").constants["k"] <= 0.90
    N, D = np.array([1e8, 1e9, 1e10]), np.array([2e9, 2e10, 2e11])
    ratio = law("skaling").predict("loss", params=N, tokens=D) / law("epoch").predict("loss", params=N, tokens=D)
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_kaplan_loss_has_the_one_variable_limit() -> None:
    # Kaplan et al.: L(N) = (N_c / N)^alpha_N at unlimited data.
    got = law("kaplan-loss").predict("loss", params=1e9, tokens=1e30)
    assert got == pytest.approx((8.8e13 / 1e9) ** 0.076, rel=1e-6)


def test_cerebras_gpt_at_its_unit() -> None:
    # (f / 5.984e22)^-0.0737 + 0.5066 at f = 5.984e22.
    assert law("cerebras-gpt").predict("loss", compute=5.984e22) == pytest.approx(1.5066)


def test_gadre_is_additive_with_one_exponent() -> None:
    # M^eta C^-eta = (6 N^2)^-eta and M^-eta C^-eta = (6 D^2)^-eta with C = 6 N D, M = D / N.
    c = law("gadre-c4").formula("loss").constants
    N, D = 4e8, 2e10
    expected = c["E"] + c["a"] * (6 * N * N) ** -c["eta"] + c["b"] * (6 * D * D) ** -c["eta"]
    assert law("gadre-c4").predict("loss", params=N, tokens=D, compute=6 * N * D) == pytest.approx(expected)


def test_mm1_as_a_power() -> None:
    # exp(-0.4214 ln N - 0.5535).
    assert law("mm1").predict("learning_rate", params=1e9) == pytest.approx(exp(-0.5535) * 1e9**-0.4214)


def test_marin_muonh_is_capped() -> None:
    # lr = 18.31 T^-0.395 d^-0.150 sqrt(B_seq), at most 0.05 (facts/hp-laws.md 3.11).
    muonh = law("marin-muonh")
    got = muonh.predict("learning_rate", tokens=1e10, width=1024, batch_tokens=128 * 4096)
    assert got == pytest.approx(18.31 * 1e10**-0.395 * 1024**-0.15 * 128**0.5)
    assert muonh.predict("learning_rate", tokens=1e7, width=1024, batch_tokens=1024 * 4096) == 0.05
    assert "at most 0.05" in muonh.formula("learning_rate").text()


COMPLETED = {
    "learning_rate": 0.5,
    "weight_decay": 0.5,
    "epsilon": 2.0,
    "one_minus_beta1": 0.25,
    "one_minus_beta2": 0.25,
}


@pytest.mark.parametrize("quantity", COMPLETED)
def test_completed_p(quantity: str) -> None:
    # facts/timescale-schedule-parametrization.md 7.3: m_B = 4, m_D = 16 at width 1: lr 0.5, epsilon of the output 2.0,
    # weight decay 4.0 / m_N = 0.5, 1 - beta x 0.25 (beta2 0.95 -> 0.9875).
    x = {"batch_tokens": 4e5, "tokens": 16e9, "reference_batch_tokens": 1e5, "reference_tokens": 1e9}
    got = law("completed-p").predict(quantity, **x, **{f"reference_{quantity}": 0.05})
    assert got == pytest.approx(0.05 * COMPLETED[quantity])


def test_completed_p_refuses_a_momentum_below_zero() -> None:
    x = {"batch_tokens": 3e6, "tokens": 1e9, "reference_batch_tokens": 1e5, "reference_tokens": 1e9}
    with pytest.raises(ForescaleError, match="asks for beta2 of 0 or below"):
        law("completed-p").predict("one_minus_beta2", reference_one_minus_beta2=0.05, **x)


def test_small_batch_keeps_the_half_life_in_tokens() -> None:
    # Marek et al.: beta2' = beta2^(B' / B); half-life in steps ln 2 / -ln beta2, times B tokens, does not move.
    beta2 = law("small-batch-beta2").predict(
        "beta2", batch_tokens=512.0, reference_batch_tokens=5e5, reference_beta2=0.95
    )
    assert 512 / -log(beta2) == pytest.approx(5e5 / -log(0.95))


def test_scion_rules_compose() -> None:
    # facts/hp-laws.md 3.12, 3.14: 0.62 * 0.45 - 0.56 = -0.28.
    scion = law("scion")
    batch = scion.predict("batch_tokens", tokens=1e11, reference_tokens=1e10, reference_batch_tokens=1e5)
    x = {"batch_tokens": batch, "reference_batch_tokens": 1e5, "tokens": 1e11, "reference_tokens": 1e10}
    rate = scion.predict("learning_rate", reference_learning_rate=1.0, **x)
    assert log(rate, 10) == pytest.approx(-0.281)


@pytest.mark.parametrize(("name", "factor"), [("square-root-batch", 2.0), ("linear-batch", 4.0)])
def test_batch_rules(name: str, factor: float) -> None:
    got = law(name).predict("learning_rate", batch_tokens=4e5, reference_batch_tokens=1e5, reference_learning_rate=1e-3)
    assert got == pytest.approx(1e-3 * factor)


def test_open_ended_ranges_have_no_lower_end() -> None:
    kaplan = law("kaplan")
    assert kaplan.range_text().endswith("up to 1B")
    assert kaplan.outside({"params": 1e6}) == {}
    assert kaplan.outside({"params": 2e9}) == pytest.approx({"params": 2.0})


@pytest.mark.parametrize(
    ("name", "column"),
    [("beta2", "beta2"), ("epsilon", "epsilon"), ("grad_clip", "max_grad_norm"), ("warmup_steps", "warmup")],
)
def test_conventions_span_the_marin_sweeps_best_runs(name: str, column: str, data: Path) -> None:
    found = conventions()[name]
    best = pl.read_csv(data / "marin-optimizer-sweep" / "best_configs.csv").filter(optimizer="adamw")[column]
    assert len(best) == 14
    assert found.low is not None
    assert found.high is not None
    assert found.low <= best.min() <= best.max() <= found.high  # type: ignore[operator]


def test_a_conventions_first_clause_says_what_speaks_against_it() -> None:
    # Tables show a reason up to its first ";".
    for name in ("beta2", "epsilon", "grad_clip", "warmup_steps"):
        assert "Marin" in conventions()[name].reason.split(";")[0]


def test_only_losses_of_next_token_prediction_are_nats_per_token() -> None:
    for name in ("farseer", "sparse-vit", "sparse-t5"):
        assert "not" in law(name).formula("loss").unit
