"""A store's calls, in SQLite and in PostgreSQL: what they promise to drivers."""

from __future__ import annotations

import math
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_jobs import make_job

from forescale.errors import ForescaleError, UnknownNameError
from forescale.sweep import Job, Outcome
from forescale.sweep.store import Store, open_store

DONE = Outcome(state="done", loss=3.25, row={"seconds": 12.0})
DIVERGED = Outcome(state="diverged", loss=math.inf)
FAILED = Outcome(state="failed", problem="out of memory")


def test_jobs_are_added_once_and_claimed_in_their_order(store: Store) -> None:
    jobs = [make_job(n) for n in (5, 3, 9, 1)]
    assert store.add(jobs, design="grid") == 4
    assert store.add([*jobs, make_job(0)]) == 1
    assert store.claim("a", 3) == jobs[:3]
    assert store.claim("b", 9) == [jobs[3], make_job(0)]
    assert store.claim("b", 9) == []
    assert store.counts() == {"running": 5}
    entry = store.entry(jobs[0].key)
    assert (entry.state, entry.owner, entry.design, entry.attempts) == ("running", "a", "grid", 1)


def test_one_list_may_name_a_job_twice(store: Store) -> None:
    assert store.add([make_job(1), make_job(1)]) == 1


def test_nothing_is_claimed_where_nothing_is_asked_for(store: Store) -> None:
    store.add([make_job(1)])
    assert store.claim("a", 0) == store.claim("a", -1) == []


def test_a_job_that_has_yet_to_run_takes_on_a_new_time_limit(store: Store) -> None:
    limited = [make_job(n, time_limit=60.0) for n in range(3)]
    store.add(limited)
    store.claim("a", 2)
    store.record(limited[0].key, FAILED)
    store.record(limited[1].key, DONE)
    assert store.add([make_job(n, time_limit=600.0) for n in range(3)]) == 0
    assert [entry.job.time_limit for entry in store.jobs()] == [600.0, 60.0, 600.0]
    assert [entry.state for entry in store.jobs()] == ["failed", "done", "planned"]


def test_times_are_utc_seconds_of_a_clock_that_agrees_with_this_machines(store: Store) -> None:
    before = time.time()
    store.add([make_job(1)])
    store.claim("a", 1)
    store.record(make_job(1).key, DONE)
    entry = store.entry(make_job(1).key)
    # The database runs on this machine; SQLite's clock has milliseconds.
    assert before - 0.01 <= entry.created <= entry.started <= entry.ended <= time.time() + 0.01


def test_a_recorded_end_stays_and_a_measurement_beats_every_other(store: Store) -> None:
    key = make_job(1).key
    store.add([make_job(1)])
    store.claim("a", 1)
    assert store.record(key, FAILED, "a")
    assert not store.record(key, Outcome(state="stopped", loss=4.0), "a")
    assert store.record(key, DONE, "b")  # whose result it is, is in the run's folder; who tells does not matter
    assert not store.record(key, DONE, "a")
    assert not store.record(key, DIVERGED, "a")
    assert store.entry(key).outcome == DONE
    assert store.entry(key).state == "done"


def test_a_failure_counts_only_from_the_owner(store: Store) -> None:
    key = make_job(1).key
    store.add([make_job(1)])
    store.claim("a", 1)
    assert store.lose_silent(0.0) == [key]
    store.claim("b", 1)
    assert not store.record(key, FAILED, "a")
    assert store.entry(key).state == "running"
    assert store.record(key, FAILED, "b")


def test_only_ends_are_recorded_and_only_of_known_runs(store: Store) -> None:
    with pytest.raises(ForescaleError, match="a run ends as one of done, stopped, diverged, failed, lost; got running"):
        store.record("x", Outcome(state="running"))
    for call in (lambda: store.record("x", DONE), lambda: store.release("x"), lambda: store.entry("x")):
        with pytest.raises(UnknownNameError, match="no run x"):
            call()


def test_a_silent_drivers_runs_are_lost_and_claimed_first(store: Store) -> None:
    jobs = [make_job(n) for n in range(4)]
    store.add(jobs)
    store.claim("silent", 1)
    store.claim("alive", 1)
    time.sleep(0.3)
    store.beat("alive")
    assert store.lose_silent(0.25) == [jobs[0].key]
    assert store.lose_silent(0.25) == []
    assert store.claim("next", 2) == [jobs[0], jobs[2]]
    assert store.entry(jobs[0].key).attempts == 2


def test_a_lost_worker_is_an_outcome_and_the_run_can_be_claimed_again(store: Store) -> None:
    store.add([make_job(1)])
    store.claim("a", 1)
    assert store.record(make_job(1).key, Outcome(state="lost", problem="killed by signal 9"), "a")
    assert store.entry(make_job(1).key).outcome.problem == "killed by signal 9"
    assert store.claim("a", 1) == [make_job(1)]
    assert store.entry(make_job(1).key).outcome is None


def test_a_released_run_is_planned_again_unless_another_has_it(store: Store) -> None:
    store.add([make_job(1)])
    store.claim("a", 1)
    store.release(make_job(1).key, "b")
    assert store.counts() == {"running": 1}
    store.release(make_job(1).key, "a")
    assert store.counts() == {"planned": 1}
    store.record(make_job(1).key, DONE)
    store.release(make_job(1).key)
    assert store.counts() == {"done": 1}


def test_keys_may_be_shortened(store: Store) -> None:
    jobs = [make_job(n) for n in range(40)]  # more than sixteen: two of them begin alike
    store.add(jobs)
    assert store.match(jobs[0].key) == store.match(jobs[0].key[:9]) == jobs[0].key
    with pytest.raises(UnknownNameError, match="40 runs have keys that begin with ''"):
        store.match("")
    for wild in ("%", "_", "zz"):
        with pytest.raises(UnknownNameError, match="no run of"):
            store.match(wild)


