"""A batch schedule in the trainers' terms: the same batches at the same tokens, and what each cannot do is a loss."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from export_fixtures import LR, build_plan, load_python, shell_flags

from forescale.errors import ForescaleError
from forescale.noise.schedule import BatchSchedule, doubling, parse
from forescale.plan import Plan, Request, make_plan
from forescale.plan.export import TARGETS, Export, export
from forescale.workload import Workload

SEQ = 8192
TOTAL = 397 * 512 * SEQ  # of the fixtures' plan: 64 ranks x 2 x 4 sequences
WRITERS = {"megatron-lm", "olmo-core", "levanter"}
DOUBLED = doubling(128, (TOTAL / 4, TOTAL / 2), SEQ)


def plan(schedule: BatchSchedule, **changes: float) -> Plan:
    return dataclasses.replace(build_plan(**changes), batch_schedule=schedule)


def megatron_steps(text: str, samples: int) -> list[int]:
    """Sequences of every step, as Megatron-LM's calculator and its loop have them (d98e8a64dd)."""
    stages = [(int(t) // SEQ, int(b)) for t, b in (entry.split(":") for entry in text.split())]
    seen, steps = 0, []
    while seen < samples:
        steps.append(next(batch for start, batch in reversed(stages) if seen >= start))
        seen += steps[-1]
    return steps


@pytest.mark.parametrize("schedule", [DOUBLED, parse("0:128 1000M:384 1.2B:512", SEQ)])
def test_megatron_takes_the_planned_steps(schedule: BatchSchedule) -> None:
    flags = shell_flags(export(plan(schedule), "megatron-lm").text)
    steps = megatron_steps(flags["step-batch-size-schedule"], int(flags["train-samples"]))
    assert steps == [step.sequences for step in schedule.steps(TOTAL)]


def test_megatron_counts_samples_so_that_nothing_else_moves() -> None:
    flags = shell_flags(export(plan(DOUBLED), "megatron-lm").text)
    assert int(flags["train-samples"]) == int(flags["lr-decay-samples"]) == 397 * 512
    assert int(flags["lr-warmup-samples"]) == 37 * 512
    excluded = {"global-batch-size", "train-iters", "lr-decay-iters", "lr-warmup-iters"}  # Megatron asserts that
    assert not excluded & set(flags)


def levanter_steps(text: str) -> list[int]:
    """Sequences of every step, as levanter's BatchSchedule has them."""
    trainer = yaml.safe_load(text)["trainer"]
    segments = trainer["train_batch_size"]
    return [
        next(s["value"] for s in reversed(segments) if s["start"] <= step) for step in range(trainer["num_train_steps"])
    ]


def test_levanter_takes_the_planned_steps() -> None:
    made = plan(DOUBLED)
    text = export(made, "levanter").text
    assert levanter_steps(text) == [step.sequences for step in DOUBLED.steps(TOTAL)]
    # Warmup: the steps of 128 sequences in 37 x 512 of them.
    assert yaml.safe_load(text)["optimizer"]["warmup"] == 37 * 512 / 128


def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for OLMo-core's classes that keep what they are given."""

    def module(name: str, **content: object) -> ModuleType:
        made = types.ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def keep(**given: object) -> SimpleNamespace:
        return SimpleNamespace(**given)

    module("olmo_core")
    module("olmo_core.nn")
    module("olmo_core.nn.transformer", InitMethod=SimpleNamespace(normal="normal"))
    units = SimpleNamespace(steps="steps", tokens="tokens")
    module("olmo_core.optim", AdamWConfig=keep, LinearWithWarmup=keep, CosWithWarmup=keep, SchedulerUnits=units)
    duration = SimpleNamespace(tokens=lambda n: ("tokens", n), steps=lambda n: ("steps", n))
    module("olmo_core.train", Duration=duration)
    module("olmo_core.train.callbacks", BatchSizeSchedulerCallback=keep)


def applied(text: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    modules(monkeypatch)
    sections = ("train_module", "data_loader", "dataset", "model", "trainer")
    config = SimpleNamespace(**{name: SimpleNamespace() for name in sections})
    config.trainer.callbacks = {}
    return load_python(text).apply(config)


def test_olmo_core_gets_its_callback_in_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    config = applied(export(plan(DOUBLED), "olmo-core", strict=True).text, monkeypatch)
    callback = config.trainer.callbacks["batch_size_schedule"]
    assert callback.batch_sizes == [128 * SEQ, 256 * SEQ, 512 * SEQ]
    assert callback.schedule == [("tokens", s.tokens) for s in DOUBLED.stages]
    assert config.data_loader.global_batch_size == 128 * SEQ
    assert config.train_module.scheduler.units == "tokens"
    assert config.train_module.scheduler.warmup == 37 * 512 * SEQ
    assert config.trainer.max_duration == ("tokens", TOTAL)


def test_olmo_cores_rule_ends_at_the_plans_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its callback multiplies by sqrt(new / old) at each change; the plan's rate is that of 512 sequences.
    config = applied(export(plan(DOUBLED), "olmo-core").text, monkeypatch)
    sizes = config.trainer.callbacks["batch_size_schedule"].batch_sizes
    rate = config.train_module.optim.lr
    for old, new in pairwise(sizes):
        rate *= math.sqrt(new / old)
    assert rate == pytest.approx(LR, rel=1e-12)


def test_what_a_trainer_does_not_do_with_the_rate_is_a_loss() -> None:
    kept = dataclasses.replace(DOUBLED, lr_rule="none")
    for schedule, target, lossy in (
        (DOUBLED, "megatron-lm", True),
        (kept, "megatron-lm", False),
        (DOUBLED, "olmo-core", False),
        (kept, "olmo-core", True),
        (DOUBLED, "levanter", True),
        (kept, "levanter", False),
    ):
        losses = [m for m in export(plan(schedule), target).losses if "learning rate rule" in m]
        assert bool(losses) == lossy, (target, schedule.lr_rule)


def test_levanters_decay_in_steps_is_a_loss() -> None:
    assert any("decay counts steps" in m for m in export(plan(DOUBLED), "levanter").losses)
    assert not any("decay counts steps" in m for m in export(build_plan(), "levanter").losses)


@pytest.mark.parametrize("target", sorted(set(TARGETS) - WRITERS - {"litgpt"}))
def test_the_other_targets_say_that_they_cannot(target: str) -> None:
    result = export(plan(DOUBLED), target)
    assert [m for m in result.losses if m.startswith("the batch schedule is not carried")]
    with pytest.raises(ForescaleError, match="batch schedule is not carried"):
        export(plan(DOUBLED), target, strict=True)


@pytest.mark.parametrize("target", [*sorted(WRITERS), "huggingface"])
def test_the_head_of_the_file_has_the_schedule(target: str) -> None:
    head = re.sub(r"\n#\s+(?=\S)", " ", export(plan(DOUBLED), target).text.split("\n\n")[0])
    assert "Batch schedule (tokens:sequences): 0:128 " in head
    assert f"{len(DOUBLED.steps(TOTAL))} optimizer steps" in head


@pytest.mark.parametrize("target", sorted(WRITERS))
def test_a_batch_that_does_not_divide_is_refused(target: str) -> None:
    with pytest.raises(ForescaleError, match=r"multiple of 128 sequences, 64 .devices. x 2 .micro-batch.; got 64"):
        export(plan(parse("0:64 1B:128", SEQ)), target)


def test_olmo_core_refuses_other_than_integer_factors() -> None:
    with pytest.raises(ForescaleError, match="integer factor only; got 256 and then 384"):
        export(plan(parse("0:256 1B:384", SEQ)), "olmo-core")


W = Workload(params=7e9, tokens=1.4e12, seq_len=4096)


def made(text: str, **options: object) -> Plan:
    return make_plan(W, Request(devices=64, micro_batch=2, batch_schedule=text, **options))  # type: ignore[arg-type]


def test_a_plan_keeps_its_recipe_and_states_the_schedule() -> None:
    plain, scheduled = make_plan(W, Request(devices=64, micro_batch=2)), made("double:256:300B,800B")
    assert scheduled.recipe == plain.recipe
    assert "batch_schedule" not in plain.to_json()
    stated = scheduled.to_json()["batch_schedule"]
    # 300B tokens at 256, 500B at 512, the rest at 1024 sequences of 4096
    expected = (300e9 / 256 + 500e9 / 512 + (scheduled.run_tokens - 800e9) / 1024) / 4096
    assert stated["steps"] == pytest.approx(expected, abs=3)
    assert stated["lr_rule"] == "sqrt"
    assert "batch-schedule" in {w.code for w in scheduled.warnings}


def test_a_law_goes_up_to_the_plans_batch() -> None:
    found = made("zhang-refit").batch_schedule
    assert found is not None
    assert found.stages[-1].sequences == made("zhang-refit").layout.sequences


def test_an_unverified_law_is_a_caution() -> None:
    said = [w.message for w in made("power-lines:critical_batch_tokens").warnings if w.code == "batch-schedule"]
    assert any("could not be verified" in message for message in said)


def test_bad_requests_are_one_sentence() -> None:
    with pytest.raises(ForescaleError, match="give one as well"):
        Request(batch_schedule_lr="sqrt")
    with pytest.raises(ForescaleError, match="lr_rule must be none or sqrt; got 'cube'"):
        made("double:256:300B", batch_schedule_lr="cube")
    with pytest.raises(ForescaleError, match="last change must lie within the run"):
        made("double:256:1.5T")
    with pytest.raises(ForescaleError, match="multiple of 128 sequences"):
        made("double:100:300B")


def exported(target: str) -> Export:
    return export(made("double:256:300B,800B"), target)


def test_a_whole_plan_exports() -> None:
    flags = shell_flags(exported("megatron-lm").text)
    assert flags["step-batch-size-schedule"] == "0:256 300000002048:512 800000000000:1024"
