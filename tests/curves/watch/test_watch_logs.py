"""Logs of every kind come out as the same arrays; half lines wait, restarts replace, and bad input is one sentence."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watch_worlds import losses, records, write_lines

from forescale.curves.watch import Log, follow_log, read_log, watch
from forescale.curves.watch._text import printed
from forescale.errors import ForescaleError

ROWS = records(60)
LOSS = np.array([row["loss"] for row in ROWS])


def check(log: Log) -> None:
    np.testing.assert_allclose(log.loss, LOSS)
    np.testing.assert_array_equal(log.step, np.arange(1, 61))
    assert log.rate is not None
    np.testing.assert_allclose(log.rate, [row["learning_rate"] for row in ROWS])
    assert log.norm is not None
    assert (log.norm == 0.5).all()


def test_json_lines_csv_and_trainer_state_agree(tmp_path: Path) -> None:
    check(read_log(write_lines(tmp_path / "metrics.jsonl", ROWS)))
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    check(read_log(tmp_path / "log.csv"))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes()))
    check(read_log(tmp_path / "log.csv.gz"))
    run = tmp_path / "hf" / "checkpoint-60"
    run.mkdir(parents=True)
    end = {"step": 60, "train_loss": 3.3, "train_runtime": 9.0}  # the average that the trainer adds at the end
    (run / "trainer_state.json").write_text(
        json.dumps({"global_step": 60, "max_steps": 2000, "log_history": [*ROWS, end]})
    )
    log = read_log(tmp_path / "hf")
    check(log)
    assert log.total == 2000


def test_wandb_export_and_names_of_others(tmp_path: Path) -> None:
    names = {
        "step": "train/global_step",
        "loss": "train/loss",
        "learning_rate": "train/learning_rate",
        "grad_norm": "train/grad_norm",
    }
    history = [{"_step": 7 * row["step"], **{names[key]: value for key, value in row.items()}} for row in ROWS]
    node = {"name": "calm-sky", "config": {"max_steps": {"value": 500}}, "summary": {}, "history": history}
    (tmp_path / "run.json").write_text(json.dumps(node))
    log = read_log(tmp_path / "run.json")
    check(log)
    assert (log.name, log.total) == ("calm-sky", 500)


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    writing: Any = pytest.importorskip("torch.utils.tensorboard")
    with writing.SummaryWriter(str(tmp_path / "tb")) as writer:
        for row in ROWS:
            for key, tag in (("loss", "train/loss"), ("learning_rate", "train/lr"), ("grad_norm", "train/grad_norm")):
                writer.add_scalar(tag, row[key], row["step"])
    log = read_log(tmp_path / "tb")
    np.testing.assert_allclose(log.loss, LOSS, rtol=1e-6)  # event files hold 32 bits
    np.testing.assert_array_equal(log.step, np.arange(1, 61))


def test_modded_nanogpt_logs_tell_train_from_val(data: Path) -> None:
    log = read_log(data / "training-telemetry" / "2024-11-10_UNetDoubleLr_c87bb826.csv.gz")
    assert log.total == 3000  # its column total_steps
    assert len(log.step) == 3000
    assert log.step[-1] == 3000
    assert log.val_step[-1] == 3000
    assert log.val_loss[-1] == 3.2753


def test_a_growing_file_is_read_on_and_half_a_line_waits(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "metrics.jsonl", ROWS[:30])
    read = follow_log(file)
    assert len(read().step) == 30
    whole = "".join(json.dumps(row) + "\n" for row in ROWS[30:])
    with file.open("a") as opened:
        opened.write(whole[:-40])
    log = read()
    assert len(log.step) == 59
    assert any("half a record" in note for note in log.notes)
    with file.open("a") as opened:
        opened.write(whole[-40:])
    log = read()
    check(log)
    assert not log.notes


def test_a_file_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "metrics.jsonl", ROWS)
    read = follow_log(file)
    read()
    write_lines(file, ROWS[:10])
    assert len(read().step) == 10


def test_a_restart_replaces_the_repeated_steps(tmp_path: Path) -> None:
    lost = [{**row, "loss": 9.0} for row in ROWS[40:50]]
    log = read_log(write_lines(tmp_path / "metrics.jsonl", [*ROWS[:40], *lost, *ROWS[40:]]))
    check(log)
    assert log.notes == ("10 records were replaced by those of a restart from an earlier step",)


def test_our_own_config_says_steps_and_schedule(tmp_path: Path) -> None:
    config = {"steps": 100, "schedule": "linear", "warmup_steps": 10, "final_lr_ratio": 0.0}
    (tmp_path / "config.json").write_text(json.dumps({"kind": "forescale-train", "config": config}))
    found = watch(write_lines(tmp_path / "metrics.jsonl", ROWS))
    assert found.log.share == 0.6
    assert found.final_loss is not None
    assert found.final_loss.schedule_known
    assert "linear" in found.final_loss.said


PRINTED = {
    "nanogpt": "iter 10: loss 4.3123, time 30.22ms, mfu 12.34%",
    "nanogpt's evaluation": "step 10: train loss 4.3123, val loss 4.5000",
    "build-nanogpt": "10 train 4.3123",
    "modded-nanogpt": "step:10/6000 train_loss:4.3123 train_time:234ms step_avg:nanms",
    "llm.c's file": "s:10 trl:4.3123 lr:0.000001 norm:15.37",
    "llm.c": "step   10/19560 | loss 4.3123 (+nanz)| norm 15.3 (+nanz)| lr 8.6e-07 | 300 ms | 40% bf16 MFU",
    "litgpt": "Epoch 1 | iter 40 step 10 | loss train: 4.3123, val: n/a | iter time: 300.22 ms (step)",
    "megatron": " iteration       10/  500000 | consumed samples: 2560 | learning rate: 1.500E-05 | global batch size:   256 | "
    "lm loss: 4.3123E+00 | loss scale: 1.0 | grad norm: 2.345 |",
    "torchtitan": "\x1b[31m2025-10-30 14:32:58,897 - INFO - step: 10  loss:  4.3123  grad_norm:  3.6855  memory:  2.47GiB(3.12%)",
    "by hand": "Step 10, Loss: 4.3123, LR: 0.0003",
}


@pytest.mark.parametrize("line", PRINTED.values(), ids=PRINTED)
def test_lines_that_trainers_print(line: str) -> None:
    record = printed(line)
    assert record is not None
    assert (float(record["step"]), float(record["loss"])) == (10, 4.3123)


@pytest.mark.parametrize(
    "line", ["loss = loss_of(logits)", "for step in range(10): # loss 3", "Epoch 3: loss 0.3", "250 hella 0.2463", ""]
)
def test_lines_that_are_no_records(line: str) -> None:
    assert printed(line) is None


def test_a_printed_log_with_chatter_around_it(tmp_path: Path) -> None:
    lines = [f"step:{row['step']}/2000 train_loss:{row['loss']!r} lr:{row['learning_rate']!r} norm:0.5" for row in ROWS]
    text = "\n".join(["import torch", "step:0/2000 val_loss:11.2", *lines, "step:61/2000 train_lo"])
    (tmp_path / "train.log").write_text(text)
    (tmp_path / "requirements.txt").write_text("torch\n")
    log = read_log(tmp_path)  # the one log in the folder
    check(log)
    assert log.total == 2000
    assert log.val_loss.tolist() == [11.2]
    assert not log.notes


def test_what_a_hugging_face_trainer_prints(tmp_path: Path) -> None:
    lines = [
        f"{{'loss': {row['loss']!r}, 'grad_norm': 0.5, 'learning_rate': {row['learning_rate']!r}}}" for row in ROWS
    ]
    (tmp_path / "out.txt").write_text("\n".join([*lines, "{'train_runtime': 5.0, 'train_loss': 3.3}", ""]))
    log = read_log(tmp_path / "out.txt")
    check(log)
    assert log.notes == ("no column says the step: records were counted",)


def test_a_step_logged_twice_counts_once(tmp_path: Path) -> None:
    log = read_log(
        write_lines(tmp_path / "metrics.jsonl", [*ROWS[:20], {**ROWS[19], "loss": 9.0}, ROWS[19], *ROWS[20:]])
    )
    check(log)
    assert log.notes == ("2 records have the step of a later one, which counts",)


def test_missing_steps_are_no_fault(tmp_path: Path) -> None:
    log = read_log(write_lines(tmp_path / "metrics.jsonl", [*ROWS[:20], *ROWS[35:]]))
    assert log.step.tolist() == [*range(1, 21), *range(36, 61)]
    assert not log.notes


def test_tokens_in_place_of_steps(tmp_path: Path) -> None:
    rows = [{"tokens": 1000 * row["step"], "loss": row["loss"]} for row in ROWS]
    log = read_log(write_lines(tmp_path / "metrics.jsonl", rows), steps=100_000)
    assert (log.unit, log.share, log.step[-1]) == ("tokens", 0.6, 60_000)
    assert "counted in tokens" in log.notes[0]


def test_the_csv_of_a_wandb_panel(tmp_path: Path) -> None:
    rows = [f"{row['step']},{row['loss']!r},{row['loss']!r},{row['loss']!r}" for row in ROWS]
    heading = "Step,{0} - train/loss,{0} - train/loss__MIN,{0} - train/loss__MAX".format("calm-sky-3")
    (tmp_path / "panel.csv").write_text("\n".join([heading, *rows]))
    np.testing.assert_allclose(read_log(tmp_path / "panel.csv").loss, LOSS)
    (tmp_path / "panel.csv").write_text("\n".join([heading + ",old - train/loss", *(row + ",3.1" for row in rows)]))
    with pytest.raises(ForescaleError, match=r"one run is watched at a time; panel.csv holds 2 \(calm-sky-3, old\)"):
        read_log(tmp_path / "panel.csv")


def test_steps_that_are_counted_anew_in_each_epoch(tmp_path: Path) -> None:
    rows = [{"epoch": at // 20, "step": at % 20, "loss": row["loss"]} for at, row in enumerate(ROWS)]
    log = read_log(write_lines(tmp_path / "metrics.jsonl", rows), steps=200)
    np.testing.assert_array_equal(log.step, np.arange(60))
    np.testing.assert_allclose(log.loss, LOSS)
    assert not log.notes


def test_how_often_a_run_sees_its_data(tmp_path: Path) -> None:
    rows = [{**row, "epoch": row["step"] / 25} for row in ROWS]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"max_steps": 100, "log_history": rows}))
    assert read_log(tmp_path / "trainer_state.json").epochs == pytest.approx(4)


def test_a_column_without_a_name_is_nothing(tmp_path: Path) -> None:
    """The index that pandas writes first."""
    rows = [f"{at},{row['step']},{row['loss']!r}" for at, row in enumerate(ROWS)]
    (tmp_path / "history.csv").write_text("\n".join([",_step,train/loss", *rows]))
    log = read_log(tmp_path / "history.csv")
    np.testing.assert_allclose(log.loss, LOSS)
    assert (log.norm, log.rate, log.epochs) == (None, None, None)


def test_several_logs_in_a_folder_are_named(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", ROWS)
    write_lines(tmp_path / "b.jsonl", ROWS)
    with pytest.raises(ForescaleError, match=r"holds 2 \(a.jsonl, b.jsonl, …\): name one"):
        read_log(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.log", "import torch\nstarting\n", "needs lines with a step and a loss"),
        ("metrics.jsonl", "", "needs records; .* is empty so far: wait for the first"),
        ("log.csv", "", "is empty so far"),
        ("log.csv", "step,accuracy\n1,0.5\n", "needs a column of losses .*; log.csv has step, accuracy: name it so"),
        ("log.csv", "step,loss\n1,\n2,\n", "records and no loss in any: let it run on"),
        ("notes.md", "hello", "a log is told by its name"),
        ("thing.json", '{"a": 1}', "JSON without a log_history"),
        ("trainer_state.json", '{"log_hist', "not valid JSON: it may be cut short"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ForescaleError, match=said):
        read_log(tmp_path / name)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="must exist"):
        read_log(tmp_path / "nothing.csv")
    with pytest.raises(ForescaleError, match="holds no log that is known"):
        read_log(tmp_path)


def test_steps_shorter_than_the_log(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="steps is the length of the whole run, 60 or more; got 50"):
        read_log(write_lines(tmp_path / "metrics.jsonl", ROWS), steps=50)


def test_one_record_has_no_end_yet(tmp_path: Path) -> None:
    found = watch(write_lines(tmp_path / "metrics.jsonl", ROWS[:1]), steps=100)
    assert found.final_loss is None
    assert "there are 1: let it run on" in found.notes[-1]


def test_a_length_that_nothing_says(tmp_path: Path) -> None:
    found = watch(write_lines(tmp_path / "metrics.jsonl", ROWS))
    assert found.final_loss is not None
    assert found.final_loss.step == 60
    assert "give its steps" in found.notes[-1]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_diverged_run_is_an_event(tmp_path: Path, bad: float | None) -> None:
    rows = [*ROWS, *({**row, "step": row["step"] + 60, "loss": bad} for row in ROWS[:5])]
    found = watch(write_lines(tmp_path / "metrics.jsonl", rows), steps=100)
    assert [(event.kind, event.step) for event in found.events] == [("diverged", 61)]
    assert found.final_loss is None
    assert "diverged" in found.notes[-1]
    json.dumps(found.to_json(), allow_nan=False)


def test_hugging_face_hides_nan_as_zero(tmp_path: Path) -> None:
    lost = [{"step": 61, "loss": 0.0, "grad_norm": float("nan"), "learning_rate": 1e-3}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"max_steps": 90, "log_history": [*ROWS, *lost]}))
    assert [event.kind for event in watch(tmp_path / "trainer_state.json").events] == ["diverged"]


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "metrics.jsonl", ROWS)
    file.write_text("Traceback (most recent call last):\n" + file.read_text())
    log = read_log(file)
    check(log)
    assert log.notes == ("1 line that is no record was left out",)


def test_held_out_losses_are_a_series_of_their_own(tmp_path: Path) -> None:
    rows = [row if row["step"] % 5 else {**row, "val_loss": row["loss"] + 0.1} for row in ROWS]
    log = read_log(write_lines(tmp_path / "metrics.jsonl", rows))
    check(log)
    np.testing.assert_allclose(log.val_loss, losses(60)[4::5] + 0.1)
