"""Every store of the planted sweep gives the planted runs; what crashed is left out, what diverged stays."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from reader_stores import (
    CONSTANTS,
    CRASHED,
    DIVERGED,
    LLAMA_PARAMS,
    PARAMS,
    SEQ_LEN,
    SWEEP,
    TOKENS,
    Planted,
    api_runs,
    chart,
    mlflow_database,
    mlflow_folder,
    offline_folder,
    online_folder,
    optuna_database,
    ray_experiment,
    runs_table,
    trainer_runs,
    trainer_state,
    write_json,
    write_text,
)

from forescale.errors import ForescaleError, UnknownNameError
from forescale.runs import Runs, final_loss, read_runs

ALL = (*SWEEP, DIVERGED, CRASHED)
Writer = Callable[[Path, tuple[Planted, ...]], Any]


def wandb_folders(root: Path, runs: tuple[Planted, ...]) -> Path:
    for i, run in enumerate(runs):
        if i % 2 and run.state == "finished":
            pytest.importorskip("yaml")
            online_folder(root, i, run)
        else:
            offline_folder(root, i, run, exit_code=0 if run.state == "finished" else 1)
    return root


def json_lines(root: Path, runs: tuple[Planted, ...]) -> Path:
    lines = [json.dumps(run) for run in api_runs(runs, wrapped=True)]
    return write_text(root / "runs.jsonl", "\n".join(lines) + "\n")


def page(root: Path, runs: tuple[Planted, ...]) -> Path:
    """As a GraphQL query returns them: a page of nodes, configuration and summary as texts."""
    nodes = api_runs(runs, wrapped=True)
    for node in nodes:
        node["config"] = json.dumps(node["config"])
        node["summaryMetrics"] = json.dumps(node.pop("summary"))
    edges = [{"node": node, "cursor": "x"} for node in nodes]
    return write_json(root / "page.json", {"data": {"project": {"runs": {"edges": edges}}}})


def documented_export(root: Path, runs: tuple[Planted, ...]) -> Path:
    """As W&B's guide writes it with pandas: mappings as Python texts, an index column."""
    frame = [(i, n["summary"], n["config"], n["name"], n["state"]) for i, n in enumerate(api_runs(runs))]
    cells = [[str(cell).replace('"', '""') for cell in row] for row in frame]
    lines = [",summary,config,name,state", *(",".join(f'"{cell}"' for cell in row) for row in cells)]
    return write_text(root / "project.csv", "\n".join(lines).replace("'NaN'", "nan") + "\n")


WRITERS: dict[str, Writer] = {
    "wandb table": lambda root, runs: runs_table(root / "wandb_export.csv", runs),
    "wandb json": lambda root, runs: write_json(root / "runs.json", api_runs(runs)),
    "wandb json by id": lambda root, runs: write_json(root / "r.json", {r["id"]: r for r in api_runs(runs)}),
    "wandb json lines": json_lines,
    "wandb page": page,
    "wandb guide": documented_export,
    "wandb folders": wandb_folders,
    "mlflow folder": lambda root, runs: mlflow_folder(root, runs),
    "mlflow project": lambda root, runs: mlflow_folder(root, runs).parent,
    "mlflow database": lambda root, runs: mlflow_database(root / "mlflow.db", runs),
    "ray": lambda root, runs: ray_experiment(root / "exp", runs),
    "trainer state": lambda root, runs: trainer_runs(root, runs, model=False),
    "optuna": lambda root, runs: optuna_database(root / "study.db", runs, {"sweep": "MINIMIZE"}),
}
NEED_YAML = {"mlflow folder", "mlflow project"}


def rows(runs: Runs) -> list[tuple[float, ...]]:
    names = ["learning_rate", "batch_tokens", "params", "tokens", "loss"]
    return sorted(runs.frame.select(names).rows())


def planted(runs: tuple[Planted, ...], tokens: float = TOKENS) -> list[tuple[float, ...]]:
    made = [(r.lr, r.batch * SEQ_LEN, PARAMS, tokens, math.inf if math.isnan(r.loss) else r.loss) for r in runs]
    return sorted(made)


def assert_same(found: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> None:
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-12)


