"""Every published factor cell by cell: CompleteP's Table 1, Complete(d)P's, SµPar's, u-muP's and Everett et al.'s."""

from __future__ import annotations

from functools import cache
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parametrize_models import NanoGPT, Titan, hugging_face, on_meta

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize import Rules, absorb, everett_exponents, parametrization, residual_taus
from forescale.parametrize._everett import Alignment, Form, Optimizer
from forescale.workload import Shape

# One tensor of each line of the papers' tables, by nanoGPT's names.
LINES = {
    "embedding": "transformer.wte.weight",
    "position": "transformer.wpe.weight",
    "norm": "transformer.h.0.ln_1.weight",
    "hidden": "transformer.h.0.mlp.c_fc.weight",
    "hidden bias": "transformer.h.0.mlp.c_fc.bias",
    "last hidden": "transformer.h.0.mlp.c_proj.weight",
    "last bias": "transformer.h.0.mlp.c_proj.bias",
    "final norm": "transformer.ln_f.weight",
    "unembedding": "lm_head.weight",
}
BASE = Shape(width=8, depth=1)


@cache
def gpt(width: int = 32, layers: int = 8, tied: bool = False) -> Any:
    return on_meta(NanoGPT, width, layers, width // 8, bias=True, tied=tied)


def rows(rules: Rules, model: Any) -> dict[str, Any]:
    """The table by name. An equal block is not folded in the rows themselves."""
    return {row.name: row for row in rules.table(model).rows}


def explicit(rules: Rules, model: Any, line: str) -> dict[str, float]:
    """The factors before absorption, as the papers print them: init variance, LR, decay, epsilon, and the multiplier."""
    row = rows(rules, model)[LINES[line]]
    c = row.multiplier
    return {
        "multiplier": c,
        "var": (row.init / rules.init_std / c) ** 2,
        "lr": row.learning_rate / c,
        "wd": row.weight_decay * c,
        "eps": row.epsilon * c,
    }


# --- CompleteP, 2505.01618, Table 1 at m_N = 4, m_L = 8. (var, lr, wd, eps); None where the table has no number, and 0 for the
# decay of what the official code does not decay. Epsilon of a line outside the residual blocks is not in the table: that of
# the embeddings and, beside its multiplier, of the unembedding is eps / m_N (Complete(d)P; facts 3.3).
M, L = 4, 8
TABLE_1 = {
    "standard": {
        "embedding": (1, 1, 1, 1),
        "position": (1, 1, 1, 1),
        "norm": (None, 1, 0, 1),
        "hidden": (1, 1, 1, 1),
        "hidden bias": (None, 1, 0, 1),
        "last hidden": (1, 1, 1, 1),
        "last bias": (None, 1, 0, 1),
        "final norm": (None, 1, 0, 1),
        "unembedding": (1, 1, 1, 1),
    },
    "mup": {
        "embedding": (1, 1, 1, 1 / M),
        "position": (1, 1, 1, 1 / M),
        "norm": (None, 1, 0, 1 / M),
        "hidden": (1 / M, 1 / M, M, 1 / M),
        "hidden bias": (None, 1, 0, 1 / M),
        "last hidden": (1 / M, 1 / M, M, 1 / M),
        "last bias": (None, 1, 0, 1 / M),
        "final norm": (None, 1, 0, 1),
        "unembedding": (1, 1, 1, 1 / M),
    },
}


def completep_table(alpha: float) -> dict[str, tuple[float | None, ...]]:
    depth, eps = L ** (alpha - 1), L**-alpha / M
    return {
        "embedding": (1, 1, 1, 1 / M),
        "position": (1, 1, 1, 1 / M),
        "norm": (None, depth, 0, eps),
        "hidden": (1 / M, depth / M, M, eps),
        "hidden bias": (None, depth, 0, eps),
        "last hidden": (1 / M, depth / M, M, eps),
        "last bias": (None, depth, 0, eps),
        "final norm": (None, 1, 0, 1),
        "unembedding": (1, 1, 1, 1 / M),
    }


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    ("scheme", "options", "table", "residual", "logits"),
    [
        ("standard", {}, TABLE_1["standard"], 1, 1),
        ("mup", {}, TABLE_1["mup"], 1, 1 / M),
        ("completep", {"alpha": 0.5}, completep_table(0.5), L**-0.5, 1 / M),
        ("completep", {}, completep_table(1.0), 1 / L, 1 / M),
    ],
    ids=["SP", "muP", "alpha-0.5", "alpha-1"],
)
def test_completep_table_1(
    scheme: str, options: dict[str, Any], table: dict[str, Any], residual: float, logits: float, line: str
) -> None:
    got = explicit(parametrization(scheme, base=BASE, **options), gpt(), line)
    expected = dict(zip(("var", "lr", "wd", "eps"), table[line], strict=True))
    expected["multiplier"] = residual if line.startswith("last") else logits if line == "unembedding" else 1
    for name, value in expected.items():
        if value is not None:
            assert got[name] == pytest.approx(value), name


