"""The driver's hook on a real store, what a race came to, and a run that is cut as diverged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from race_curves import STEPS, by_law
from scipy import integrate, stats

from forescale import ForescaleError
from forescale.sweep import Job, Outcome, train_job
from forescale.sweep._run import DIVERGED, ask_to_stop, outcome_of
from forescale.sweep.race import End, Race, Racing, curve_of, decide, report
from forescale.sweep.race._curve import cells
from forescale.sweep.race._racing import missed
from forescale.sweep.store import Store, open_store
from forescale.train import TrainConfig
from forescale.workload import Shape

TINY = Shape(layers=1, width=16, heads=2, vocab=256, ffn_width=32)


def make_job(rate: float, **changes: Any) -> Job:
    settings = {"shape": TINY, "seq_len": 16, "steps": STEPS, "batch_sequences": 2, "warmup_steps": STEPS // 20}
    return train_job(TrainConfig(**settings | {"learning_rate": rate, "eval_tokens": 512, "threads": 1} | changes))


def log(store: Store, job: Job, share: float, noise: float = 0.01) -> float:
    """Write the metrics of a run of a known curve as its trainer would; its end."""
    curve = by_law(job.row["learning_rate"], noise=noise)
    taken = round(share * STEPS)
    lines = [{"step": i + 1, "tokens": (i + 1) * 32, "loss": float(curve.loss[i])} for i in range(taken)]
    store.folder(job.key).mkdir(parents=True, exist_ok=True)
    (store.folder(job.key) / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    assert curve.end is not None
    return curve.end


def sweep(folder: Path, finished: list[float], running: dict[float, float]) -> tuple[Store, dict[float, Job]]:
    """A store with finished runs of these rates, and running ones that have come so far."""
    store = open_store(folder / "sweep.db")
    jobs = {rate: make_job(rate) for rate in (*finished, *running)}
    store.add(jobs.values())
    store.claim("me", len(jobs))
    for rate in finished:
        row = {"tokens": 32 * STEPS, "planned_tokens": 32 * STEPS}
        store.record(jobs[rate].key, Outcome(state="done", loss=log(store, jobs[rate], 1.0), row=row))
    for rate, share in running.items():
        log(store, jobs[rate], share)
    return store, jobs


def test_the_hook_ends_the_dominated_run_of_a_store(tmp_path: Path) -> None:
    store, jobs = sweep(tmp_path, [0.004, 0.006, 0.012], {0.0003: 0.5, 0.009: 0.5})
    racing = Racing()
    why = racing(store, store.jobs(("running",)))
    assert list(why) == [jobs[0.0003].key]
    assert why[jobs[0.0003].key].startswith("dominated")
    log(store, jobs[0.009], 0.52)
    assert not racing(store, store.jobs(("running",)))  # no run has come further by a bin: nothing is computed again
    log(store, jobs[0.009], 0.6)
    assert list(racing(store, store.jobs(("running",)))) == [jobs[0.0003].key]


def test_the_hook_agrees_with_the_pure_core(tmp_path: Path) -> None:
    store, jobs = sweep(tmp_path, [0.004, 0.012], {0.0003: 0.5})
    curves = [by_law(rate, key=jobs[rate].key, noise=0.01) for rate in (0.004, 0.012, 0.0003)]
    assert Racing()(store, store.jobs(("running",))) == decide([*curves[:2], curves[2].until(0.5)])


def test_runs_of_other_cells_and_runs_without_metrics_are_left_alone(tmp_path: Path) -> None:
    store, jobs = sweep(tmp_path, [0.004, 0.006, 0.012], {0.0003: 0.5})
    other = make_job(0.0004, steps=2 * STEPS)
    silent = make_job(0.0005)
    store.add([other, silent])
    store.claim("me", 2)
    log(store, other, 0.9)
    assert list(Racing()(store, store.jobs(("running",)))) == [jobs[0.0003].key]


def test_a_command_whose_rates_are_not_known_is_left_alone() -> None:
    job = Job(trainer="command", settings={}, row={"learning_rate": 1e-3, "tokens": 100}, compute=1.0)
    with pytest.raises(ForescaleError, match="needs its schedule"):
        curve_of(job, pl.DataFrame({"tokens": [1], "loss": [2.0]}))


def test_the_curve_of_a_job_has_the_rates_that_its_trainer_will_use() -> None:
    job = make_job(0.01, schedule="cosine", final_lr_ratio=0.1)
    metrics = pl.DataFrame({"step": [1, 2], "tokens": [32, 64], "loss": [5.0, None]})
    curve = curve_of(job, metrics)
    middle = 0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi * (0.5 - 0.05) / 0.95))  # Loshchilov and Hutter's half cosine
    assert curve.rate[[255, 256]].mean() == pytest.approx(0.01 * middle)
    assert curve.rate[-1] == pytest.approx(0.001, rel=1e-3)
    assert curve.progress.tolist() == [1 / STEPS, 2 / STEPS]
    assert np.isnan(curve.loss).tolist() == [False, True]
    assert curve_of(job, metrics.drop("tokens")).progress.tolist() == [1 / STEPS, 2 / STEPS]
    stated = curve_of(make_job(0.01, schedule="wsd:decay=0.5,warmup=0.1", warmup_steps=0), metrics).rate
    assert stated[256 - 100] == pytest.approx(0.01)
    assert stated[384] == pytest.approx(0.005, rel=1e-2)


def test_a_cell_is_one_model_and_one_length_of_run() -> None:
    jobs = [make_job(0.01), make_job(0.02, batch_sequences=3, steps=533), make_job(0.01, steps=STEPS // 2)]
    wide = make_job(0.01, shape=replace(TINY, ffn_width=48))
    assert [len(cell) for cell in cells([*jobs, wide])] == [1, 2, 1]


def test_the_report_says_what_was_saved_and_what_may_have_been_missed(tmp_path: Path) -> None:
    store, jobs = sweep(tmp_path, [0.004, 0.006, 0.012], {0.0003: 0.5, 0.0006: 0.25})
    for rate, share in ((0.0003, 0.5), (0.0006, 0.25)):
        row = {"tokens": round(32 * STEPS * share), "planned_tokens": 32 * STEPS}
        store.record(jobs[rate].key, Outcome(state="stopped", loss=3.3, row=row, problem="dominated: ..."))
    made = report(store)
    assert (made.runs, made.stopped, made.diverged) == (5, 2, 0)
    assert made.saved == pytest.approx((0.5 + 0.75) / 5)  # all runs are equally long
    assert 0 <= made.regret < 0.01
    assert set(made.ends) == {jobs[0.0003].key, jobs[0.0006].key}
    end = made.ends[jobs[0.0003].key]
    assert end.low < by_law(0.0003).end < end.high
    assert "2 stopped early and 0 diverged of 5 runs, 25% of the compute saved" in made.sentence


def test_stopping_a_run_that_would_have_been_the_best_is_a_regret(tmp_path: Path) -> None:
    store, jobs = sweep(tmp_path, [0.001, 0.0012], {0.008: 0.6})
    store.record(jobs[0.008].key, Outcome(state="stopped", row={"tokens": 0.6 * 32 * STEPS}))
    truth = by_law(0.0012).end / by_law(0.008).end - 1
    assert report(store).regret == pytest.approx(truth, rel=0.3)


@pytest.mark.parametrize("scale", [0.002, 0.02])
@pytest.mark.parametrize("loss", [2.95, 3.0, 3.1])
def test_what_may_have_been_missed_is_the_mean_over_the_forecast(loss: float, scale: float) -> None:
    ahead = math.log(3.0 / loss)
    density = stats.t(5, loc=-ahead, scale=scale).pdf
    expected, _ = integrate.quad(lambda x: -x * density(x), -2, 0, points=[-ahead] if ahead > 0 else None, limit=200)
    assert missed(End(key="a", loss=loss, scale=scale, freedom=5), 3.0) == pytest.approx(expected, rel=1e-3)


def test_a_run_that_is_cut_as_diverged_is_one(tmp_path: Path) -> None:
    row: dict[str, Any] = {"state": "stopped", "loss": 7.6, "steps": 12}
    (tmp_path / "result.json").write_text(json.dumps(row))
    ask_to_stop(tmp_path, f"{DIVERGED}its loss was lost")
    cut = outcome_of(tmp_path)
    assert cut == Outcome(state="diverged", loss=math.inf, row=row, problem="diverged: its loss was lost")
    ask_to_stop(tmp_path, "dominated: it would end at 3.2")
    assert outcome_of(tmp_path) == Outcome(state="stopped", loss=7.6, row=row, problem="dominated: it would end at 3.2")


def test_the_race_goes_by_its_options(tmp_path: Path) -> None:
    store, _ = sweep(tmp_path, [0.004, 0.006], {0.0003: 0.5})
    assert not Racing(Race(finished=3))(store, store.jobs(("running",)))
