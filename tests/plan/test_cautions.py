"""What a plan warns of: each caution appears when it should, and not when it should not."""

import pytest

from forescale.plan import Plan, Request, Sizes, make_plan
from forescale.workload import Shape, Workload


def workload(params: float = 5e8, tokens: float = 2e10, **more: float) -> Workload:
    return Workload(params=params, tokens=tokens, seq_len=2048, **more)


def messages(made: Plan, code: str) -> str:
    return " ".join(w.message for w in made.warnings if w.code == code)


def test_a_plan_inside_every_range_warns_only_of_mixing_and_the_loss() -> None:
    assert {w.code for w in make_plan(workload()).warnings} == {"mixed-conditions", "schedule", "loss"}


def test_outside_says_by_which_factor_on_either_side() -> None:
    # Step Law's range is 60M to 1.074B parameters and 2B to 100B tokens.
    above = make_plan(workload(2.148e9, 4e11)).recipe.learning_rate.outside
    assert above == pytest.approx({"params": 2.0, "tokens": 4.0})
    below = make_plan(workload(2e7, 1e9)).recipe.learning_rate.outside
    assert below == pytest.approx({"params": 3.0, "tokens": 2.0})


def test_mixing_names_schedule_and_parametrization_but_not_two_kinds_of_adam() -> None:
    said = messages(make_plan(workload()), "mixed-conditions")
    assert "schedule (step-law: " in said
    assert "parametrization (step-law: standard; power-lines: muP" in said
    assert "optimizer" not in said


def test_row_4_learning_rate_that_follows_the_batch_beside_power_lines() -> None:
    # Timescale facts, section 8, row 4: Power Lines keeps eta and moves lambda; the square-root rule moves both.
    for request in (
        Request(batch_tokens=4e6),
        Request(batch_tokens=4e6, batch_rule="square-root"),
        Request(laws=("square-root-batch",), reference={"learning_rate": 1e-3, "batch_tokens": 2e5}),
    ):
        assert "holds the learning rate" in messages(make_plan(workload(), request), "batch-rule")
    assert not messages(make_plan(workload(), Request(batch_tokens=4e6, batch_rule="hold")), "batch-rule")
    assert not messages(make_plan(workload()), "batch-rule")


def test_a_law_tuned_at_a_fixed_batch_says_so() -> None:
    reference = {"learning_rate": 1e-3, "tokens": 1e10, "params": 5e8}
    said = messages(make_plan(workload(), Request(laws=("bjorck",), reference=reference)), "batch-policy")
    assert "bjorck was measured with" in said
    assert "step-law" in said


def test_the_chosen_law_is_charged_by_the_default_landscape() -> None:
    # DeepSeek's choice costs about 0.8 % on Step Law's sweeps (score: .817 smooth mean).
    made = make_plan(workload(), Request(laws=("deepseek",)))
    assert "step-law would choose" in messages(made, "off-optimum")
    assert made.terrain.law == "step-law"
    assert "step-law" in {a.law for a in made.alternatives}


def test_the_plateau_lies_around_the_law_not_around_the_user() -> None:
    free, wrong = make_plan(workload()), make_plan(workload(), Request(learning_rate=2e-2))
    assert wrong.plateau.learning_rate == free.plateau.learning_rate
    assert messages(wrong, "off-optimum")
    bands = wrong.plateau.learning_rate.bands
    assert not any(band.low <= 2e-2 <= band.high for band in bands)


def test_the_plateau_follows_the_ridge_to_the_users_batch() -> None:
    free = make_plan(workload())
    wide = make_plan(workload(), Request(batch_tokens=4 * free.layout.target_tokens))
    moved = wide.plateau.learning_rate.centre / free.plateau.learning_rate.centre
    assert moved == pytest.approx(4**0.44, rel=2e-3)  # the ridge of step-law.toml
    assert wide.plateau.batch_tokens == free.plateau.batch_tokens


def test_the_landscape_says_where_it_was_measured() -> None:
    near, far = make_plan(workload()), make_plan(workload(7e10, 1.5e13))
    assert near.plateau.in_range
    assert not messages(near, "landscape")
    assert not far.plateau.in_range
    assert far.plateau.outside["tokens"] == pytest.approx(150)
    assert "measured elsewhere" in messages(far, "landscape")


def test_off_optimum_beyond_the_landscape_is_said_too() -> None:
    made = make_plan(workload(), Request(learning_rate=1e-6))
    assert "more than the landscape covers" in messages(made, "off-optimum")