def test_completep_numbers_of_the_facts() -> None:
    """Facts 7.3: m_N = 4, m_L = 8."""
    one = parametrization("completep", base=BASE)
    hidden, norm = explicit(one, gpt(), "hidden"), explicit(one, gpt(), "norm")
    assert (hidden["var"], hidden["lr"], hidden["wd"], hidden["eps"]) == pytest.approx((1 / 4, 1 / 4, 4, 1 / 32))
    assert norm["lr"] == pytest.approx(1)
    assert rows(one, gpt())[LINES["last hidden"]].multiplier == pytest.approx(1 / 8)
    half = parametrization("completep", base=BASE, alpha=0.5)
    hidden, norm = explicit(half, gpt(), "hidden"), explicit(half, gpt(), "norm")
    assert (hidden["lr"], norm["lr"], hidden["eps"]) == pytest.approx((0.0884, 0.3536, 0.0884), abs=5e-5)
    assert rows(half, gpt())[LINES["last hidden"]].multiplier == pytest.approx(0.3536, abs=5e-5)


# --- Complete(d)P, 2512.22382: its table has no explicit logit multiplier, so the unembedding's line is the absorbed one.
@pytest.mark.parametrize("alpha", [0.5, 0.75, 1.0])
def test_completed_p_table(alpha: float) -> None:
    m, depth, batch, data = 8.0, 2.0, 4.0, 16.0
    r = sqrt(batch / data)
    rules = parametrization("completed-p", base=BASE, alpha=alpha, batch_ratio=batch, tokens_ratio=data)
    model = on_meta(Titan, 64, 2, 8)
    got = rows(rules, model)
    inside, shrink = depth ** (alpha - 1) * r, depth**-alpha / r
    table = {
        "tok_embeddings.weight": (1, r, r, 1 / m / r),
        "layers.0.attention.wq.weight": (1 / m, inside / m, m * r, shrink / m),
        "layers.0.attention_norm.weight": (None, inside, 0, shrink / m),
        "layers.0.attention.q_norm.weight": (None, inside, 0, shrink),
        "norm.weight": (None, r, 0, 1 / r),
        "output.weight": (1 / m**2, r / m, m * r, 1 / r),
    }
    for name, (var, lr, wd, eps) in table.items():
        row = got[name]
        assert var is None or (row.init / 0.02) ** 2 == pytest.approx(var), name
        assert (row.learning_rate, row.weight_decay, row.epsilon) == pytest.approx((lr, wd, eps)), name
    position = on_meta(NanoGPT, 64, 2, 8, bias=True)
    for line in ("position", "embedding"):
        row = rows(rules, position)[LINES[line]]
        assert (row.learning_rate, row.weight_decay, row.epsilon) == pytest.approx((r, r, 1 / m / r))
    bias = rows(rules, position)[LINES["hidden bias"]]
    assert (bias.learning_rate, bias.epsilon) == pytest.approx((inside, shrink / m))


