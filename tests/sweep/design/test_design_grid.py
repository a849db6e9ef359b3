"""A grid of runs: what each is made of, and every design that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError, UnknownNameError
from forescale.plan import Request
from forescale.sweep import train_job
from forescale.sweep.command import Command
from forescale.sweep.design import Common, Design, grid, make_design, make_job, octaves
from forescale.sweep.design._common import LEAST_EVAL_TOKENS, absolute_paths, eval_tokens
from forescale.train import plan_run, shape_for
from forescale.workload import Workload

SMALL: dict[str, Any] = {"params": 1e5, "tokens": 1e6, "seq_len": 64}


def planned(**request: Any) -> Any:
    """The plan of the small run, made without this package."""
    shape = shape_for(1e5, vocab=256, seq_len=64)
    return plan_run(Workload.from_shape(shape, tokens=1e6, seq_len=64), Request(**request), eval_tokens=2**16)


def values(design: Design, name: str) -> list[Any]:
    return [job.row[name] for job in design.jobs]


def test_a_run_is_the_plans_own() -> None:
    assert make_job(Common(values=SMALL), {}).key == train_job(planned().config).key
    given_rate = make_job(Common(values=SMALL), {"learning_rate": 0.003, "batch_tokens": 4096.0})
    assert given_rate.key == train_job(planned(learning_rate=0.003, batch_tokens=4096.0).config).key


def test_octaves_are_around_the_plan_at_the_runs_own_batch() -> None:
    axes = {"learning_rate": octaves(1), "batch_tokens": octaves([-1.0, 0.0])}
    design = grid(Common(values=SMALL), axes)
    batches = sorted(set(values(design, "batch_tokens")))
    assert batches[1] == planned().config.batch_tokens
    assert batches[0] == pytest.approx(batches[1] / 2, rel=0.1)  # whole sequences
    for job in design.jobs:
        centre = planned(
            batch_tokens=planned().config.batch_tokens / (2 if job.row["batch_tokens"] == batches[0] else 1)
        )
        offset = job.row["learning_rate"] / centre.config.learning_rate
        assert min(abs(offset / 2.0**k - 1) for k in (-1, 0, 1)) < 1e-9


def test_warmup_in_octaves_is_in_whole_steps() -> None:
    steps = values(grid(Common(values=SMALL), {"warmup_steps": octaves([-1.5, 1.0])}), "warmup_steps")
    planned_steps = planned().config.warmup_steps
    assert steps == [round(planned_steps * 2**-1.5), 2 * planned_steps]


def test_octaves_around_a_number() -> None:
    design = grid(Common(values=SMALL), {"learning_rate": octaves(1, step=0.5, around=1e-3)})
    assert values(design, "learning_rate") == pytest.approx([1e-3 * 2**k for k in (-1, -0.5, 0, 0.5, 1)])


def test_weight_decay_keeps_the_timescale() -> None:
    design = grid(Common(values=SMALL), {"learning_rate": octaves(1)})
    # B / (lr wd D) is one number: Wang and Aitchison 2405.13698, which Power Lines fits.
    scales = [job.row["batch_tokens"] / (job.row["learning_rate"] * job.row["weight_decay"]) for job in design.jobs]
    assert scales == pytest.approx([scales[0]] * 3)


def test_every_combination_and_seed_the_first_axis_slowest() -> None:
    design = grid(
        Common(values={"tokens": 1e6, "seq_len": 64}),
        {"params": [1e5, 2e5], "beta2": [0.9, 0.99], "schedule": ["cosine", "wsd:decay=0.2"]},
        seeds=(0, 1),
    )
    assert len(design.jobs) == 16
    assert [job.row["seed"] for job in design.jobs[:2]] == [0, 1]
    assert [job.row["params"] < 1.5e5 for job in design.jobs] == [True] * 8 + [False] * 8
    assert {job.row["schedule"] for job in design.jobs} == {"cosine", "wsd:decay=0.2"}


def test_settings_that_round_to_one_run_are_one_and_it_is_said() -> None:
    design = grid(Common(values=SMALL), {"batch_tokens": [640.0, 650.0, 1280.0]})
    assert values(design, "batch_tokens") == [640, 1280]
    assert design.notes[0].startswith("3 settings round to 2 different runs")


def test_a_length_in_steps_or_tokens_per_param() -> None:
    base = {"params": 1e5, "seq_len": 64}
    job = make_job(Common(values=base), {"steps": 50, "batch_tokens": 640.0})
    assert (job.row["steps"], job.row["tokens"]) == (50, 32_000)
    job = make_job(Common(values=base), {"tokens_per_param": 20.0})
    assert job.row["tokens"] == pytest.approx(20 * job.row["params"], rel=0.01)
    with pytest.raises(ForescaleError, match=r"got tokens and steps: give one"):
        make_job(Common(values=SMALL), {"steps": 50})
    with pytest.raises(ForescaleError, match="got none of them"):
        make_job(Common(values=base), {})
    with pytest.raises(ForescaleError, match="steps make a length with a batch"):
        make_job(Common(values=base), {"steps": 50})


def test_a_batch_in_sequences() -> None:
    assert make_job(Common(values=SMALL), {"batch_sequences": 7}).row["batch_tokens"] == 448
    with pytest.raises(ForescaleError, match="say the same"):
        make_job(Common(values=SMALL), {"batch_sequences": 7, "batch_tokens": 448.0})


def test_a_shape_by_depth_and_width_and_no_decay() -> None:
    job = make_job(Common(values={"depth": 2, "width": 32, "tokens": 1e6, "seq_len": 64}), {"weight_decay": 0.0})
    assert (job.row["depth"], job.row["width"], job.row["weight_decay"]) == (2, 32, 0.0)


@given(st.floats(1e4, 1e11))
@settings(deadline=None)
def test_measuring_costs_a_tenth_of_the_run_at_most_or_is_as_short_as_it_may_be(tokens: float) -> None:
    # A forward pass is a third of training: 2 N against 6 N FLOPs a token (Kaplan et al. 2020).
    measured = eval_tokens(tokens)
    assert measured / 3 <= tokens / 10 * (1 + 1e-6) or measured == LEAST_EVAL_TOKENS


def test_how_much_is_measured_is_said_unless_it_was_given() -> None:
    assert any("65,536 held-out tokens" in note for note in grid(Common(values=SMALL), {"seed": [0, 1]}).notes)
    own = grid(Common(values={**SMALL, "eval_tokens": 4096}), {"seed": [0, 1]})
    assert own.notes == ()
    assert own.jobs[0].settings["eval_tokens"] == 4096


def test_paths_become_absolute(tmp_path: Any) -> None:
    made = absolute_paths({"data": ("a/*.txt", "/b", "hf:c4"), "held_out": ("d",), "tokenizer": "t.json"}, tmp_path)
    assert made["data"] == (f"{tmp_path}/a/*.txt", "/b", "hf:c4")
    assert (made["held_out"], made["tokenizer"]) == ((f"{tmp_path}/d",), f"{tmp_path}/t.json")
    assert absolute_paths({"tokenizer": "bpe:512", "held_out": 0.1}, tmp_path) == {
        "tokenizer": "bpe:512",
        "held_out": 0.1,
    }


def test_how_a_run_is_carried_out_is_no_part_of_its_key() -> None:
    plain = make_job(Common(values=SMALL), {})
    other = make_job(Common(values=SMALL, execution={"threads": 2, "device": "cpu"}, time_limit=60.0), {})
    assert (plain.key, plain.time_limit) == (other.key, None)
    assert (other.execution["threads"], other.time_limit) == (2, 60.0)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"learning_rat": [1.0]}, "no 'learning_rat'; did you mean learning_rate"),
        ({"zzzz": [1.0]}, "known are activation, active_params"),
        ({"params": [1e5]}, "params is fixed at"),
        ({"beta2": []}, "no values"),
        ({"seed": list(range(10_001))}, "at most 10,000 runs"),
        ({"learning_rate": [2.0]}, "the run with learning_rate 2: learning_rate must lie between"),
        ({"batch_tokens": [1e9]}, "the run with batch_tokens 1e.09: a batch must not exceed the run"),
        ({"schedule": ["nosuch"]}, "the run with schedule nosuch"),
        ({"optimizer": octaves(1)}, "has no number in the plan"),
        ({"active_params": [5e4]}, "active_params follow from the shape"),
    ],
)
def test_grids_that_cannot_be(axes: Any, says: str) -> None:
    with pytest.raises(ForescaleError, match=says):
        grid(Common(values=SMALL), axes)


def test_designs_that_cannot_be() -> None:
    with pytest.raises(ForescaleError, match="seed and seeds say the same"):
        grid(Common(values={**SMALL, "seed": 1}), {"beta2": [0.9]}, seeds=(0, 1))
    with pytest.raises(ForescaleError, match="the model is missing"):
        make_job(Common(values={"tokens": 1e6}), {})
    with pytest.raises(ForescaleError, match="has none: widen it"):
        make_design(Common(values=SMALL), [], name="empty")
    for span, step in ((1, 2), (0, 1), (30, 1), (1, 0)):
        with pytest.raises(ForescaleError, match="in steps that fit"):
            octaves(span, step=step)


TRAINER = Command(run="train --lr {learning_rate:.3e} --batch {batch_sequences} --dropout {dropout} --out {out}")
DESCRIBED = {"params": 1.24e8, "tokens": 1e9, "seq_len": 1024}


def test_another_trainers_runs_have_its_own_fields_and_say_what_is_known() -> None:
    common = Common(values={**DESCRIBED, "beta2": 0.99}, command=TRAINER)
    design = grid(common, {"learning_rate": [1e-3], "dropout": [0.0, 0.1]})
    first = design.jobs[0]
    assert first.settings["fields"] == {
        "batch_sequences": first.row["batch_sequences"],
        "dropout": 0.0,
        "learning_rate": 1e-3,
    }
    assert (first.row["params"], first.row["seq_len"], first.row["dropout"]) == (124_000_000, 1024, 0.0)
    assert first.row["tokens"] == first.row["steps"] * first.row["batch_tokens"]
    assert first.row["beta2"] == 0.99  # as was stated
    assert "weight_decay" not in first.row  # planned, and nobody trains with it
    assert design.notes == ("beta2 is not in the command: taken as what its trainer does of itself",)
    # 6 N D: without a shape nothing more is known of the FLOPs (Kaplan et al. 2020).
    assert first.compute == 6 * 1.24e8 * first.row["tokens"]


def test_a_shape_is_planned_for_another_trainer_where_its_vocabulary_is_known() -> None:
    command = Command(run="train --width {width} --depth {depth} --lr {learning_rate}")
    common = Common(values={**DESCRIBED, "vocab": 50304}, command=command)
    job = make_job(common, {})
    shape = shape_for(1.24e8, vocab=50304, seq_len=1024)
    assert (job.row["width"], job.row["depth"], job.row["params"]) == (shape.width, shape.layers, shape.params)
    with pytest.raises(UnknownNameError, match=r"field width, which does not exist"):
        make_job(Common(values=DESCRIBED, command=command), {})


def test_what_another_trainer_does_not_use_is_no_axis() -> None:
    common = Common(values=DESCRIBED, command=TRAINER)
    with pytest.raises(UnknownNameError, match="the runs differ in beta2, which the command does not use"):
        grid(common, {"dropout": [0.0], "beta2": [0.9, 0.99]})
    with pytest.raises(UnknownNameError, match=r"no 'dropuot'; did you mean dropout"):
        grid(common, {"dropuot": [0.0, 0.1]})
    with pytest.raises(UnknownNameError, match="has the field dropout, which does not exist"):
        grid(common, {"learning_rate": [1e-3, 2e-3]})
