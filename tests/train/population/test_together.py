"""Which runs can be one program, and what is said of those that cannot."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from loop_runs import MIXED, TINY, tiny_config

from forescale.errors import ForescaleError
from forescale.train import ModelOptions, TrainConfig
from forescale.train.population import together, train_population
from forescale.train.population._together import OWN, check_together

PLAIN = tiny_config()
OTHER_VALUES: dict[str, Any] = {
    "shape": replace(TINY, layers=3), "seq_len": 8, "batch_sequences": 2, "options": ModelOptions(z_loss=0.1),
    "data": ("text.txt",), "tokenizer": "gpt2", "held_out": 0.2, "key": "body", "errors": "replace",
    "precision": "fp32", "device": "cpu", "compile": True, "micro_batch": 2, "threads": 1,
}  # fmt: skip


def test_every_field_is_a_members_own_or_the_programs() -> None:
    names = {field.name for field in fields(TrainConfig)}
    assert names == OWN | OTHER_VALUES.keys() | {"optimizer", "parallel", "noise"}
    assert not OWN & OTHER_VALUES.keys()


def test_members_may_differ_in_what_is_their_own() -> None:
    own = replace(
        PLAIN, learning_rate=1e-3, weight_decay=0.0, beta1=0.8, beta2=0.9, epsilon=1e-6, warmup_steps=0, seed=4, steps=9,
        schedule="cosine", final_lr_ratio=0.1, grad_clip=0.0, init_std=0.1, scheme="u-mup", out="folder", log_every=3,
    )  # fmt: skip
    assert together([PLAIN, own, PLAIN]) == [[0, 1, 2]]


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_programs_differ_in_the_rest(name: str) -> None:
    other = replace(PLAIN, **{name: OTHER_VALUES[name]})
    assert together([PLAIN, other, PLAIN, other]) == [[0, 2], [1, 3]]
    with pytest.raises(ForescaleError, match=rf"member 1 {name}"):
        check_together([PLAIN, other])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"optimizer": "muon"}, "updated by AdamW; got the optimizer muon"),
        ({"shape": MIXED}, "members are dense"),
        ({"parallel": "fsdp"}, "one process; got parallel fsdp"),
    ],
)
def test_some_train_alone(corpus, changes: dict[str, Any], why: str) -> None:
    other = replace(PLAIN, **changes)
    assert together([PLAIN, other, PLAIN, other]) == [[0, 2], [1], [3]]
    with pytest.raises(ForescaleError, match=f"{why}.*train it alone"):
        train_population([other, other], corpus=corpus)
    assert len(train_population([replace(other, parallel="auto", steps=3, warmup_steps=0)], corpus=corpus)) == 1


def test_groups_are_cut_evenly() -> None:
    assert together([PLAIN] * 10, most=4) == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert together([PLAIN] * 3, most=1) == [[0], [1], [2]]
    assert together([]) == []


def test_parallel_none_and_auto_are_the_same_here() -> None:
    assert together([PLAIN, replace(PLAIN, parallel="none")]) == [[0, 1]]


def test_no_members_are_no_population(corpus) -> None:
    with pytest.raises(ForescaleError, match="at least one config"):
        train_population([], corpus=corpus)