def test_completed_p_numbers_of_the_facts() -> None:
    """Facts 7.3: m_N = 8, m_L = 2, m_B = 4, m_D = 16."""
    rules = parametrization("completed-p", base=BASE, batch_ratio=4, tokens_ratio=16)
    got = rows(rules, on_meta(NanoGPT, 64, 2, 8))
    emb, hid, out = (got[LINES[line]] for line in ("embedding", "hidden", "unembedding"))
    assert (emb.learning_rate, hid.learning_rate, out.learning_rate) == pytest.approx((0.5, 0.0625, 0.0625))
    assert (hid.epsilon, emb.epsilon, out.epsilon) == pytest.approx((0.125, 0.25, 2.0))
    assert hid.weight_decay == pytest.approx(4.0)
    group = rules.param_groups(on_meta(NanoGPT, 64, 2, 8), {"learning_rate": 1e-2, "betas": (0.9, 0.95)})[0]
    assert group["betas"] == pytest.approx((0.975, 0.9875))


def test_a_norm_over_all_heads_has_the_width_in_its_epsilon() -> None:
    """OLMo 2's query norm has a gain for every channel, Qwen3's one for every channel of a head."""
    rules = parametrization("completep", base=Shape(width=12, depth=1))
    olmo = rows(rules, hugging_face("Olmo2"))["model.layers.0.self_attn.q_norm.weight"]
    qwen = rows(rules, hugging_face("Qwen3", head_dim=12))["model.layers.0.self_attn.q_norm.weight"]
    assert (olmo.epsilon, qwen.epsilon) == pytest.approx((1 / 2 / 2, 1 / 2))


def test_momenta_beyond_one_are_refused() -> None:
    rules = parametrization("completed-p", base=BASE, batch_ratio=16.0)
    with pytest.raises(ForescaleError, match="1 - beta1 must stay below 1"):
        rules.param_groups(gpt(), {"learning_rate": 1e-2})


