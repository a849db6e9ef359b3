"""litgpt, levanter, nanotron and lingua: YAML that parses to the plan's numbers."""

from __future__ import annotations

import pytest
import yaml
from export_fixtures import LR, WEIGHT_DECAY, build_plan, llama_shape

from forescale.errors import ForescaleError
from forescale.plan.export import export


def parsed(target: str, **changes) -> dict:
    return yaml.safe_load(export(build_plan(**({"schedule": "cosine", "final_lr_ratio": 0.1} | changes)), target).text)


def test_litgpt_refuses_a_linear_plan_strict_or_not(linear_plan) -> None:
    for strict in (False, True):
        with pytest.raises(ForescaleError, match="--schedule cosine"):
            export(linear_plan, "litgpt", strict=strict)


def test_litgpt_numbers() -> None:
    assert parsed("litgpt") == {
        "train": {
            "global_batch_size": 512,
            "micro_batch_size": 2,
            "max_seq_length": 8192,
            "max_tokens": 397 * 512 * 8192,
            "lr_warmup_steps": 37,
            "lr_warmup_fraction": None,
            "max_norm": 1.0,
            "min_lr": LR * 0.1,
        },
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": LR, "weight_decay": WEIGHT_DECAY, "betas": [0.9, 0.95], "eps": 1e-8},
        },
    }


def test_litgpt_warmup_is_in_optimizer_steps_whatever_the_accumulation() -> None:
    assert parsed("litgpt", accumulation=16)["train"]["lr_warmup_steps"] == 37


def test_litgpt_says_that_its_init_is_fixed_and_its_steps_are_offset() -> None:
    result = export(build_plan(schedule="cosine", accumulation=4), "litgpt")
    assert "init_std 0.02" in result.losses[0]
    assert any("k + 3/4" in remark for remark in result.remarks)
    assert not any(
        "k + " in r for r in export(build_plan(schedule="cosine", accumulation=1, warmup_steps=0), "litgpt").remarks
    )


@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_levanter_numbers(schedule: str, ratio: float) -> None:
    assert parsed("levanter", schedule=schedule, final_lr_ratio=ratio) == {
        "optimizer": {
            "type": "adam",
            "learning_rate": LR,
            "lr_schedule": schedule,
            "min_lr_ratio": ratio,  # its default is 0.1
            "warmup": 37,
            "decay": None,
            "weight_decay": WEIGHT_DECAY,
            "beta1": 0.9,
            "beta2": 0.95,
            "epsilon": 1e-8,
            "default_weight_decay_mask": False,  # its default exempts embeddings
            "max_grad_norm": 1.0,
        },
        "trainer": {"num_train_steps": 397, "train_batch_size": 512, "per_device_parallelism": 2},
        "model": {"type": "CHOOSE", "seq_len": 8192, "initializer_range": 0.02},
    }


@pytest.mark.parametrize("warmup", [0, 1, 2])
@pytest.mark.parametrize("steps", [3, 397, 10**6 + 3])
def test_levanter_reads_a_warmup_of_at_most_one_as_a_share(warmup: int, steps: int) -> None:
    value = parsed("levanter", warmup_steps=warmup, steps=steps)["optimizer"]["warmup"]
    assert (int(value * steps) if value <= 1 else value) == warmup  # levanter's own rule


def test_levanter_needs_a_model_type() -> None:
    assert "CHOOSE" in export(build_plan(), "levanter").text
    assert parsed("levanter", shape=llama_shape())["model"]["type"] == "llama"


@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_nanotron_numbers(schedule: str, ratio: float) -> None:
    config = parsed("nanotron", schedule=schedule, final_lr_ratio=ratio)
    assert config["optimizer"]["learning_rate_scheduler"] == {
        "learning_rate": LR,
        "lr_warmup_steps": 37,
        "lr_warmup_style": "linear",
        "lr_decay_style": schedule,
        "lr_decay_starting_step": 37,
        "lr_decay_steps": 360,
        "min_decay_lr": LR * ratio,  # unset it would be the peak
    }
    assert config["optimizer"]["optimizer_factory"] == {
        "name": "adamW",
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "adam_eps": 1e-8,
        "torch_adam_is_fused": True,
    }
    assert config["optimizer"]["weight_decay"] == WEIGHT_DECAY
    assert config["optimizer"]["clip_grad"] == 1.0
    assert config["model"] == {"init_method": {"std": 0.02, "scaling_method": "NONE"}}
    assert config["parallelism"] == {"dp": 64}
    assert config["tokens"] == {
        "sequence_length": 8192,
        "train_steps": 397,
        "micro_batch_size": 2,
        "batch_accumulation_per_replica": 4,
    }


def test_nanotron_without_a_warmup_does_not_start_at_zero() -> None:
    scheduler = parsed("nanotron", warmup_steps=0)["optimizer"]["learning_rate_scheduler"]
    assert scheduler["lr_warmup_style"] == "constant"
    assert scheduler["lr_decay_steps"] == 397


@pytest.mark.parametrize(("schedule", "ratio"), [("linear", 0.0), ("cosine", 0.1)])
def test_lingua_numbers(schedule: str, ratio: float) -> None:
    assert parsed("lingua", schedule=schedule, final_lr_ratio=ratio) == {
        "steps": 397,
        "grad_acc_steps": 4,
        "optim": {
            "lr": LR,
            "scheduler": schedule,
            "warmup": 37,
            "lr_min_ratio": ratio,
            "weight_decay": WEIGHT_DECAY,
            "epsilon": 1e-8,
            "beta1": 0.9,
            "beta2": 0.95,
            "clip": 1.0,
        },
        "data": {"batch_size": 2, "seq_len": 8192},
        "model": {"init_base_std": 0.02, "init_std_factor": "disabled"},
    }
