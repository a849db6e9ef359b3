"""Stores that the tools themselves write and read: Optuna's two storages and TensorBoard's event files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from reader_stores import LLAMA, LLAMA_PARAMS, PARAMS, SEQ_LEN, SWEEP, TOKENS, Planted, write_json, write_text

from forescale.runs import final_loss, read_runs
from forescale.runs._readers._open import open_source

pytestmark = pytest.mark.filterwarnings("ignore")  # the tools' own


def objective(trial: Any) -> float:
    import optuna

    rate = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    trial.suggest_categorical("batch_size", [64, 128])
    trial.suggest_int("layers", 2, 4)
    trial.set_user_attr("seq_len", SEQ_LEN)
    for step in range(4):
        trial.report(math.nan if trial.number == 4 and step == 3 else 3 + abs(math.log(rate / 1e-3)) / (step + 1), step)
        if trial.number == 3 and step == 2:
            raise optuna.TrialPruned
    return {4: math.nan, 5: math.inf}.get(trial.number, 3 + abs(math.log(rate / 1e-3)))


@pytest.mark.parametrize("kind", ["database", "journal"])
def test_optuna_agrees_with_itself(tmp_path: Path, kind: str) -> None:
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("sqlalchemy")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / ("o.db" if kind == "database" else "o.log")
    backend: Any = optuna.storages
    storage: Any = f"sqlite:///{path}"
    if kind == "journal":
        storage = backend.JournalStorage(backend.journal.JournalFileBackend(str(path)))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="sweep", storage=storage, sampler=sampler)
    study.enqueue_trial({"lr": 2e-3, "batch_size": 128, "layers": 3})
    study.optimize(objective, n_trials=8)
    study.add_trial(
        optuna.trial.create_trial(
            params={"lr": 3e-3},
            distributions={"lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)},
            value=3.3,
        )
    )
    table = open_source(path).table
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert table.height == len(trials) == 9
    for row, trial in zip(table.iter_rows(named=True), trials, strict=True):
        told = {key.removeprefix("params."): value for key, value in row.items() if key.startswith("params.")}
        assert {key: value for key, value in told.items() if value is not None} == trial.params
        assert (row["number"], row["run_state"]) == (trial.number, trial.state.name)
        assert row["user_attrs.seq_len"] == trial.user_attrs.get("seq_len")
        if trial.value is not None and trial.state.name == "COMPLETE":
            assert row["value"] == trial.value
    runs = read_runs(path, constants={"params": PARAMS, "tokens": TOKENS, "seq_len": SEQ_LEN, "batch_tokens": 2**17})
    # 8 run, one pruned: the one whose objective was NaN and the infinite one are diverged.
    assert (runs.frame.height, runs.unfinished) == (8, 1)
    assert sum(math.isinf(loss) for loss in runs.frame["loss"]) == 2


def event_file(folder: Path, run: Planted, *, hparams: bool = True) -> None:
    """Scalars of one run and its hyperparameters, written with tensorboard's own writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))

    def add(tag: str, value: float, step: int) -> None:
        made = Summary.Value(tag=tag, simple_value=value)
        writer.add_event(Event(summary=Summary(value=[made]), step=step, wall_time=1e9 + step))

    for step, loss in enumerate(run.curve()):
        add("train/loss", loss, 10 * step)
        add("train/lr", run.lr * min(1, step / 10), 10 * step)
    if hparams:
        start = plugin_data_pb2.SessionStartInfo()
        start.hparams["lr"].number_value = run.lr
        start.hparams["batch_size"].number_value = run.batch
        told = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_start_info=start))
        value = Summary.Value(tag=metadata.SESSION_START_INFO_TAG, metadata=told, tensor=metadata.NULL_TENSOR)
        writer.add_event(Event(summary=Summary(value=[value]), step=0, wall_time=1e9))
    writer.close()


def test_event_files_agree_with_tensorboards_own_reader(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for i, run in enumerate(SWEEP):
        event_file(tmp_path / f"run{i}", run)
    runs = read_runs(tmp_path, seq_len=SEQ_LEN, constants={"params": PARAMS})
    assert runs.frame["learning_rate"].to_list() == [run.lr for run in SWEEP]
    assert runs.frame["batch_tokens"].to_list() == [run.batch * SEQ_LEN for run in SWEEP]
    for i, loss in enumerate(runs.frame["loss"]):
        accumulator = EventAccumulator(str(tmp_path / f"run{i}"), size_guidance={"scalars": 0}).Reload()
        points = accumulator.Scalars("train/loss")
        assert loss == final_loss([point.value for point in points], [point.step for point in points])
        assert loss == pytest.approx(SWEEP[i].loss, rel=1e-3)  # the curve's end, of single precision


def test_settings_beside_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for i, run in enumerate(SWEEP):
        folder = tmp_path / f"version_{i}"
        event_file(folder, run, hparams=False)
        # As Lightning writes it, with an object that only its own loader would build.
        lines = [f"batch_size: {run.batch}", f"seq_len: {SEQ_LEN}", "path: !!python/object/apply:pathlib.PosixPath [a]"]
        write_text(folder / "hparams.yaml", "\n".join(lines) + "\n")
    write_json(tmp_path / "config.json", LLAMA)  # one model for all
    runs = read_runs(tmp_path)
    assert runs.frame["learning_rate"].to_list() == pytest.approx([run.lr for run in SWEEP])  # the peak logged
    assert runs.columns["learning_rate"] == "peak_learning_rate"
    assert runs.frame["params"].unique().to_list() == [LLAMA_PARAMS]


def test_a_run_shorter_than_its_like_did_not_finish(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for i, run in enumerate(SWEEP):
        event_file(tmp_path / f"run{i}", run)
    killed = Planted(5e-4, 64, 3.0)
    object.__setattr__(killed, "curve", lambda: SWEEP[0].curve()[:20])
    event_file(tmp_path / "run9", killed)
    runs = read_runs(tmp_path, seq_len=SEQ_LEN, constants={"params": PARAMS, "tokens": TOKENS})
    assert (runs.read, runs.unfinished) == (7, 1)


def test_event_files_without_tensorboard_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from forescale.errors import MissingExtraError

    write_text(tmp_path / "run" / "events.out.tfevents.1.vm", "")
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'forescale\[runs\]'"):
        read_runs(tmp_path)


def test_json_of_pages_needs_no_tool(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"data": {"project": {"runs": {"edges": []}}}}), encoding="utf-8")
    with pytest.raises(ValueError, match="no kind that holds runs"):
        read_runs(path)