# --- Invariants (facts 7.3)
SCALED = ("mup", "completep", "completed-p", "supar", "everett")
alphas = st.floats(0.5, 1.0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scheme", ["standard", *SCALED])
def test_the_base_itself_gets_ones(scheme: str, tied: bool) -> None:
    if (scheme, tied) == ("everett", True):
        form: dict[str, Any] = {"form": "mup"}
    else:
        form = {}
    rules = parametrization(scheme, base=Shape(width=32, depth=8), **form)
    for row in rules.table(gpt(tied=tied)).rows:
        assert (row.multiplier, row.learning_rate, row.epsilon) == (1, 1, 1)
        assert row.weight_decay in (0, 1)
        assert row.init in (0, 1, rules.init_std)


@settings(max_examples=12, deadline=None)
@given(width=st.sampled_from([8, 16, 64]), scheme=st.sampled_from(SCALED), recipe=st.floats(1e-4, 1e-1))
def test_rate_times_decay_of_a_matrix_does_not_depend_on_the_width(width: int, scheme: str, recipe: float) -> None:
    rules = parametrization(scheme, base=BASE)
    groups = rules.param_groups(gpt(width, 1), {"learning_rate": recipe, "weight_decay": 0.1})
    for group in groups:
        if group["weight_decay"]:
            assert group["lr"] * group["weight_decay"] == pytest.approx(recipe * 0.1)


@settings(max_examples=10, deadline=None)
@given(batch=st.floats(0.25, 2.0), both=st.floats(0.1, 10.0), alpha=alphas)
def test_scaling_batch_and_tokens_together_changes_nothing(batch: float, both: float, alpha: float) -> None:
    one, other = (
        parametrization("completed-p", base=BASE, alpha=alpha, batch_ratio=batch * k, tokens_ratio=k)
        for k in (1.0, both)
    )
    for a, b in zip(*(rules.param_groups(gpt(), {"learning_rate": 1e-2}) for rules in (one, other)), strict=True):
        assert (a["lr"], a["weight_decay"], a["eps"], *a["betas"]) == pytest.approx(
            (b["lr"], b["weight_decay"], b["eps"], *b["betas"])
        )


@settings(max_examples=10, deadline=None)
@given(batch=st.floats(0.25, 2.0), data=st.floats(0.5, 20.0), alpha=alphas)
def test_the_timescale_is_kept(batch: float, data: float, alpha: float) -> None:
    """tau = B / (eta lambda D) of every decayed tensor, as at the base's run of the same width and depth."""
    rules = parametrization("completed-p", base=BASE, alpha=alpha, batch_ratio=batch, tokens_ratio=data)
    still = parametrization("completed-p", base=BASE, alpha=alpha)
    taus: list[list[float]] = [
        [b / (row.learning_rate * row.weight_decay * d) for row in r.table(gpt()).rows if row.weight_decay]
        for r, b, d in ((rules, batch, data), (still, 1.0, 1.0))
    ]
    assert taus[0] == pytest.approx(taus[1])


@settings(max_examples=10, deadline=None)
@given(alpha=alphas)
def test_residual_multiplier_times_rate_is_one_over_depth(alpha: float) -> None:
    rules = parametrization("completep", base=BASE, alpha=alpha)
    last = explicit(rules, gpt(), "last hidden")
    assert last["multiplier"] * last["lr"] * M == pytest.approx(1 / L)


def test_alpha_one_is_mup_with_residual_multiplier_and_epsilon() -> None:
    """Beside those two, nothing else differs (CompleteP, Table 1)."""
    for line in LINES:
        one, other = (explicit(parametrization(s, base=BASE), gpt(), line) for s in ("completep", "mup"))
        same = ("var", "lr", "wd") if "bias" not in line and "norm" not in line else ("lr", "wd")
        assert [one[k] for k in same] == pytest.approx([other[k] for k in same])
        outside = line in ("embedding", "position", "final norm", "unembedding")
        assert one["eps"] == pytest.approx(other["eps"] / (1 if outside else L))
        assert one["multiplier"] == pytest.approx(other["multiplier"] / (L if line.startswith("last") else 1))


def test_a_tied_matrix_stays_an_embedding_and_the_final_norm_takes_the_logits() -> None:
    got = rows(parametrization("completep", base=BASE), gpt(tied=True))
    assert "lm_head.weight" not in got
    tied, gain, bias = (got[n] for n in ("transformer.wte.weight", LINES["final norm"], "transformer.ln_f.bias"))
    assert (tied.init, tied.learning_rate, tied.weight_decay, tied.epsilon) == pytest.approx((0.02, 1, 1, 1 / M))
    assert (gain.init, gain.learning_rate, gain.epsilon, gain.multiplier) == pytest.approx((1 / M, 1 / M, M, 1 / M))
    assert (bias.init, bias.learning_rate, bias.epsilon) == pytest.approx((0, 1 / M, M))
    assert "unembedding too" in tied.note
    assert "logits multiplier" in gain.note


def test_absorbing_twice_is_absorbing_the_product_and_undone_by_the_inverse() -> None:
    from forescale.parametrize import Factors

    start = Factors(init_std=0.5, learning_rate=2, weight_decay=3, epsilon=4)
    for optimizer in ("adam", "sgd", "adafactor"):
        twice = absorb(absorb(start, 0.25, optimizer), 0.5, optimizer)
        assert twice == absorb(start, 0.125, optimizer)
        assert absorb(twice, 8, optimizer) == start


# --- SµPar (2405.15743, Table 1; noise-and-sparsity 9.8)
def test_supar_corrects_initial_values_and_rates_for_the_density() -> None:
    rules = parametrization("supar", base=Shape(width=32, depth=8), density=0.5)
    hidden = rows(rules, gpt())[LINES["hidden"]]
    assert hidden.init == pytest.approx(0.02828, abs=5e-6)
    assert (hidden.learning_rate, hidden.learning_rate * hidden.weight_decay) == pytest.approx((2, 1))
    for line in ("embedding", "norm", "unembedding", "final norm"):
        assert rows(rules, gpt())[LINES[line]].learning_rate == 1
    assert "density 0.5" in hidden.note


def test_standard_knows_no_density() -> None:
    """Std 0.02 whatever the mask, unlike the paper's repository (noise-and-sparsity 7, surprises)."""
    with pytest.raises(ForescaleError, match="density belongs to supar"):
        parametrization("standard", base=BASE, density=0.5)
    assert rows(parametrization("standard", base=BASE), gpt())[LINES["hidden"]].init == 0.02


@settings(max_examples=8, deadline=None)
@given(density=st.floats(0.01, 1.0))
def test_supar_at_a_fixed_number_of_weights_per_neuron_cancels(density: float) -> None:
    """With d rho constant the corrections for width and density coincide (section 3 of the paper)."""
    wide = parametrization("supar", base=BASE, density=1 / M)
    row = rows(wide, gpt())[LINES["hidden"]]
    assert (row.init / 0.02, row.learning_rate) == pytest.approx((1, 1))
    dense, sparse = (parametrization("supar", base=BASE, density=d) for d in (1.0, density))
    a, b = (rows(r, gpt())[LINES["hidden"]] for r in (dense, sparse))
    assert (b.init, b.learning_rate) == pytest.approx((a.init / sqrt(density), a.learning_rate / density))


def test_densities_by_name() -> None:
    rules = parametrization("supar", base=Shape(width=32, depth=8), density={"*.mlp.*": 0.25})
    got = rows(rules, gpt())
    assert got[LINES["hidden"]].init == pytest.approx(0.04)
    assert got["transformer.h.0.attn.c_attn.weight"].init == 0.02
    with pytest.raises(UnknownNameError, match=r"density names \*\.ffn\.\*"):
        parametrization("supar", base=BASE, density={"*.ffn.*": 0.25}).rules(gpt())


def test_supar_dense_is_mup() -> None:
    dense, mup = (parametrization(s, base=BASE).table(gpt()).rows for s in ("supar", "mup"))
    assert dense == mup


# --- Everett et al. (2407.05872): facts 4.1 and 4.2, row by row; exponents for embedding, hidden, unembedding.
PLACES = {"standard": ((0, 0, 0), (0, 0.5, 0.5)), "ntk": ((0, 0.5, 0.5), (0, 0, 0))}
PLACES |= {"mup": ((-0.5, 0, 0.5), (0.5, 0.5, 0.5)), "mean-field": ((0, 0.5, 1), (0, 0, 0))}
GRADIENTS = {"standard": (0.5, 0.5, 0), "ntk": (0.5, 1, 0.5), "mup": (0.5, 1, 0.5), "mean-field": (1, 1.5, 1)}
RATES = {
    ("adam", "full"): {"standard": (0, 1, 1), "ntk": (0, 0.5, 0.5), "mup": (0.5, 1, 0.5), "mean-field": (0, 0.5, 0)},
    ("adam", "none"): {"standard": (0, 0.5, 0.5), "ntk": (0, 0, 0), "mup": (0.5, 0.5, 0), "mean-field": (0, 0, -0.5)},
    ("sgd", "full"): {
        "standard": (-0.5, 0.5, 1),
        "ntk": (-0.5, -0.5, 0),
        "mup": (0, 0, 0),
        "mean-field": (-1, -1, -1),
    },
    ("adafactor", "full"): {
        "standard": (0, 0.5, 0.5),
        "ntk": (0, 0.5, 0.5),
        "mup": (0, 0.5, 0),
        "mean-field": (0, 0.5, 0),
    },
    ("adafactor", "none"): {
        "standard": (0, 0, 0),
        "ntk": (0, 0, 0),
        "mup": (0, 0, -0.5),
        "mean-field": (0, 0, -0.5),
    },
    ("sgd", "none"): {"standard": (-0.5, 0, 0.5), "ntk": (-0.5, -1, -0.5)},
}
# The paper's own rows for these were not read: facts 4.2, marked (?) or "not verified".
UNVERIFIED = {(o, "none", f) for o in ("sgd", "adafactor") for f in ("mup", "mean-field")}


@pytest.mark.parametrize("form", PLACES)
def test_everett_table_1(form: Form) -> None:
    e = everett_exponents(form)
    assert (e.multiplier, e.init_std) == PLACES[form]
    assert e.gradient == GRADIENTS[form]


@pytest.mark.parametrize(("optimizer", "alignment"), RATES)
@pytest.mark.parametrize("form", PLACES)
def test_everett_table_2(form: Form, optimizer: Optimizer, alignment: Alignment) -> None:
    e = everett_exponents(form, optimizer, alignment)
    assert e.verified == ((optimizer, alignment, form) not in UNVERIFIED)
    if form in RATES[optimizer, alignment]:
        assert e.learning_rate == RATES[optimizer, alignment][form]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adafactor"])
@pytest.mark.parametrize(("one", "other"), [("standard", "ntk"), ("mup", "mean-field")])
def test_the_symmetry_of_section_2(one: Form, other: Form, optimizer: Optimizer) -> None:
    """Standard is NTK and muP is mean-field once multipliers are absorbed, whatever the optimizer."""
    tables = [
        parametrization("everett", base=BASE, form=f, optimizer=optimizer).table(gpt()).rows for f in (one, other)
    ]
    for a, b in zip(*tables, strict=True):
        assert (a.init, a.learning_rate) == pytest.approx((b.init, b.learning_rate)), a.name


def test_everett_mup_for_adam_is_mup() -> None:
    """But for the final norm's epsilon: Complete(d)P's table has no width there, the exponent of the gradient has."""
    for model in (gpt(), on_meta(Titan, 32, 8, 4, experts=3)):
        mup, everett = (
            rows(parametrization(s, base=BASE, **o), model) for s, o in (("mup", {}), ("everett", {"form": "mup"}))
        )
        for name, a in mup.items():
            b = everett[name]
            total = [(row.init, row.learning_rate, row.weight_decay) for row in (a, b)]
            assert total[0] == pytest.approx(total[1]), name
            if "norm" not in name and "ln_f" not in name:
                assert a.epsilon == pytest.approx(b.epsilon), name


def test_everett_standard_in_numbers() -> None:
    """Facts 4.2, Standard with full alignment: LR n^0, n^-1, n^-1; epsilon follows the gradient, n^-1/2, n^-1/2, n^0."""
    got = rows(parametrization("everett", base=BASE), gpt())
    emb, hid, out = (got[LINES[line]] for line in ("embedding", "hidden", "unembedding"))
    assert (emb.learning_rate, hid.learning_rate, out.learning_rate) == pytest.approx((1, 1 / M, 1 / M))
    assert (emb.epsilon, hid.epsilon, out.epsilon) == pytest.approx((0.5, 0.5, 1))
    assert (emb.init, hid.init, out.init) == pytest.approx((0.02, 0.01, 0.01))


def test_a_router_learns_under_sgd_as_an_unembedding_does() -> None:
    """Few outputs: their gradient does not shrink, so a rate of 1 would move the router's logits by the width."""
    rules = parametrization("everett", base=BASE, form="mup", optimizer="sgd")
    got = rows(rules, on_meta(Titan, 32, 1, 4, experts=3))
    assert got["layers.0.moe.router.gate.weight"].learning_rate == pytest.approx(1 / M)
    assert got["layers.0.moe.experts.w1"].learning_rate == pytest.approx(1)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adafactor"])
def test_everett_with_a_tied_matrix(optimizer: Optimizer) -> None:
    """One matrix follows both rows where the final norm's multiplier makes up for init and rate: facts 4.2, muP's row."""
    mup = parametrization("everett", base=BASE, form="mup", optimizer=optimizer)
    got = rows(mup, gpt(tied=True))
    assert got[LINES["final norm"]].multiplier == pytest.approx(1 / M)
    other = parametrization("everett", base=BASE, form="standard", optimizer=optimizer)
    with pytest.raises(ForescaleError, match="untie them"):
        other.rules(gpt(tied=True))


@pytest.mark.parametrize("option", [{"form": "xavier"}, {"optimizer": "lion"}, {"alignment": "half"}])
def test_everett_refuses_unknown_words(option: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match="must be one of"):
        parametrization("everett", base=BASE, **option)


# --- u-muP (2407.17465, as in unit-scaling; facts 5.3 and 7.3)
def test_umup_taus() -> None:
    assert residual_taus(8) == pytest.approx(
        (0.5, 0.44721, 0.40825, 0.37796, 0.35355, 0.33333, 0.31623, 0.30151), abs=5e-6
    )


def test_umup_variance_shares() -> None:
    """A stream of skips 1 / sqrt(1 + tau^2) ends as 1/3 embedding and 1/12 of each of 8 branches; so does ours."""
    shares = [1.0]
    for tau in residual_taus(8):
        shares = [s / (1 + tau**2) for s in shares] + [tau**2 / (1 + tau**2)]
    assert shares == pytest.approx([1 / 3] + 8 * [1 / 12])
    rules = parametrization("u-mup", base=BASE)
    branch = rows(rules, gpt(32, 4))[LINES["last hidden"]].multiplier ** 2
    assert [1 / (1 + 8 * branch), branch / (1 + 8 * branch)] == pytest.approx([1 / 3, 1 / 12])


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(1, 60), residual=st.floats(0.2, 3), ratio=st.floats(0.2, 3))
def test_umup_branches_of_one_kind_count_alike(layers: int, residual: float, ratio: float) -> None:
    """Unrolled, every attention branch weighs the same beside the embedding, and every FFN branch."""
    taus, product, weights = residual_taus(2 * layers, residual, ratio), 1.0, []
    for tau in taus:
        weights.append(tau * sqrt(product))
        product *= 1 + tau**2
    assert weights[::2] == pytest.approx(layers * [weights[0]])
    assert weights[1::2] == pytest.approx(layers * [weights[0] / ratio])