def test_settings_that_change_nothing_are_said() -> None:
    assert "--reference" in messages(make_plan(workload(), Request(reference={"params": 1e9})), "ignored")
    assert "--batch-rule hold" in messages(make_plan(workload(), Request(batch_rule="hold")), "ignored")


def test_completed_p_moves_betas_and_epsilon_when_the_reference_says_them() -> None:
    # Complete(d)P: 1 - beta times m_B / m_D, epsilon over sqrt(m_B / m_D).
    reference = {"learning_rate": 1e-3, "weight_decay": 0.1, "tokens": 5e9, "batch_tokens": 2**18}
    request = Request(laws=("completed-p",), reference=reference, batch_tokens=2**18)
    partial = make_plan(workload(), request)
    assert "beta1, beta2, epsilon" in messages(partial, "partial").replace(
        "epsilon, beta1, beta2", "beta1, beta2, epsilon"
    )
    assert partial.recipe.beta2.law == "convention"
    whole = Request(
        laws=("completed-p",),
        reference=reference | {"beta1": 0.9, "beta2": 0.96, "epsilon": 1e-8},
        batch_tokens=2**18,
    )
    made = make_plan(workload(), whole)
    assert not messages(made, "partial")
    assert made.recipe.beta1.number == pytest.approx(1 - 0.1 / 4)
    assert made.recipe.beta2.number == pytest.approx(1 - 0.04 / 4)
    assert made.recipe.epsilon.number == pytest.approx(2e-8)


def test_small_batch_beta2_rule() -> None:
    # Marek et al. 2025: beta2' = beta2^(B' / B).
    reference = {"beta2": 0.95, "batch_tokens": 2**20}
    request = Request(laws=("small-batch-beta2",), reference=reference, batch_tokens=2**19)
    assert make_plan(workload(), request).recipe.beta2.number == pytest.approx(0.95**0.5)


def test_moe_counts_active_parameters_per_token_everywhere() -> None:
    made = make_plan(workload(2.15e9, 8e9, active_params=4e8))
    assert made.workload.tokens_per_param == 20
    assert made.recipe.timescale.number == pytest.approx(0.2236, abs=5e-5)  # Power Lines at 20 tokens per parameter
    assert "active parameters" in messages(made, "experts")


def test_moe_loss_lies_between_the_dense_models() -> None:
    made = make_plan(workload(2.15e9, 8e9, active_params=4e8)).loss
    all_, active = (make_plan(workload(n, 8e9)).loss.number for n in (2.15e9, 4e8))
    assert all_ < made.number < active


def test_laws_see_their_own_parameters() -> None:
    # Porian et al. count the output head in N: 3.7 N^-0.36; DeepSeek counts attention in C: 0.3118 C^-0.125.
    shape = Shape(layers=12, width=768, heads=12, vocab=50_432, ffn_width=2048)
    made = Workload.from_shape(shape, tokens=2e9, seq_len=2048)
    rates = {a.law: a.learning_rate for a in make_plan(made).alternatives}
    assert rates["porian"] == pytest.approx(3.7 * (made.params + 50_432 * 768) ** -0.36, rel=1e-6)
    per_token = 6 * made.params + 12 * 12 * 768 * 2048
    assert rates["deepseek"] == pytest.approx(0.3118 * (per_token * 2e9) ** -0.125, rel=1e-6)


def test_warmup_is_the_conventions_or_a_tenth_of_the_run() -> None:
    long, short = make_plan(workload(5e8, 1e11)).recipe, make_plan(workload(5e7, 1e9)).recipe
    assert long.warmup_steps.value == 2000  # Step Law's own warmup
    assert short.warmup_steps.value == int(short.steps.number) // 10  # Power Lines: linear warmup over 10 % of steps


def test_more_unique_tokens_than_the_run_takes_is_no_repetition() -> None:
    assert Sizes(params=1e9, tokens=1e10, unique_tokens=1e12).workload().unique_tokens is None


def test_repeated_data_shifts_the_split_of_a_budget() -> None:
    # Muennighoff et al. 2023: with little unique data, repeats lose value, and so do excess parameters.
    free, scarce = (Sizes(compute=1e22, unique_tokens=u).workload() for u in (None, 2e10))
    assert scarce.unique_tokens == 2e10
    assert scarce.params != pytest.approx(free.params, rel=0.01)
    assert "vocabulary" in free.source
