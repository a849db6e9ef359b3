"""The loop on a landscape that is known: what it finds, what it spends, that it goes on, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tuning_world import SEQ_LEN, InstantEngine, World, target_of

from forescale.errors import ForescaleError
from forescale.sweep import Job, Outcome
from forescale.sweep.store import open_store
from forescale.sweep.tune import Budget, Target, Tuned, tune


def tuned_in(folder: Path, world: Any, target: Target, **options: Any) -> tuple[Tuned, Any]:
    engine = InstantEngine(world)
    return tune(target, out=folder, budget=options.pop("budget", Budget(share=0.3)), engine=engine, **options), engine


def gap_of(world: Any, tuned: Tuned) -> float:
    """What following the recipe costs in the world itself."""
    recipe, workload = tuned.run.recipe, tuned.target.workload
    row = {"params": workload.params, "tokens": workload.tokens}
    return world.gap(row | {"learning_rate": recipe.learning_rate.number, "batch_tokens": recipe.batch_tokens.number})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tuned, Any, Path]:
    world, folder = World(noise=0.001), tmp_path_factory.mktemp("tuning")
    tuned, engine = tuned_in(folder, world, target_of(), verify_runs=4)
    return world, tuned, engine, folder


def test_it_comes_closer_than_the_published_prior_and_step_law(one: tuple[Any, Tuned, Any, Path]) -> None:
    world, tuned, _, _ = one
    published = tuned.target.plan(laws=("step-law",))
    row = {"params": tuned.target.workload.params, "tokens": tuned.target.workload.tokens}
    at = {name: getattr(published.recipe, name).number for name in ("learning_rate", "batch_tokens")}
    assert gap_of(world, tuned) < 0.5 * world.gap(row | at)
    assert abs(math.log2(tuned.run.recipe.learning_rate.number / world.rate)) < 1.5


def test_the_rate_lies_in_its_interval_and_the_gap_was_expected_to_fall(one: tuple[Any, Tuned, Any, Path]) -> None:
    world, tuned, _, _ = one
    low, high = tuned.interval("learning_rate")
    assert low < world.rate < high
    gaps = [tuned.calibration.before.loss_gap, *(each.after.loss_gap for each in tuned.rounds)]
    assert gaps[-1] < 0.6 * gaps[0]


def test_it_keeps_to_the_budget_and_counts_attention_and_the_head(one: tuple[Any, Tuned, Any, Path]) -> None:
    _, tuned, _, _ = one
    assert 0 < tuned.spent <= tuned.allowed == pytest.approx(0.3 * tuned.target.compute)
    job: Job = tuned.rounds[0].entries[0].job
    # 6 x (N + head) + 12 L d T a token: the count of the trainer, by hand
    width, depth = job.row["width"], job.row["depth"]
    per_token = 6 * (job.row["params"] + 256 * width) + 12 * depth * width * 128
    assert job.compute == pytest.approx(per_token * job.row["tokens"], rel=1e-6)


def test_proxies_are_smaller_runs_of_the_same_family(one: tuple[Any, Tuned, Any, Path]) -> None:
    _, tuned, _, _ = one
    for entry in (e for each in tuned.rounds for e in each.entries):
        assert entry.job.row["params"] < 0.6 * tuned.target.workload.params
        assert entry.job.row["tokens"] <= tuned.target.workload.tokens
        assert entry.job.row["steps"] >= 100
        assert entry.job.settings["shape"]["gated"] == tuned.target.shape.gated
        assert 0 < entry.job.row["learning_rate"] < 1


def test_verification_finds_what_the_world_has(one: tuple[Any, Tuned, Any, Path]) -> None:
    world, tuned, _, _ = one
    verified = tuned.verified
    assert verified is not None
    assert len(verified.others) == 4
    assert verified.predicted.loss == tuned.loss
    assert verified.published in verified.others
    assert verified.published_gap is not None
    assert verified.published_gap > verified.gap
    assert verified.gap >= 0
    # the runs around it bring the lowest within half a per cent of the world's own lowest
    row = {"params": tuned.target.workload.params, "tokens": tuned.target.workload.tokens}
    lowest = vars(verified.lowest) | row
    assert world.gap(lowest) < 0.006


def test_the_same_call_makes_no_run_again(one: tuple[Any, Tuned, Any, Path]) -> None:
    world, tuned, engine, folder = one
    again, second = tuned_in(folder, world, target_of(), verify_runs=4)
    assert second.made == []
    assert again.to_json() == tuned.to_json()
    assert len(set(engine.made)) == len(engine.made)


def test_it_goes_on_where_it_was_cut_off(one: tuple[Any, Tuned, Any, Path], tmp_path: Path) -> None:
    world, tuned, engine, _ = one

    class CutError(Exception):
        pass

    made: list[str] = []
    for after in (1, 4, 100):
        broken = InstantEngine(world)

        def start(tasks: Any, broken: Any = broken, after: int = after) -> None:
            if len(broken.made) >= after:
                raise CutError
            type(broken).start(broken, tasks)

        broken.start = start
        try:
            found = tune(target_of(), out=tmp_path, budget=Budget(share=0.3), engine=broken, verify_runs=4)
        except CutError:
            found = None
        made += broken.made
    assert found is not None
    assert found.to_json() == tuned.to_json()
    assert sorted(set(made)) == sorted(engine.made)


def test_more_budget_goes_on_in_the_same_folder(one: tuple[Any, Tuned, Any, Path], tmp_path: Path) -> None:
    world, _, _, _ = one
    little, first = tuned_in(tmp_path, world, target_of(), budget=Budget(share=0.08))
    more, second = tuned_in(tmp_path, world, target_of(), budget=Budget(share=0.5))
    assert little.spent < more.spent <= more.allowed
    assert not set(first.made) & set(second.made)
    assert more.calibration.after.loss_gap < little.calibration.after.loss_gap


def test_another_target_in_the_folder_is_refused(one: tuple[Any, Tuned, Any, Path]) -> None:
    world, _, _, folder = one
    with pytest.raises(ForescaleError, match=r"another target .*tokens was"):
        tuned_in(folder, world, target_of(tokens=3e6))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("{")
    with pytest.raises(ForescaleError, match="no tuning's"):
        tuned_in(tmp_path, World(), target_of())


def test_a_budget_that_buys_nothing_is_refused_before_anything_runs(tmp_path: Path) -> None:
    engine = InstantEngine(World())
    with pytest.raises(ForescaleError, match=r"buys no sweep .*raise --budget"):
        tune(target_of(), out=tmp_path, budget=Budget(share=0.001), engine=engine)
    assert engine.made == []


def test_a_target_as_small_as_its_proxies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="as cheap as a proxy"):
        tuned_in(tmp_path, World(), target_of(params=2e4, tokens=4e5))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(state="failed", problem="the data must be UTF-8 text"), "UTF-8"),
        (Outcome(state="diverged", loss=math.inf), "all of them diverged"),
    ],
    ids=["failed", "diverged"],
)
def test_proxies_that_all_go_wrong_are_said(tmp_path: Path, outcome: Outcome, said: str) -> None:
    engine = InstantEngine(World(), outcome=lambda _: outcome)
    with pytest.raises(ForescaleError, match=said):
        tune(target_of(), out=tmp_path, budget=Budget(share=0.1), engine=engine)


def test_diverged_proxies_teach_and_failed_ones_are_noted(tmp_path: Path) -> None:
    world = World()
    sound = InstantEngine(world)

    def outcome(job: Job) -> Outcome:
        if job.row["learning_rate"] > 0.2:
            return Outcome(state="diverged", loss=math.inf)
        if 0.05 < job.row["learning_rate"] < 0.07:
            return Outcome(state="failed", problem="no reason")
        return Outcome(state="done", loss=world.loss(job), row={"seconds": 1.0})

    engine = InstantEngine(world, outcome=outcome)
    found = tune(target_of(), out=tmp_path / "a", budget=Budget(share=0.1), engine=engine)
    whole = tune(target_of(), out=tmp_path / "b", budget=Budget(share=0.1), engine=sound)
    states = {entry.state for each in found.rounds for entry in each.entries}
    assert {"done", "diverged"} <= states
    assert found.run.recipe.learning_rate.number < 2 * whole.run.recipe.learning_rate.number
    assert ("failed" in states) == any("no loss" in note for note in found.notes)


def test_seeds_count_as_one_run_of_their_mean(tmp_path: Path) -> None:
    world = World(noise=0.003)
    found, engine = tuned_in(tmp_path, world, target_of(), seeds=(0, 1), budget=Budget(share=0.2))
    assert found.runs is not None
    assert found.runs.frame.height == len(engine.made) / 2
    store = open_store(tmp_path / "sweep.db")
    entries = store.jobs()
    first = [e for e in entries if e.job.row["learning_rate"] == entries[0].job.row["learning_rate"]]
    losses = [e.outcome.loss for e in first if e.outcome is not None]
    assert len(losses) == 2
    assert found.runs.frame["loss"][0] == pytest.approx(sum(losses) / 2)


def test_json_is_plain(one: tuple[Any, Tuned, Any, Path]) -> None:
    document = json.loads(json.dumps(one[1].to_json(), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["recipe"]["learning_rate"]["value"] == one[1].run.recipe.learning_rate.value
    assert document["verified"]["gap_percent"] == pytest.approx(100 * one[1].verified.gap)  # type: ignore[union-attr]


def test_runs_around_the_target_hold_at_least_one_sequence(tmp_path: Path) -> None:
    """Where the landscape falls towards batches below one sequence: no run can have them."""
    tuned, _ = tuned_in(tmp_path, World(batch=40.0), target_of(), verify_runs=6)
    assert tuned.verified is not None
    assert min(each.batch_tokens for each in tuned.verified.others) == SEQ_LEN


@pytest.mark.parametrize(("share", "warned"), [(0.05, True), (0.4, False)])
def test_a_batch_that_no_proxies_tried_is_said(tmp_path: Path, share: float, warned: bool) -> None:
    tuned, _ = tuned_in(tmp_path, World(), target_of(), budget=Budget(share=share))
    batches = {entry.job.row["batch_tokens"] for each in tuned.rounds for entry in each.entries}
    assert (len(batches) == 1) == warned
    assert any("had two batches" in note for note in tuned.notes) == warned
