"""torchtitan: Python only, sequences in 0.3.0 and tokens on main, and (where installed) the real classes."""

from __future__ import annotations

import tomllib

import pytest
from export_fixtures import LR, WEIGHT_DECAY, build_plan, load_python, python_values

from forescale.plan.export import export
from forescale.schedules import by_name, factor_at


@pytest.mark.parametrize("target", ["torchtitan", "torchtitan-main"])
def test_it_is_python_and_never_toml(target: str, linear_plan) -> None:
    result = export(linear_plan, target)
    assert result.filename.endswith(".py")
    compile(result.text, result.filename, "exec")
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(result.text)


def test_030_counts_the_batch_in_sequences(linear_plan) -> None:
    values = python_values(export(linear_plan, "torchtitan").text)
    assert values["global_batch_size"] == 64 * 2 * 4
    assert values["local_batch_size"] == 2
    assert values["seq_len"] == 8192
    assert "num_tokens_per_train_step" not in values


def test_main_counts_the_batch_in_tokens(linear_plan) -> None:
    values = python_values(export(linear_plan, "torchtitan-main").text)
    assert values["num_tokens_per_train_step"] == 64 * 2 * 4 * 8192
    assert values["num_tokens_per_microbatch_per_dp_rank"] == 2 * 8192
    assert values["max_context_length"] == 8192
    assert not {"global_batch_size", "local_batch_size", "seq_len"} & set(values)


@pytest.mark.parametrize("target", ["torchtitan", "torchtitan-main"])
def test_optimizer_and_schedule_are_the_plans(target: str) -> None:
    values = python_values(export(build_plan(schedule="cosine", final_lr_ratio=0.1), target).text)
    expected = {
        "lr": LR,
        "betas": (0.9, 0.95),
        "eps": 1e-8,
        "weight_decay": WEIGHT_DECAY,
        "warmup_steps": 37,
        "total_steps": 397,
        "decay_ratio": None,
        "decay_type": "cosine",
        "min_lr_factor": 0.1,
        "steps": 397,
        "max_norm": 1.0,
    }
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("std", [0.01, 0.02])
def test_the_init_std_is_a_loss_even_at_the_value_of_torchtitans_linear_layers(std: float) -> None:
    (message,) = export(build_plan(init_std=std), "torchtitan").losses
    assert f"init_std {std}" in message
    assert "param_init" in message


@pytest.mark.filterwarnings("default")  # those of other packages are theirs
@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_the_real_classes_run_the_plans_schedule(schedule: str, ratio: float) -> None:
    pytest.importorskip("torchtitan")
    torch = pytest.importorskip("torch")
    from torchtitan.models.llama3.config_registry import llama3_debugmodel

    plan = build_plan(schedule=schedule, final_lr_ratio=ratio)
    config = load_python(export(plan, "torchtitan").text).apply(llama3_debugmodel())
    config.optimizer.implementation = "for-loop"
    optimizers = config.optimizer.build(model_parts=[torch.nn.Linear(2, 2)])
    scheduler = config.lr_scheduler.build(optimizers=optimizers, training_steps=config.training.steps)
    ours = by_name(schedule, warmup=37 / 397, final=ratio)
    for step in range(397):
        lr = next(iter(optimizers)).param_groups[0]["lr"]
        next(iter(optimizers)).step()
        assert lr == pytest.approx(LR * factor_at(ours, step, 397), rel=0, abs=LR * 1e-15)
        scheduler.step()
