"""OLMo-core: tokens, explicit final ratio, steps counted from 1, and (where installed) the real classes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from export_fixtures import LR, WEIGHT_DECAY, build_plan, load_python, python_values

from forescale.plan.export import export
from forescale.schedules import by_name, factor_at


def test_batches_are_in_tokens(linear_plan) -> None:
    values = python_values(export(linear_plan, "olmo-core").text)
    assert values["data_loader.global_batch_size"] == 64 * 2 * 4 * 8192
    assert values["train_module.rank_microbatch_size"] == 2 * 8192
    assert values["train_module.max_sequence_length"] == 8192


@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_the_final_ratio_is_written_since_its_default_is_a_tenth(schedule: str, ratio: float) -> None:
    text = export(build_plan(schedule=schedule, final_lr_ratio=ratio), "olmo-core").text
    assert python_values(text)["alpha_f"] == ratio
    assert ("LinearWithWarmup(" in text) == (schedule == "linear")
    assert ("CosWithWarmup(" in text) == (schedule == "cosine")


def test_every_matrix_gets_the_initial_std(linear_plan) -> None:
    result = export(linear_plan, "olmo-core", strict=True)
    assert "config.model.init_method = InitMethod.normal" in result.text


def test_no_batch_callback_and_no_ladder(linear_plan) -> None:
    text = export(linear_plan, "olmo-core").text
    assert "BatchSizeScheduler" not in text
    assert "model_ladder" not in text


def test_numbers(linear_plan) -> None:
    values = python_values(export(linear_plan, "olmo-core").text)
    expected = {
        "lr": LR,
        "betas": (0.9, 0.95),
        "eps": 1e-8,
        "weight_decay": WEIGHT_DECAY,
        "warmup": 37,
        "train_module.max_grad_norm": 1.0,
        "model.init_std": 0.02,
        "model.embedding_init_std": None,
        "Duration.steps": 397,
    }
    assert {name: values[name] for name in expected} == expected


@pytest.mark.filterwarnings("default")  # those of other packages are theirs
@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_the_real_scheduler_is_one_step_ahead_after_the_warmup(schedule: str, ratio: float) -> None:
    pytest.importorskip("olmo_core")
    sections = ("train_module", "data_loader", "dataset", "model", "trainer")
    config = SimpleNamespace(**{name: SimpleNamespace() for name in sections})
    plan = build_plan(schedule=schedule, final_lr_ratio=ratio)
    load_python(export(plan, "olmo-core").text).apply(config)
    planned = by_name(schedule, warmup=37 / 397, final=ratio)
    for step in range(397):
        lr = config.train_module.scheduler.get_lr(LR, step + 1, 397)
        ours = factor_at(planned, step + (step >= 36 and step < 396), 397) if step < 396 else ratio
        assert lr == pytest.approx(LR * ours, rel=0, abs=LR * 1e-15)
