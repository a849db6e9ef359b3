"""Templates, rules and the jobs that they make: what is wrong is said before anything starts."""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError, UnknownNameError
from forescale.sweep._job import job_from_json
from forescale.sweep.command import Command, LossRule, command_job
from forescale.sweep.command._command import command_of
from forescale.sweep.command._loss import USUAL, as_loss
from forescale.sweep.command._template import arguments

VALUES = {"learning_rate": 1e-3, "batch_sequences": 8, "steps": 10, "data": "/a b/c.txt", "seed": 0}


def make(run: str, **options: Any) -> Any:
    return command_job(Command(run=run, **options), VALUES, compute=1.0)


def test_an_unknown_field_lists_those_that_exist() -> None:
    with pytest.raises(
        UnknownNameError, match=r"field learning_rat, .* batch_sequences, data, learning_rate, out, seed"
    ):
        make("train --lr {learning_rat}")
    with pytest.raises(UnknownNameError, match="field nope"):
        make("train", env={"A": "{nope}"})
    with pytest.raises(UnknownNameError, match="field nope"):
        make("train", resume="train --resume {nope}")


@pytest.mark.parametrize("run", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:{b}}", "{a", "a}", "{a b}"])
def test_braces_that_are_no_plain_field(run: str) -> None:
    with pytest.raises(ForescaleError, match="fields are written"):
        Command(run=f"train {run}")


@pytest.mark.parametrize(("run", "said"), [("", "empty"), ("  ", "empty"), ("train 'a", "close its quotes")])
def test_a_command_that_cannot_be_split(run: str, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        Command(run=run)


def test_a_format_that_does_not_fit() -> None:
    with pytest.raises(ForescaleError, match=r"\{learning_rate:d\} cannot write"):
        make("train {learning_rate:d}")


def test_a_swept_value_that_is_not_used() -> None:
    command = Command(run="train --lr {learning_rate} --batch {batch_sequences}")
    command_job(command, VALUES, compute=1.0, swept=["learning_rate", "batch_tokens"])  # sequences say the batch
    with pytest.raises(UnknownNameError, match=r"differ in seed.*batch_sequences, learning_rate"):
        command_job(command, VALUES, compute=1.0, swept=["seed"])
    with pytest.raises(UnknownNameError, match="is learning_rate meant"):
        command_job(command, {**VALUES, "learning_rates": 1}, compute=1.0, swept=["learning_rates"])


def test_the_key_is_that_of_the_command_and_of_the_fields_in_it() -> None:
    key = make("train {learning_rate}").key
    assert key == command_job(Command(run="train {learning_rate}"), {**VALUES, "seed": 7}, compute=2.0).key
    assert key == make("train {learning_rate}", curve=r"(\d+) (\d+)", grace=1.0, resume="train again {seed}").key
    others = [make("train {learning_rate} {seed}"), make("train {learning_rate}", env={"A": "1"})]
    others += [
        make("train {learning_rate}", loss=LossRule(pattern="l=(.*)")),
        make("train {learning_rate}", shell=True),
    ]
    others += [command_job(Command(run="train {learning_rate}"), {**VALUES, "learning_rate": 2e-3}, compute=1.0)]
    assert len({key, *(job.key for job in others)}) == 6


def test_a_job_gives_its_command_back() -> None:
    command = Command(
        run="a {seed}", loss=LossRule(source="csv", file="a.csv", key="l"), env={"A": "b"}, curve="(a)(b)", cwd="/"
    )
    job = command_job(command, VALUES, compute=1.0)
    assert command_of(job_from_json(json.loads(json.dumps(job.to_json())))) == command


def test_a_value_with_spaces_stays_one_argument() -> None:
    assert arguments("train --data={data} x", VALUES) == ["train", "--data=/a b/c.txt", "x"]
    assert arguments("train {data}", VALUES, shell=True)[-1] == "train '/a b/c.txt'"


@given(st.text(st.characters(exclude_characters="{}", codec="utf-8"), min_size=1))
def test_no_value_becomes_two_arguments(text: str) -> None:
    assert arguments("t {data}", {"data": text}) == ["t", text]
    assert shlex.split(arguments("t {data}", {"data": text}, shell=True)[-1]) == ["t", text]


# What the trainers print, as their sources have it.
PRINTED = {
    "step 250: train loss 1.9612, val loss 2.0912": 2.0912,  # nanoGPT
    "step:100/1000 val_loss:3.2785 train_time:9ms": 3.2785,  # modded-nanogpt
    "{'eval_loss': 3.21, 'eval_runtime': 0.1}": 3.21,  # transformers 4
    "{'eval_loss': '3.21', 'eval_runtime': '0.1'}": 3.21,  # transformers 5
    "Step 00100 | Validation loss: 4.1e0": 4.1,
    "validation/loss=3.5": 3.5,
    "Epoch 0: 100%|##| 9/9 [00:01<00:00, val_loss=6.78]": 6.78,  # Lightning
    "val loss nan": math.nan,
    "eval_loss: -inf": -math.inf,
}


@pytest.mark.parametrize("line", PRINTED)
def test_the_usual_rule_reads_what_trainers_print(line: str) -> None:
    found = re.search(USUAL, line)
    assert found is not None
    assert as_loss(found[1]) == pytest.approx(PRINTED[line], nan_ok=True)


@pytest.mark.parametrize(
    "line", ["iter 10: loss 3.2, time 8ms", "train loss 3.2", "interval loss 3.2", "val loss high"]
)
def test_the_usual_rule_reads_no_training_loss(line: str) -> None:
    assert re.search(USUAL, line) is None


def test_rules_that_can_read_nothing() -> None:
    for pattern, said in (("(", "regular expression"), ("loss", "1 group"), ("(a)(b)", "1 group")):
        with pytest.raises(ForescaleError, match=said):
            LossRule(pattern=pattern)
    with pytest.raises(ForescaleError, match="2 groups"):
        Command(run="a", curve="loss (.*)")
    with pytest.raises(ForescaleError, match="needs its file and its key"):
        LossRule(source="csv", file="a.csv")
    with pytest.raises(ForescaleError, match="read from output, json"):
        LossRule(source="yaml")  # pyright: ignore[reportArgumentType]
