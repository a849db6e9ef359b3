"""Stores come from anywhere: nothing is unpickled, followed out of its folder, or left to fill the memory."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from reader_stores import (
    CONSTANTS,
    SWEEP,
    mlflow_folder,
    offline_folder,
    ray_experiment,
    trainer_runs,
    write_json,
    write_text,
)

from forescale.errors import ForescaleError
from forescale.runs import read_runs


def sentence(source: Path, **options: object) -> str:
    with pytest.raises(ForescaleError) as raised:
        read_runs(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_without_runs_lists_what_was_looked_for(tmp_path: Path) -> None:
    write_text(tmp_path / "notes.txt", "nothing")
    message = sentence(tmp_path)
    for part in ("MLflow", "Ray Tune", "trainer_state.json", "W&B", "event files"):
        assert part in message


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = trainer_runs(tmp_path / "outside", SWEEP)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "runs").symlink_to(outside)
    state = next(outside.rglob("trainer_state.json"))
    (inside / "trainer_state.json").symlink_to(state)
    assert "holds no runs" in sentence(inside)


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    trainer_runs(tmp_path, SWEEP)
    (tmp_path / "sweep" / "again").symlink_to(tmp_path)
    assert read_runs(tmp_path).read == len(SWEEP)


def test_pickles_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    read_runs(trainer_runs(tmp_path / "a", SWEEP))
    read_runs(ray_experiment(tmp_path / "b", SWEEP), constants={"tokens": 1e9})


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    root = mlflow_folder(tmp_path, SWEEP)
    marker = tmp_path / "marker"
    for meta in root.rglob("meta.yaml"):
        text = meta.read_text(encoding="utf-8")
        write_text(meta, f"{text}evil: !!python/object/apply:os.mkdir ['{marker}']\n")
    assert read_runs(root, constants=CONSTANTS).read == len(SWEEP)
    assert not marker.exists()


def test_yaml_aliases_do_not_explode(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    from forescale.runs._readers._files import read_yaml
    from forescale.runs._readers._source import MAX_KEYS, flatten

    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, r: *a{i - 1}}}" for i in range(1, 40)]
    path = write_text(tmp_path / "hparams.yaml", "\n".join(lines))
    assert len(flatten(read_yaml(path))) <= MAX_KEYS


def test_deep_json_is_one_sentence(tmp_path: Path) -> None:
    deep = write_text(tmp_path / "runs.json", "[" * 100_000)
    assert "is not valid JSON" in sentence(deep)
    cell = write_text(tmp_path / "project.csv", 'summary,config,name\n"' + "(" * 5000 + '","{}",a\n')
    assert "no column for" in sentence(cell)


def test_a_database_of_another_tool_lists_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    assert "neither Optuna (studies, trials) nor MLflow (experiments, runs)" in sentence(path)


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.db"
    path.write_bytes(b"SQLite format 3\x00" + os.urandom(3000))
    assert "cannot be read as an SQLite database" in sentence(path)


def test_views_do_not_stand_for_tables(tmp_path: Path) -> None:
    path = tmp_path / "view.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("studies", "trials", "trial_params", "trial_values"):
            connection.execute(f"CREATE VIEW {name} AS SELECT 1")
    assert "neither Optuna" in sentence(path)


def test_json_that_holds_no_runs(tmp_path: Path) -> None:
    assert "JSON of no kind that holds runs" in sentence(write_json(tmp_path / "a.json", {"x": 1}))
    assert "a list of objects" in sentence(write_json(tmp_path / "b.json", [1, 2]))


def test_a_list_of_flat_objects_is_a_table(tmp_path: Path) -> None:
    rows = [{"N": 1e8, "D": 2e9, "lr": 1e-3 * 2**i, "batch_tokens": 262144, "loss": 3.0 + i} for i in range(3)]
    runs = read_runs(write_json(tmp_path / "a.json", rows))
    assert runs.frame["loss"].to_list() == [3.0, 4.0, 5.0]


def test_a_log_that_was_cut_gives_what_was_written(tmp_path: Path) -> None:
    path = offline_folder(tmp_path, 0, SWEEP[0])
    path.write_bytes(path.read_bytes()[:-30])  # the exit record and half of the summary
    runs = read_runs(tmp_path, keep_unfinished=True, columns={"loss": "smoothed_train_loss"})
    assert runs.frame["run_state"].to_list() == ["crashed"]
    path.write_bytes(b"something else")
    assert "is not the log of a W&B run" in sentence(tmp_path)


def test_json_lines_cut_short_lose_the_last(tmp_path: Path) -> None:
    root = ray_experiment(tmp_path / "exp", SWEEP[:1])
    log = next(root.rglob("result.json"))
    write_text(log, log.read_text(encoding="utf-8") + '{"val_loss": 3.')
    assert read_runs(root, constants={"tokens": 1e9}).read == 1


def test_a_part_is_refused_where_there_are_none(tmp_path: Path) -> None:
    path = write_json(tmp_path / "trainer_state.json", {"log_history": []})
    assert "names a study or an experiment" in sentence(Path(f"{path}::sweep"))


def test_trainer_state_without_a_log(tmp_path: Path) -> None:
    assert "has no log_history" in sentence(write_json(tmp_path / "trainer_state.json", {"global_step": 3}))


def test_a_journal_is_told_from_other_lines(tmp_path: Path) -> None:
    path = write_text(tmp_path / "runs.jsonl", json.dumps({"config": 1, "loss": 2}) + "\n")
    assert "no column for" in sentence(path)