def test_umup_rates_and_initial_values() -> None:
    """Facts 5.3: LR fan-in^-1/2 (embedding: width^-1/2; readout, norm: 1), in blocks depth^-1/2; then forward factors."""
    width, layers = 32, 4
    got = rows(parametrization("u-mup", base=BASE), gpt(width, layers))
    tau, depth = residual_taus(2 * layers)[0], layers**-0.5
    expected = {
        "embedding": (1, width**-0.5),
        "norm": (1, depth),
        "hidden": (width**-0.5, depth / width),
        "last hidden": (tau * (4 * width) ** -0.5, tau * depth / (4 * width)),
        "final norm": (1, 1),
        "unembedding": (1 / width, 1 / width),
    }
    for line, (init, rate) in expected.items():
        row = got[LINES[line]]
        assert (row.init, row.learning_rate) == pytest.approx((init, rate)), line
        assert row.weight_decay in (0, pytest.approx(1 / rate))


def test_umup_refuses_what_it_has_no_place_for() -> None:
    rules = parametrization("u-mup", base=BASE)
    with pytest.raises(ForescaleError, match="untie"):
        rules.rules(gpt(tied=True))
    with pytest.raises(ForescaleError, match="init_std"):
        parametrization("u-mup", base=BASE, init_std=0.04)