def options(kind: str) -> dict[str, Any]:
    """What the store does not say of itself."""
    given = {"seq_len": SEQ_LEN} if kind == "trainer state" else {}
    if kind.startswith("wandb"):
        return given
    constants = {"params": "124M"} if kind == "trainer state" else dict(CONSTANTS)
    return {"constants": {k: v for k, v in constants.items() if not (kind == "ray" and k == "params")}}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_store_gives_the_planted_runs(tmp_path: Path, kind: str) -> None:
    if kind in NEED_YAML:
        pytest.importorskip("yaml")
    trained = [run for run in ALL if run is not CRASHED] if kind == "trainer state" else ALL
    runs = read_runs(WRITERS[kind](tmp_path, tuple(trained)), **options(kind))
    finished = (*SWEEP, DIVERGED)
    if kind == "trainer state":  # 600 steps of each batch
        expected = sorted((r.lr, r.batch * SEQ_LEN, PARAMS, 600 * r.batch * SEQ_LEN, _shown(r)) for r in finished)
        assert_same(rows(runs), expected)
    else:
        assert_same(rows(runs), planted(finished))
        assert (runs.read, runs.unfinished, runs.missing_loss) == (len(ALL), 1, 0)
        assert any("1 run that did not finish is left out" in note for note in runs.notes)
    assert runs.diverged == 1


def _shown(run: Planted) -> float:
    return math.inf if math.isnan(run.loss) else run.loss


@pytest.mark.parametrize("kind", ["wandb table", "wandb json", "mlflow database", "optuna"])
def test_unfinished_runs_are_kept_on_demand(tmp_path: Path, kind: str) -> None:
    runs = read_runs(WRITERS[kind](tmp_path, ALL), keep_unfinished=True, **options(kind))
    assert_same(rows(runs), planted(ALL))
    assert runs.unfinished == 0


def test_all_unfinished_says_so(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"no run in .* has finished with a loss \(1 of 1 .*State: crashed"):
        read_runs(runs_table(tmp_path / "a.csv", [CRASHED]))


@pytest.mark.parametrize("kind", WRITERS)
def test_other_columns_of_the_source_are_kept(tmp_path: Path, kind: str) -> None:
    if kind in NEED_YAML:
        pytest.importorskip("yaml")
    expected = {"wandb table": "User", "ray": "training_iteration", "optuna": "number", "trainer state": "loss"}
    fitting = {"mlflow": "metrics.train/loss", "wandb": "summary.lr"}
    column = expected.get(kind) or fitting[kind.split()[0]]
    frame = read_runs(WRITERS[kind](tmp_path, SWEEP), **options(kind)).frame
    assert column in frame.columns or f"source.{column}" in frame.columns or column == "summary.lr"
    assert len(frame.columns) == len(set(frame.columns))


# What a learning rate is: the setting, never the last value logged.


def test_the_last_rate_logged_is_no_setting(tmp_path: Path) -> None:
    runs = read_runs(runs_table(tmp_path / "a.csv", SWEEP))
    assert runs.columns["learning_rate"] == "learning_rate"  # and not train/learning_rate, a tenth of it
    nodes = api_runs(SWEEP)
    for node in nodes:
        node["config"] = {k: v for k, v in node["config"].items() if k != "learning_rate"}
    with pytest.raises(ForescaleError, match="no column for learning_rate"):
        read_runs(write_json(tmp_path / "b.json", nodes))


def test_the_peak_of_a_logged_curve_stands_in_for_the_setting(tmp_path: Path) -> None:
    nodes = api_runs(SWEEP[:1])
    nodes[0]["config"].pop("learning_rate")
    warm = [{"_step": i, "lr": rate, "train/loss": 3.0} for i, rate in enumerate((1e-4, 1e-3, 5e-4))]
    nodes[0]["history"] = warm
    runs = read_runs(write_json(tmp_path / "b.json", nodes))
    assert runs.frame["learning_rate"].to_list() == [1e-3]


# Curves


