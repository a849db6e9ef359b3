"""The same design gives the same table on every engine; Ray's part of it is in test_ray.py."""

from __future__ import annotations

from pathlib import Path

import fake_slurm
import polars as pl
import pytest
from engine_jobs import SHARED, measured, planned, varied_jobs

from forescale.sweep import run_job
from forescale.sweep.engines import LocalEngine, SlurmEngine, drive


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agree")


@pytest.fixture(scope="module")
def expected(folder: Path) -> pl.DataFrame:
    """The design's table where each run is made here, one after another."""
    store = planned(folder / "here.db", varied_jobs(folder))
    for job in store.claim("nobody", 100):
        store.record(job.key, run_job(job, store.folder(job.key)))
    table = measured(store)
    assert sorted(table["state"]) == ["diverged", "done", "done", "done", "failed"]
    assert set(table.columns) == set(SHARED)
    return table


def test_local(folder: Path, expected: pl.DataFrame) -> None:
    store = planned(folder / "local.db", varied_jobs(folder))
    drive(store, LocalEngine(workers=2, threads=1, device="cpu"), progress=False)
    assert measured(store).equals(expected)


def test_slurm(folder: Path, expected: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from submitit import SlurmJob

    for name, value in fake_slurm.install(folder / "slurm").items():
        monkeypatch.setenv(name, value)
    SlurmJob.watcher.clear()
    SlurmJob.watcher._registered.clear()
    store = planned(folder / "slurm.db", varied_jobs(folder))
    drive(store, SlurmEngine(), progress=False)
    assert measured(store).equals(expected)


def test_another_design_would_show(folder: Path, expected: pl.DataFrame) -> None:
    store = planned(folder / "other.db", varied_jobs(folder, steps=11))
    for job in store.claim("nobody", 2):
        store.record(job.key, run_job(job, store.folder(job.key)))
    made = measured(store).filter(pl.col("state") == "done")["loss"].to_list()
    assert len(made) == 2
    assert not set(made) & set(expected["loss"].to_list())
