"""The config as a value: checked, written down, read back and compared."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_runs import MIXED, TINY, ModelOptions, tiny_config

from forescale.errors import ForescaleError
from forescale.train import TrainConfig
from forescale.train._config import EXECUTION
from forescale.train._config_json import config_from_json, config_hash, config_to_json, differences, identity
from forescale.workload import Shape

configs = st.builds(
    lambda rules, **changes: tiny_config(scheme=rules[0], base=rules[1], **changes),
    rules=st.sampled_from(
        [("standard", None), ("mup", Shape(width=8, depth=1)), ("mup", replace(TINY, width=8, heads=1))]
    ),
    shape=st.sampled_from([TINY, MIXED, replace(TINY, qk_norm="head", tied=True)]),
    scheme_options=st.sampled_from([{}, {"alpha": 0.5}]),
    options=st.sampled_from([ModelOptions(), ModelOptions(density=0.3, z_loss=1e-4, position="alibi")]),
    learning_rate=st.floats(1e-6, 1.0),
    steps=st.integers(3, 10**6),
    data=st.sampled_from([(), ("a.txt",), ("a.txt", "b")]),
    held_out=st.sampled_from([None, 0.1, 5000, ("held.txt",)]),
    log=st.sampled_from([(), ("tensorboard", "wandb")]),
)


@given(configs)
def test_json_holds_all_of_it(config: TrainConfig) -> None:
    text = json.dumps(config_to_json(config), allow_nan=False)
    again = config_from_json(json.loads(text))
    assert again == config
    assert config_hash(again) == config_hash(config)


CHANGES: dict[str, Any] = {
    "shape": MIXED, "base": Shape(width=4, depth=1), "options": ModelOptions(z_loss=1e-3), "schedule": "cosine",
    "optimizer": "muon", "scheme": "completep", "scheme_options": {"alpha": 0.5}, "data": ("x",), "tokenizer": "bpe:300",
    "held_out": 0.2, "device": "cpu", "precision": "bf16", "compile": True, "parallel": "fsdp", "log": ("trackio",),
    "out": "x", "beta1": 0.5, "beta2": 0.5, "final_lr_ratio": 0.5, "key": "body", "errors": "replace", "noise": "all",
}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in fields(TrainConfig)])
def test_a_field_is_of_the_identity_unless_it_is_how_the_run_is_carried_out(name: str) -> None:
    config = tiny_config(scheme="mup", base=Shape(width=8, depth=1))
    value = getattr(config, name)
    changed = replace(config, **{name: CHANGES[name] if name in CHANGES else (value or 0) + 1})
    same = identity(changed) == identity(config)
    assert same == (name in EXECUTION)
    assert same == (config_hash(changed) == config_hash(config))
    if not same:
        assert {key.partition(".")[0] for key, _, _ in differences(identity(config), identity(changed))} == {name}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more"),
        ({"batch_sequences": 2.5}, "batch_sequences must be a whole number"),
        ({"seq_len": True}, "seq_len must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number"),
        ({"beta2": 1.0}, "beta2 must be 0 or more and below 1"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"grad_clip": float("inf")}, "grad_clip must be"),
        ({"warmup_steps": 12}, "warmup_steps must be below the 12 steps"),
        ({"warmup_steps": -1}, "warmup_steps must be a whole number"),
        ({"schedule": "sine"}, "linear, cosine"),
        ({"schedule": "points:0=1,1=0", "warmup_steps": 2}, "warmup_steps is decided by"),
        ({"schedule": "points:0=1,1=0", "warmup_steps": 0, "final_lr_ratio": 0.1}, "comes to 0; got 0.1"),
        ({"schedule": "linear:warmup=0.5"}, "comes to 6; got 2"),
        ({"schedule": "tenth", "final_lr_ratio": 0.5}, "comes to 0.1; got 0.5"),
        ({"errors": "ignore"}, "strict, replace"),
        ({"optimizer": "sgd"}, "adamw, adam-atan2, muon"),
        ({"precision": "fp16"}, "auto, fp32, bf16"),
        ({"parallel": "pp"}, "auto, none, ddp, fsdp"),
        ({"log": ("paper",)}, "tensorboard, wandb, trackio"),
        ({"micro_batch": 0}, "micro_batch must be"),
        ({"checkpoint_every": 0}, "checkpoint_every must be"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    "needs",
    [{"scheme": name} for name in ("mup", "completep", "completed-p", "everett", "supar")]
    + [{"scheme": "supar", "scheme_options": {"density": 1.0}, "options": ModelOptions(density=0.5)}],
)
def test_a_scheme_without_its_base_is_refused(needs: dict[str, Any]) -> None:
    with pytest.raises(ForescaleError, match=f"the scheme {needs['scheme']} carries a recipe over from a base"):
        tiny_config(**needs)
    tiny_config(**needs, base=Shape(width=8, depth=1))


def test_a_base_where_there_is_nothing_to_carry_over_is_refused() -> None:
    for scheme in ("standard", "u-mup"):
        tiny_config(scheme=scheme)
        with pytest.raises(ForescaleError, match=f"the scheme {scheme} has no base"):
            tiny_config(scheme=scheme, base=Shape(width=8, depth=1))
    tiny_config(scheme="supar", options=ModelOptions(density=0.5))
    tiny_config(scheme="completed-p", scheme_options={"tokens_ratio": 2.0})


@pytest.mark.parametrize(
    ("schedule", "warmup", "final"),
    [  # (10 % of the peak by definition; 0.3 of twelve steps; one cycle's end, as written)
        ("tenth", 2, 0.1),
        ("cosine:final=0.1,warmup=0.25", 3, 0.1),
        ("wsd:final=0.2", 2, 0.2),
        ("constant", 2, 1.0),
        ("points:0=0,0.5=1,1=0.25", 0, 0.25),
    ],
)
def test_what_the_schedule_states_is_recorded(schedule: str, warmup: int, final: float) -> None:
    own = "warmup" in schedule or "points" in schedule
    config = tiny_config(schedule=schedule, warmup_steps=0 if own else 2)
    assert (config.warmup_steps, config.final_lr_ratio) == (warmup, pytest.approx(final))
    assert config.make_schedule()(1.0) == pytest.approx(final)
    assert config_from_json(config_to_json(config)) == config


def test_a_config_of_another_version_is_told() -> None:
    with pytest.raises(ForescaleError, match="no flux_capacitor"):
        config_from_json({**config_to_json(tiny_config()), "flux_capacitor": 1})
