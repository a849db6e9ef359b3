"""From a plan to a config: nothing changes on the way but what the user sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forescale.errors import ForescaleError
from forescale.plan import Request, make_plan
from forescale.train import plan_run
from forescale.workload import Shape, Workload

SHAPE = Shape(layers=8, width=320, heads=5, vocab=256)
WORKLOAD = Workload.from_shape(SHAPE, tokens=20e6, seq_len=256)


def test_the_config_is_the_plans_recipe() -> None:
    run, recipe = plan_run(WORKLOAD), make_plan(WORKLOAD).recipe
    names = ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "warmup_steps", "schedule", "steps")
    names = (*names, "final_lr_ratio", "grad_clip", "init_std", "batch_sequences")
    assert {n: getattr(run.config, n) for n in names} == {n: getattr(recipe, n).value for n in names}
    assert run.config.batch_tokens == recipe.batch_tokens.value
    assert run.recipe == recipe
    assert run.config.params == WORKLOAD.params
    assert 0 <= WORKLOAD.tokens - run.config.tokens < run.config.batch_tokens


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta1", 0.8),
        ("epsilon", 1e-12),
        ("schedule", "wsd:decay=0.1"),
        ("grad_clip", 0.0),
        ("init_std", 0.1),
        ("weight_decay", 0.0),
    ],
)
def test_what_the_user_sets_is_used_and_said(name: str, value: Any) -> None:
    run, planned = plan_run(WORKLOAD, chosen={name: value}), plan_run(WORKLOAD)
    assert getattr(run.config, name) == value
    used = getattr(run.recipe, name)
    assert (used.value, used.law) == (value, "user")
    assert str(getattr(planned.recipe, name).value) in used.reason
    assert replace(run.config, **{name: getattr(planned.config, name)}) == planned.config


def test_requests_are_the_plans_own() -> None:
    request = Request(learning_rate=1e-3, batch_tokens=5000, warmup_steps=7, final_lr_ratio=0.1, schedule="cosine")
    run = plan_run(WORKLOAD, request)
    assert (run.config.learning_rate, run.config.warmup_steps, run.config.final_lr_ratio) == (1e-3, 7, 0.1)
    assert (run.config.schedule, run.config.batch_sequences) == ("cosine", 20)  # 19.5 sequences, half up
    assert run.recipe.weight_decay.value != plan_run(WORKLOAD).recipe.weight_decay.value


def test_a_schedule_with_a_warmup_of_its_own_takes_none() -> None:
    run = plan_run(WORKLOAD, chosen={"schedule": "points:0=0,0.1=1,1=0"})
    assert (run.config.warmup_steps, run.config.final_lr_ratio) == (0, 0)
    assert "decided by the schedule points" in run.recipe.warmup_steps.reason
    with pytest.raises(ForescaleError, match="warmup_steps is decided by the schedule"):
        plan_run(WORKLOAD, Request(warmup_steps=5), chosen={"schedule": "points:0=0,0.1=1,1=0"})


def test_what_the_schedules_text_states_is_in_recipe_and_config() -> None:
    run = plan_run(WORKLOAD, chosen={"schedule": "cosine:final=0.1,warmup=0.3"})
    for made in (run.config.warmup_steps, run.recipe.warmup_steps.value):
        assert made == round(0.3 * run.config.steps)
    assert run.config.final_lr_ratio == run.recipe.final_lr_ratio.value == 0.1
    assert plan_run(WORKLOAD, chosen={"schedule": "tenth"}).recipe.final_lr_ratio.value == pytest.approx(0.1)
    for request in (Request(warmup_steps=5), Request(final_lr_ratio=0.0)):
        with pytest.raises(ForescaleError, match="give one of the two"):
            plan_run(WORKLOAD, request, chosen={"schedule": "cosine:final=0.1,warmup=0.3"})


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"optimizer": "adam-atan2"}, "no epsilon"),
        ({"optimizer": "muon"}, "momentum 0.95"),
        ({"scheme": "mup", "base": Shape(width=64, depth=2)}, "at the base"),
    ],
)
def test_what_is_set_aside_is_said(settings: dict[str, Any], note: str) -> None:
    assert any(note in each for each in plan_run(WORKLOAD, **settings).notes)
    assert plan_run(WORKLOAD).notes == ()


def test_a_size_alone_is_no_model() -> None:
    with pytest.raises(ForescaleError, match="needs a shape"):
        plan_run(Workload(params=1e7, tokens=2e7, seq_len=256))


def test_timescale_and_decay_contradict() -> None:
    with pytest.raises(ForescaleError, match="give one of them"):
        plan_run(WORKLOAD, Request(weight_decay=0.1), chosen={"timescale": 0.2})
    with pytest.raises(ForescaleError, match="has no momentum"):
        plan_run(WORKLOAD, chosen={"momentum": 0.9})


def test_two_rules_for_the_decay_are_not_put_together() -> None:
    base = {"scheme": "completed-p", "base": Shape(width=64, depth=2), "scheme_options": {"tokens_ratio": 4.0}}
    with pytest.raises(ForescaleError, match=r"by power-lines.*leave tokens_ratio out"):
        plan_run(WORKLOAD, **base)
    given = Request(learning_rate=1e-3, weight_decay=0.1)
    assert plan_run(WORKLOAD, given, **base).config.weight_decay == 0.1