def test_a_training_curve_is_smoothed_where_nothing_was_evaluated(tmp_path: Path) -> None:
    path = trainer_runs(tmp_path, SWEEP[:1], model=False)
    state = trainer_state(SWEEP[0])
    state["log_history"] = [row for row in state["log_history"] if "eval_loss" not in row]
    for checkpoint in path.rglob("trainer_state.json"):
        write_json(checkpoint, state)
    runs = read_runs(path, constants={"params": PARAMS})
    logged = [(row["loss"], row["step"]) for row in state["log_history"] if "loss" in row]
    assert runs.frame["loss"].to_list() == [final_loss([x for x, _ in logged], [s for _, s in logged])]
    assert any("smoothed (Gaussian" in note for note in runs.notes)
    assert 5.0 not in runs.frame["loss"]  # the average over the run, which the last row logs as train_loss


def test_a_curve_that_ends_in_nan_outweighs_an_earlier_evaluation(tmp_path: Path) -> None:
    state = trainer_state(SWEEP[0])
    state["log_history"][59] |= {"loss": 0.0, "grad_norm": math.nan}  # how the trainer hides a NaN
    runs = read_runs(write_json(tmp_path / "trainer_state.json", state), constants={"params": PARAMS})
    assert runs.frame["loss"].to_list() == [math.inf]
    assert runs.diverged == 1


def test_a_chart_has_curves_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = chart(tmp_path / "chart.csv", SWEEP[:2])
    with pytest.raises(ForescaleError, match=r"for params .* a chart's export.*export the table of runs"):
        read_runs(path)
    settings = {"learning_rate": 1e-3, "batch_sequences": 64, "params": "124M"}
    runs = read_runs(path, constants=settings, seq_len=SEQ_LEN)
    steps = [10.0 * i for i in range(60)]
    assert runs.frame["loss"].to_list() == [final_loss(run.curve(), steps) for run in SWEEP[:2]]
    assert runs.frame["tokens"].to_list() == [590 * 64 * SEQ_LEN] * 2  # the last step logged times the batch
    assert any("the last step logged × batch" in note for note in runs.notes)


# Hugging Face


def test_a_model_beside_a_trainer_state_is_counted(tmp_path: Path) -> None:
    runs = read_runs(trainer_runs(tmp_path, SWEEP))
    assert runs.frame["params"].unique().to_list() == [LLAMA_PARAMS]
    assert any("counted from the model's configuration" in note for note in runs.notes)


def test_the_batch_without_counted_tokens_is_a_product(tmp_path: Path) -> None:
    path = trainer_runs(tmp_path, SWEEP, counted=False)
    with pytest.raises(ForescaleError, match="give --seq-len"):
        read_runs(path)
    alone = read_runs(path, seq_len=SEQ_LEN)  # the processes' batch is all that the state tells
    assert sorted(alone.frame["batch_tokens"].unique()) == [16 * SEQ_LEN, 32 * SEQ_LEN]
    assert any("with one for what is not recorded (accumulation and devices)" in note for note in alone.notes)
    for folder in (tmp_path / "sweep").iterdir():
        micro = 16 if int(folder.name[-1]) < 3 else 32
        arguments = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 4, "max_steps": -1}
        write_json(folder / "training_args.json", arguments)
    full = read_runs(path, seq_len=SEQ_LEN)
    assert sorted(full.frame["batch_tokens"].unique()) == [64 * SEQ_LEN, 128 * SEQ_LEN]
    assert full.frame["tokens"].to_list() == [600 * b for b in full.frame["batch_tokens"]]


def test_a_trainer_short_of_its_steps_did_not_finish(tmp_path: Path) -> None:
    trainer_runs(tmp_path / "a", SWEEP)
    trainer_runs(tmp_path / "b", SWEEP[:2], steps=400)
    runs = read_runs(tmp_path)
    assert (runs.read, runs.unfinished) == (8, 2)
    assert any("global_step below max_steps" in note for note in runs.notes)


# Ray Tune


def test_trials_that_a_scheduler_stopped_are_left_out(tmp_path: Path) -> None:
    root = ray_experiment(tmp_path / "exp", SWEEP)
    short = next(path for path in sorted(root.iterdir()) if path.is_dir())
    lines = (short / "result.json").read_text(encoding="utf-8").splitlines()
    write_text(short / "result.json", "\n".join(lines[:3]) + "\n")
    runs = read_runs(root, constants={"tokens": TOKENS})
    assert (runs.read, runs.unfinished) == (len(SWEEP), 1)


