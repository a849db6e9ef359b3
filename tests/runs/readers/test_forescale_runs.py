"""Folders of `forescale train` as a runs table, from files written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from forescale.errors import ForescaleError
from forescale.runs import read_runs

ROW: dict[str, Any] = {
    "schema_version": 1, "kind": "forescale-train", "loss": 3.0, "state": "finished", "diverged": False,
    "train_loss": 2.9, "params": 1e6, "active_params": 1e6, "total_params": 2e6, "tokens": 1e7, "steps": 1000,
    "planned_tokens": 1e7, "planned_steps": 1000, "seq_len": 100, "batch_tokens": 10_000, "batch_sequences": 100,
    "learning_rate": 1e-3, "weight_decay": 0.1, "schedule": "linear", "width": 64, "seed": 0,
    "corpus": {"tokens": 5}, "machine": {"cores": 2}, "notes": [],
}  # fmt: skip


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(ROW | changes))
    return folder


def test_a_folder_of_runs(tmp_path) -> None:
    for rate in (1e-3, 2e-3):
        write(tmp_path / f"lr-{rate}", learning_rate=rate, loss=2 + rate)
    runs = read_runs(tmp_path)
    assert runs.frame["learning_rate"].to_list() == [1e-3, 2e-3]
    assert runs.frame["loss"].to_list() == [2.001, 2.002]
    assert runs.frame["params"].to_list() == [1e6, 1e6]
    assert runs.frame["batch_tokens"].to_list() == [1e4, 1e4]
    assert runs.frame["run"].to_list() == ["lr-0.001", "lr-0.002"]
    assert "width" in runs.frame.columns
    assert not any("total_params" in note or "train_loss" in note for note in runs.notes)


def test_a_run_that_diverged_counts_in_the_cell_it_was_meant_for(tmp_path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", loss=None, state="diverged", diverged=True, steps=17, tokens=170_000)
    frame = read_runs(tmp_path).frame
    assert frame["loss"].to_list() == [3.0, math.inf]
    assert frame["tokens"].to_list() == [1e7, 1e7]
    assert frame["steps"].to_list() == [1000, 1000]
    assert frame["cell"].n_unique() == 1


def test_a_run_that_was_stopped_or_killed_is_left_out(tmp_path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", state="stopped", steps=500, tokens=5e6)
    (tmp_path / "c").mkdir()
    started = {key: ROW[key] for key in ("kind", "params", "tokens")} | {"config": {"learning_rate": 1e-3}}
    (tmp_path / "c" / "config.json").write_text(json.dumps(started))
    runs = read_runs(tmp_path)
    assert (runs.read, runs.unfinished, runs.frame.height) == (3, 2, 1)
    assert any("stopped" in note for note in runs.notes)


def test_runs_of_one_name_are_told_apart(tmp_path) -> None:
    for group in ("x", "y"):
        write(tmp_path / group / "run")
    assert read_runs(tmp_path).frame["run"].n_unique() == 2


def test_one_run_by_its_folder_or_file(tmp_path) -> None:
    folder = write(tmp_path / "a")
    assert (
        read_runs(folder).frame["loss"].to_list() == read_runs(folder / "result.json").frame["loss"].to_list() == [3.0]
    )


def test_files_of_other_programs_are_not_taken_for_runs(tmp_path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"kind": "something", "loss": 1.0}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(
        ForescaleError, match="holds no runs of a kind that is known: looked for runs of `forescale train`"
    ):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    "text", ['{"kind": "forescale-train", ', '{"kind": "forescale-train", "loss": {"a": [1]}}', '["forescale-train"]']
)
def test_damaged_results_are_one_sentence(tmp_path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ForescaleError):
        read_runs(tmp_path)