# --- What a caller may write
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fancy", {}, "a parametrization is one of standard, mup"),
        ("mup", {"alpha": 0.5}, "alpha belongs to completep and completed-p; got it for mup"),
        ("completep", {"alpha": 0.4}, "alpha must lie between 1/2 and 1"),
        ("completep", {"alpha": 1.1}, "alpha must lie between 1/2 and 1"),
        ("completep", {"alpha": "one"}, "alpha must be a number"),
        ("completep", {"batch_ratio": 2}, "batch_ratio belongs to completed-p"),
        ("completed-p", {"batch_ratio": 0}, "batch_ratio must be finite and above zero"),
        ("supar", {"density": 0.0}, "density is the share of weights kept"),
        ("supar", {"density": {"*": 1.5}}, "density is the share of weights kept"),
        ("mup", {"roles": {"x": "magic"}}, "a role is one of"),
        ("mup", {"base_multipliers": {"attention": 2.0}}, "base_multipliers has residual and logits"),
        ("mup", {"base_multipliers": {"logits": -1.0}}, "a base multiplier must be finite and above zero"),
        ("standard", {"base_multipliers": {"logits": 2.0}}, "standard takes over no multipliers"),
        ("mup", {"init_std": 0}, "init_std must be finite and above zero"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        parametrization(name, base=BASE, **options)


def test_a_base_is_a_shape() -> None:
    with pytest.raises(ForescaleError, match="base must be a Shape"):
        parametrization("mup", base=256)  # type: ignore[arg-type]