def end(store: Store, number: int, outcome: Outcome) -> Path:
    job = make_job(number)
    store.add([job])
    store.claim("a", 1)
    folder = store.folder(job.key)
    folder.mkdir(parents=True)
    for name in ("result.json", "stop", "metrics.jsonl", "checkpoint"):
        (folder / name).write_text("{}\n")
    store.record(job.key, outcome)
    return folder


@pytest.mark.parametrize("outcome", [FAILED, Outcome(state="stopped"), Outcome(state="lost")], ids=lambda o: o.state)
def test_a_retried_run_goes_on_from_its_checkpoint(store: Store, outcome: Outcome) -> None:
    folder = end(store, 1, outcome)
    assert store.retry([folder.name]) == 1
    assert not (folder / "result.json").exists()  # a driver would take it for the new run's
    assert not (folder / "stop").exists()
    assert (folder / "checkpoint").exists()
    entry = store.entry(folder.name)
    assert (entry.state, entry.outcome, entry.attempts, entry.owner) == ("planned", None, 0, "")


def test_a_retried_run_that_diverged_starts_anew(store: Store) -> None:
    folder = end(store, 1, DIVERGED)
    store.retry([folder.name])
    assert not folder.exists()


def test_what_is_done_or_waiting_is_not_retried(store: Store) -> None:
    done, failed = end(store, 1, DONE), end(store, 2, FAILED)
    with pytest.raises(ForescaleError, match=f"must be one of failed, diverged, stopped, lost; {done.name} is done"):
        store.retry([failed.name, done.name])
    assert store.counts() == {"done": 1, "failed": 1}
    assert (failed / "result.json").exists()


def test_removed_runs_are_gone_with_their_folders_and_can_be_planned_anew(store: Store) -> None:
    folder = end(store, 1, DONE)
    store.add([make_job(2)])
    assert store.remove([folder.name, make_job(2).key]) == 2
    assert not folder.exists()
    assert store.jobs() == []
    assert store.add([make_job(1)]) == 1


def test_a_running_run_is_not_removed_nor_any_with_it(store: Store) -> None:
    folder = end(store, 1, DONE)
    store.add([make_job(2)])
    store.claim("a", 1)
    with pytest.raises(ForescaleError, match=f"must not be running; {make_job(2).key} is"):
        store.remove([folder.name, make_job(2).key])
    assert folder.exists()
    assert len(store.jobs()) == 2


def test_a_store_is_opened_again_where_it_was(where: str, store: Store) -> None:
    store.add([make_job(1)])
    again = open_store(where, create=False)
    assert again.jobs() == store.jobs()
    assert again.runs == store.runs  # remembered from when the store was made
    assert again.notes == ()


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.text(), plain, max_size=4)
jobs_made = st.builds(
    Job,
    trainer=st.sampled_from(["forescale", "command"]),
    settings=maps,
    row=maps,
    compute=st.floats(0, 1e30),
    execution=maps,
    time_limit=st.none() | st.floats(0.1, 1e9),
)
outcomes = st.builds(
    Outcome,
    state=st.sampled_from(["done", "stopped", "diverged", "failed"]),
    loss=st.floats(allow_nan=False),
    row=maps,
    problem=st.text(),
)


@given(pairs=st.lists(st.tuples(jobs_made, outcomes), max_size=6, unique_by=lambda pair: pair[0].key))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_jobs_and_outcomes_come_back_as_they_were(store: Store, pairs: list[tuple[Job, Outcome]]) -> None:
    ended = dict(zip((job.key for job, _ in pairs), (outcome for _, outcome in pairs), strict=True))
    store.add(job for job, _ in pairs)
    assert store.claim("a", len(pairs)) == [job for job, _ in pairs]
    for key, outcome in ended.items():
        store.record(key, outcome, "a")
    assert {entry.key: entry.outcome for entry in store.jobs()} == ended
    assert all(entry.job.key == entry.key for entry in store.jobs())
    store.remove(list(ended))


def test_no_loss_comes_back_as_no_loss(store: Store) -> None:
    end(store, 1, FAILED)
    assert math.isnan(store.entry(make_job(1).key).outcome.loss)


def test_metrics_become_parquet_when_the_run_is_recorded(store: Store) -> None:
    store.add([make_job(1)])
    store.claim("a", 1)
    key = make_job(1).key
    assert store.latest(key) is None
    assert store.metrics(key).is_empty()
    folder = store.folder(key)
    folder.mkdir(parents=True)
    lines = (
        '{"step": 1, "loss": 4.5}\n{"step": 2, "loss": 4, "held_out_loss": 4.25}\nnoise\n{"step": 3, "loss": null}\n'
    )
    (folder / "metrics.jsonl").write_text(lines + '{"step": 4, "lo')  # the run is writing
    assert store.latest(key) == {"step": 3, "loss": None}
    expected = pl.DataFrame({"step": [1, 2, 3], "loss": [4.5, 4.0, None], "held_out_loss": [None, 4.25, None]})
    assert store.metrics(key).equals(expected)
    store.record(key, DONE)
    assert pl.read_parquet(folder / "metrics.parquet").equals(expected)
    (folder / "metrics.jsonl").unlink()
    assert store.metrics(key).equals(expected)
    assert [path.name for path in folder.iterdir()] == ["metrics.parquet"]


def test_a_run_is_recorded_though_its_metrics_cannot_be_kept(store: Store) -> None:
    store.add([make_job(1)])
    folder = store.folder(make_job(1).key)
    (folder / "metrics.parquet" / "in the way").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    assert store.record(make_job(1).key, DONE)
    assert store.metrics(make_job(1).key)["step"].to_list() == [1]