def test_trials_without_json_lines_are_read_from_their_table(tmp_path: Path) -> None:
    root = ray_experiment(tmp_path / "exp", SWEEP)
    for folder in (path for path in root.iterdir() if path.is_dir()):
        last = json.loads((folder / "result.json").read_text(encoding="utf-8").splitlines()[-1])
        write_text(folder / "progress.csv", f"val_loss,training_iteration\n9.9,1\n{last['val_loss']},8\n")
        (folder / "result.json").unlink()
    runs = read_runs(root, constants={"tokens": TOKENS})
    assert_same(rows(runs), planted(SWEEP))


def test_a_results_frame_has_its_settings_behind_a_slash() -> None:
    frame = pl.DataFrame(
        {
            "loss": [run.loss for run in SWEEP],
            "lr": [run.lr / 10 for run in SWEEP],  # reported, after the decay
            "training_iteration": [8] * 6,
            "config/lr": [run.lr for run in SWEEP],
            "config/train/bs": [run.batch for run in SWEEP],
        }
    )
    assert rows(read_runs(frame, seq_len=SEQ_LEN, constants=CONSTANTS)) == planted(SWEEP)


# Optuna


def test_several_studies_are_asked_for(tmp_path: Path) -> None:
    path = optuna_database(tmp_path / "o.db", SWEEP, {"sweep": "MINIMIZE", "other": "MINIMIZE"})
    with pytest.raises(ForescaleError, match=r"it has 2 \(sweep, other\): say which as o\.db::sweep"):
        read_runs(path)
    assert rows(read_runs(f"{path}::sweep", constants=CONSTANTS)) == planted(SWEEP)
    with pytest.raises(UnknownNameError, match=r"no study 'none'; it has sweep, other"):
        read_runs(f"{path}::none")
    with pytest.raises(ForescaleError, match="has no trials"):
        read_runs(f"{path}::other")


def test_a_maximised_objective_is_no_loss(tmp_path: Path) -> None:
    path = optuna_database(tmp_path / "o.db", SWEEP, {"sweep": "MAXIMIZE"})
    with pytest.raises(ForescaleError, match=r"column for loss .* the study maximises its objective"):
        read_runs(path, constants=CONSTANTS)


def test_a_frame_of_trials_is_read_like_the_study() -> None:
    frame = pl.DataFrame(
        {
            "number": range(7),
            "value": [*(run.loss for run in SWEEP), None],
            "params_lr": [*(run.lr for run in SWEEP), 1e-3],
            "params_batch_size": [*(run.batch for run in SWEEP), 64],
            "user_attrs_seq_len": [SEQ_LEN] * 7,
            "state": ["COMPLETE"] * 6 + ["FAIL"],
        }
    )
    runs = read_runs(frame, constants=CONSTANTS)
    assert rows(runs) == planted(SWEEP)
    assert runs.unfinished == 1


# MLflow


def test_one_of_several_experiments(tmp_path: Path) -> None:
    path = mlflow_database(tmp_path / "m.db", SWEEP)
    assert rows(read_runs(f"{path}::sweep", constants=CONSTANTS)) == planted(SWEEP)
    assert rows(read_runs(f"sqlite:///{path}", constants=CONSTANTS)) == planted(SWEEP)
    with pytest.raises(UnknownNameError, match="no experiment 'none'"):
        read_runs(f"{path}::none")


def test_a_store_is_only_read(tmp_path: Path) -> None:
    path = mlflow_database(tmp_path / "m.db", SWEEP)
    before = (path.read_bytes(), sorted(tmp_path.iterdir()))
    path.chmod(0o444)
    read_runs(path, constants=CONSTANTS)
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_a_run_without_a_curve_has_its_last_training_loss(tmp_path: Path) -> None:
    nodes = api_runs(SWEEP[:2])
    for node in nodes:
        node["summary"] = {"train/loss": 3.5}
    nodes[0]["history"] = [{"_step": i, "train/loss": 3.4} for i in range(3)]
    runs = read_runs(write_json(tmp_path / "a.json", nodes))
    assert runs.frame["loss"].to_list() == [pytest.approx(3.4), 3.5]
    assert runs.missing_loss == 0
