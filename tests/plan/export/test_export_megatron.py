"""Megatron-LM flags and Megatron-Bridge overrides."""

from __future__ import annotations

import argparse
import shlex
from types import SimpleNamespace

import pytest
from export_fixtures import LR, WEIGHT_DECAY, build_plan, llama_shape, load_python, shell_flags

from forescale.plan.export import export


def namespace(text: str) -> argparse.Namespace:
    """The flags as Megatron's own parser types them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("lr", "min-lr", "lr-warmup-init", "weight-decay", "adam-beta1", "adam-beta2", "adam-eps"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("clip-grad", "init-method-std"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("lr-decay-iters", "lr-warmup-iters", "train-iters", "global-batch-size", "micro-batch-size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("seq-length", "max-position-embeddings"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("optimizer", "lr-decay-style", "weight-decay-incr-style"):
        parser.add_argument(f"--{name}")
    body = text.split("FORESCALE_ARGS=(\n")[1].split("\n)\n")[0]
    return parser.parse_args(shlex.split(body, comments=True))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_flags_parse_to_the_plans_numbers(schedule: str) -> None:
    args = namespace(export(build_plan(schedule=schedule, final_lr_ratio=0.1), "megatron-lm").text)
    assert vars(args) == {
        "lr": LR,
        "min_lr": LR * 0.1,
        "lr_warmup_init": 0.0,
        "weight_decay": WEIGHT_DECAY,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "adam_eps": 1e-8,
        "clip_grad": 1.0,
        "init_method_std": 0.02,
        "lr_decay_iters": 397,
        "lr_warmup_iters": 37,
        "train_iters": 397,
        "global_batch_size": 512,
        "micro_batch_size": 2,
        "seq_length": 8192,
        "max_position_embeddings": 8192,
        "optimizer": "adam",
        "lr_decay_style": schedule,
        "weight_decay_incr_style": "constant",
    }


def test_flags_that_exclude_those_written_are_not_written(linear_plan) -> None:
    flags = shell_flags(export(linear_plan, "megatron-lm").text)
    excluded = {"step-batch-size-schedule", "rampup-batch-size", "train-samples", "lr-warmup-fraction"}
    # With a constant weight decay Megatron asserts that these two are unset.
    excluded |= {"start-weight-decay", "end-weight-decay"}
    assert not excluded & set(flags)


def test_grouped_queries_need_a_bare_flag() -> None:
    flags = shell_flags(export(build_plan(shape=llama_shape()), "megatron-lm").text)
    assert flags["group-query-attention"] == ""
    assert flags["num-query-groups"] == "8"


def bridge(plan) -> dict[str, object]:
    """What apply() sets, section by section."""
    sections = ("optimizer", "scheduler", "train", "model", "dataset")
    config = SimpleNamespace(**{name: SimpleNamespace() for name in sections})
    assert load_python(export(plan, "megatron-bridge").text).apply(config) is config
    return {f"{s}.{k}": v for s in sections for k, v in vars(getattr(config, s)).items()}


def test_bridge_gets_the_weight_decay_in_all_three_places(linear_plan) -> None:
    fields = bridge(linear_plan)
    for name in ("optimizer.weight_decay", "scheduler.start_weight_decay", "scheduler.end_weight_decay"):
        assert fields[name] == WEIGHT_DECAY
    assert fields["scheduler.weight_decay_incr_style"] == "constant"


def test_bridge_gets_an_explicit_minimum_and_no_helper(linear_plan) -> None:
    assert bridge(linear_plan)["optimizer.min_lr"] == 0.0
    assert "cosine_annealing" not in export(linear_plan, "megatron-bridge").text


def test_bridge_is_given_its_length_in_iterations_only(linear_plan) -> None:
    fields = bridge(linear_plan)
    assert fields["train.train_iters"] == fields["scheduler.lr_decay_iters"] == 397
    assert fields["train.train_samples"] is None
    assert fields["train.rampup_batch_size"] is None
    assert fields["scheduler.lr_warmup_fraction"] is None
    assert not [name for name in fields if name.endswith(("decay_samples", "warmup_samples"))]


def test_bridge_numbers(cosine_plan) -> None:
    fields = bridge(cosine_plan)
    expected = {
        "optimizer.lr": LR,
        "optimizer.min_lr": LR * 0.1,
        "optimizer.adam_beta1": 0.9,
        "optimizer.adam_beta2": 0.95,
        "optimizer.adam_eps": 1e-8,
        "optimizer.clip_grad": 1.0,
        "scheduler.lr_decay_style": "cosine",
        "scheduler.lr_warmup_iters": 37,
        "train.global_batch_size": 512,
        "train.micro_batch_size": 2,
        "model.seq_length": 8192,
        "dataset.seq_length": 8192,
        "model.init_method_std": 0.02,
    }
    assert {name: fields[name] for name in expected} == expected
