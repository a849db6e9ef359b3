"""Hugging Face: the exported arguments in the real classes, and the optimizer and scheduler of a real Trainer."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from export_fixtures import LR, WEIGHT_DECAY, build_plan, load_python, schedule_factor

from forescale.plan.export import export
from forescale.schedules import by_name, factor_at

PLANS = [("linear", 0.0), ("linear", 0.1), ("cosine", 0.0), ("cosine", 0.1)]


def exported(schedule: str, ratio: float, **changes: float) -> ModuleType:
    plan = build_plan(schedule=schedule, final_lr_ratio=ratio, **changes)
    return load_python(export(plan, "hf").text)


@pytest.mark.parametrize(("schedule", "ratio"), PLANS)
def test_linear_to_a_ratio_is_polynomial_and_cosine_to_a_ratio_has_its_own_name(schedule: str, ratio: float) -> None:
    arguments = exported(schedule, ratio).ARGUMENTS
    name, kwargs = {
        ("linear", 0.0): ("linear", {}),
        ("linear", 0.1): ("polynomial", {"lr_end": LR * 0.1, "power": 1.0}),
        ("cosine", 0.0): ("cosine", {}),
        ("cosine", 0.1): ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
    }[schedule, ratio]
    assert arguments["lr_scheduler_type"] == name
    assert arguments["lr_scheduler_kwargs"] == kwargs


def test_the_removed_warmup_ratio_is_not_written() -> None:
    arguments = exported("linear", 0.0).ARGUMENTS
    assert "warmup_ratio" not in arguments
    assert arguments["warmup_steps"] == 37
    assert isinstance(arguments["warmup_steps"], int)  # a float below 1 would be a ratio


def test_a_plan_without_a_shape_has_no_model_of_its_own() -> None:
    module = exported("linear", 0.0)
    assert not hasattr(module, "model_config")
    assert set(module.MODEL_CONFIG) == {"initializer_range", "max_position_embeddings"}


def test_the_file_forces_no_device_and_no_precision() -> None:
    assert not {"use_cpu", "bf16", "fp16", "tf32"} & set(exported("linear", 0.0).ARGUMENTS)


def test_per_device_batch_times_devices_times_accumulation_is_the_plans_batch() -> None:
    arguments = exported("linear", 0.0).ARGUMENTS
    assert arguments["per_device_train_batch_size"] * 64 * arguments["gradient_accumulation_steps"] == 512


@pytest.fixture(scope="module")
def model():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    sizes = exported("linear", 0.0).MODEL_CONFIG | {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))


def trainer(model, module: ModuleType, folder: Path):
    """A real Trainer with the optimizer and scheduler it would train with."""
    from transformers import Trainer

    arguments = module.training_arguments(str(folder), use_cpu=True, bf16=False, report_to="none")
    result = Trainer(model=model, args=arguments)
    result.create_optimizer_and_scheduler(num_training_steps=arguments.max_steps)
    return result


def test_the_real_arguments_are_the_plans(model, tmp_path: Path) -> None:
    arguments = trainer(model, exported("cosine", 0.1), tmp_path).args
    assert arguments.learning_rate == LR
    assert arguments.max_steps == 397
    assert arguments.get_warmup_steps(397) == 37
    assert arguments.max_grad_norm == 1.0
    assert arguments.per_device_train_batch_size == 2
    assert arguments.gradient_accumulation_steps == 4


def test_the_real_optimizer_groups_are_the_plans(model, tmp_path: Path) -> None:
    groups = trainer(model, exported("linear", 0.0), tmp_path).optimizer.param_groups
    assert sorted(g["weight_decay"] for g in groups) == [0.0, WEIGHT_DECAY]  # norms are exempt, as the note says
    assert {g["betas"] for g in groups} == {(0.9, 0.95)}
    assert {g["eps"] for g in groups} == {1e-8}
    assert {g["initial_lr"] for g in groups} == {LR}


@pytest.mark.parametrize(("schedule", "ratio"), PLANS)
@pytest.mark.parametrize("warmup", [0, 1, 37])
def test_the_real_scheduler_is_ours_from_the_end_of_the_warmup_on(
    model, tmp_path: Path, schedule: str, ratio: float, warmup: int
) -> None:
    real = trainer(model, exported(schedule, ratio, warmup_steps=warmup), tmp_path)
    planned = by_name(schedule, warmup=warmup / 397, final=ratio)
    for step in range(397):
        ours = factor_at(planned, step, 397)
        expected = step / warmup if step < warmup else ours
        (lr,) = {g["lr"] for g in real.optimizer.param_groups}
        assert lr == pytest.approx(LR * expected, rel=0, abs=LR * 1e-15)
        if step < warmup:
            assert ours - expected == pytest.approx(1 / warmup)
        real.optimizer.step()
        real.lr_scheduler.step()
    assert schedule_factor(schedule, 397, 397, warmup, ratio) == pytest.approx(ratio)


def test_the_exported_init_std_initializes_the_model(model) -> None:
    assert model.config.initializer_range == 0.02
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.2)
