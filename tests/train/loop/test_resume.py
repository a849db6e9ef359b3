"""Runs on disk: stopped, killed and resumed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_runs import MIXED, ModelOptions, tiny_config, tiny_corpus

from forescale.errors import ForescaleError
from forescale.train import _checkpoint as checkpoint_module
from forescale.train import train
from forescale.train._interrupt import RunInterruptedError


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


class KilledError(Exception):
    pass


def stop_at(step: int) -> Any:
    """A callback that ends the process's part of a run as a kill would, as far as Python allows."""

    def on_step(seen: Any) -> None:
        if seen.step == step:
            raise KilledError

    return on_step


def test_a_run_leaves_its_config_metrics_checkpoints_and_result(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path / "run"), checkpoint_every=5, eval_every=4)
    made = train(config, corpus=corpus)
    folder = tmp_path / "run"
    assert {p.name for p in folder.iterdir()} == {"config.json", "metrics.jsonl", "checkpoints", "result.json", ".lock"}
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-000000010.pt", "step-000000012.pt"]
    assert [line["loss"] for line in lines(folder)] == list(made.losses)
    assert [line["step"] for line in lines(folder)] == list(range(1, 13))
    assert [line["step"] for line in lines(folder) if "held_out_loss" in line] == [4, 8, 12]
    assert lines(folder)[-1]["held_out_loss"] == result(folder)["loss"] == made.loss
    assert result(folder)["state"] == "finished"


@pytest.mark.parametrize("optimizer", ["adamw", "adam-atan2", "muon"])
@pytest.mark.parametrize("stopped", [3, 7, 12])
def test_resumed_is_undisturbed_to_the_last_bit(corpus, tmp_path, optimizer: str, stopped: int) -> None:
    options = ModelOptions(density=0.5)
    config = tiny_config(optimizer=optimizer, checkpoint_every=5, eval_every=3, options=options, batch_sequences=3)
    whole, cut = (replace(config, out=str(tmp_path / name)) for name in ("whole", "cut"))
    expected = train(whole, corpus=corpus)
    with pytest.raises(KilledError):
        train(cut, corpus=corpus, on_step=stop_at(stopped))
    torch.manual_seed(99)  # another process has other random numbers
    resumed = train(cut, corpus=corpus, resume=True)
    assert resumed.loss == expected.loss
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert result(tmp_path / "cut")["train_loss"] == expected.train_loss


@pytest.mark.parametrize("fault", ["optimizer", "data"])
def test_a_resumption_that_forgets_something_would_show(corpus, tmp_path, monkeypatch, fault: str) -> None:
    from forescale.train import Batches, _keeper

    config = tiny_config(checkpoint_every=5)
    expected = train(config, corpus=corpus)
    cut = replace(config, out=str(tmp_path))
    with pytest.raises(KilledError):
        train(cut, corpus=corpus, on_step=stop_at(7))
    if fault == "optimizer":
        fresh = {"state": {}, "param_groups": []}
        monkeypatch.setattr(_keeper, "restore", lambda s, c: s.bare.load_state_dict(dict(c.model)) and fresh)
    else:
        at = Batches.at
        monkeypatch.setattr(Batches, "at", lambda self, place, count: at(self, max(place - 20, 0), count))
    assert train(cut, corpus=corpus, resume=True).losses != expected.losses[5:]


def test_resuming_a_finished_run_gives_its_result_again(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path))
    first = train(config, corpus=corpus)
    again = train(config, corpus=corpus, resume=True)
    assert (again.loss, again.train_loss) == (first.loss, first.train_loss)
    assert again.seconds == pytest.approx(first.seconds, rel=0.1)
    assert len(lines(tmp_path)) == 12


def test_resuming_where_nothing_is_starts_anew(corpus, tmp_path) -> None:
    assert train(tiny_config(out=str(tmp_path / "new")), corpus=corpus, resume=True).steps == 12


def test_another_shape_of_experts_and_masks_resumes_too(corpus, tmp_path) -> None:
    config = tiny_config(shape=MIXED, options=ModelOptions(density=0.5), checkpoint_every=4)
    expected = train(config, corpus=corpus)
    cut = replace(config, out=str(tmp_path))
    with pytest.raises(KilledError):
        train(cut, corpus=corpus, on_step=stop_at(9))
    assert train(cut, corpus=corpus, resume=True).loss == expected.loss


def test_a_folder_in_use_is_refused_without_resume(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path / "run"))
    train(config, corpus=corpus)
    with pytest.raises(ForescaleError, match=r"holds the result of a run.*--resume"):
        train(config, corpus=corpus)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(ForescaleError, match=r"thesis\.tex"):
            train(replace(config, out=str(other)), corpus=corpus, resume=resume)
    with pytest.raises(ForescaleError, match="it is a file"):
        train(replace(config, out=str(other / "thesis.tex")), corpus=corpus)


def test_another_config_says_what_differs(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path), checkpoint_every=5)
    with pytest.raises(KilledError):
        train(config, corpus=corpus, on_step=stop_at(7))
    changed = replace(config, learning_rate=0.02, optimizer="muon", options=ModelOptions(z_loss=1e-4))
    with pytest.raises(ForescaleError) as error:
        train(changed, corpus=corpus, resume=True)
    message = str(error.value)
    assert "learning_rate was 0.01, now 0.02" in message
    assert 'optimizer was "adamw", now "muon"' in message
    assert "options.z_loss was 0.0, now 0.0001" in message
    # How it is carried out may change: the numbers agree up to rounding.
    resumed = train(replace(config, micro_batch=2, checkpoint_every=3, log_every=1), corpus=corpus, resume=True)
    assert resumed.loss == pytest.approx(train(replace(config, out=None), corpus=corpus).loss, rel=1e-5)


def test_other_data_are_refused(corpus, tmp_path) -> None:
    from forescale.train import open_corpus

    config = tiny_config(out=str(tmp_path / "run"))
    train(config, corpus=corpus)
    (tmp_path / "other.txt").write_text("another text altogether. " * 200)
    other = open_corpus(tmp_path / "other.txt", cache=tmp_path / "cache")
    with pytest.raises(ForescaleError, match="data was"):
        train(config, corpus=other, resume=True)
    changed = replace(other, sources=corpus.sources)
    with pytest.raises(ForescaleError, match=r"the content of the data .*text\.txt.* differs"):
        train(config, corpus=changed, resume=True)


def test_a_resumed_run_keeps_its_precision(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path))
    assert train(config, corpus=corpus).config.precision == "fp32"  # what auto is on a CPU
    with pytest.raises(ForescaleError, match='precision was "fp32", now "bf16"'):
        train(replace(config, precision="bf16"), corpus=corpus, resume=True)


def test_a_folder_of_a_process_that_was_killed_at_once_is_free(corpus, tmp_path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "config.json.partial").write_text("{")
    for resume in (False, True):
        assert train(tiny_config(out=str(tmp_path)), corpus=corpus, resume=resume).steps == 12
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_checkpoint_is_passed_over(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path), checkpoint_every=4)
    expected = train(replace(config, out=None), corpus=corpus)
    with pytest.raises(KilledError):
        train(config, corpus=corpus, on_step=stop_at(10))
    newest = tmp_path / "checkpoints" / "step-000000008.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = train(config, corpus=corpus, resume=True)
    assert resumed.loss == expected.loss
    assert any("damaged" in note and "step-000000008" in note for note in resumed.notes)
    # Nor does it push out the good ones when old ones are deleted.
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000000008.pt", "step-000000008.pt.unreadable", "step-000000012.pt"]
    for path in (tmp_path / "checkpoints").glob("*.pt"):
        path.write_bytes(b"nothing")
    with pytest.raises(ForescaleError, match=r"no checkpoint in .* can be read"):
        train(config, corpus=corpus, resume=True)


def test_a_checkpoint_runs_no_code(corpus, tmp_path) -> None:
    config = tiny_config(out=str(tmp_path), checkpoint_every=4)
    with pytest.raises(KilledError):
        train(config, corpus=corpus, on_step=stop_at(5))

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"format": 1, "step": Evil()}, tmp_path / "checkpoints" / "step-000000008.pt")
    train(config, corpus=corpus, resume=True)
    assert not (tmp_path / "owned").exists()


def full_disk(after: int) -> Any:
    """torch.save that meets a full disk in the middle of its `after`th file."""
    calls = 0
    original = torch.save

    def save(state: Any, file: Any) -> None:
        nonlocal calls
        calls += 1
        if calls < after:
            original(state, file)
            return
        file.write(b"half a checkpoint")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return save


def test_a_full_disk_keeps_the_previous_checkpoint_and_the_run(corpus, tmp_path, monkeypatch) -> None:
    config = tiny_config(out=str(tmp_path), checkpoint_every=4)
    monkeypatch.setattr(checkpoint_module.torch, "save", full_disk(2))
    made = train(config, corpus=corpus)
    assert made.loss == train(replace(config, out=None), corpus=corpus).loss
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000004.pt"]
    note = next(note for note in result(tmp_path)["notes"] if "step 8" in note)
    assert "No space left on device" in note
    assert "that of step 4 is kept" in note
    monkeypatch.undo()
    assert train(config, corpus=corpus, resume=True).loss == made.loss


def test_a_file_that_the_system_cuts_off_is_no_checkpoint(corpus, tmp_path) -> None:
    """The system's own error in the middle of torch's writer, by a limit on the size of files."""
    import resource

    config = tiny_config(out=str(tmp_path), checkpoint_every=4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        made = train(config, corpus=corpus)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert any("File too large" in note for note in made.notes)


def test_metrics_wait_where_the_disk_is_full(tmp_path, monkeypatch) -> None:
    from forescale.train._metrics import Metrics

    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.write([{"step": 1, "loss": 1.5}])
    original = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:5])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full(original(self, *a, **k)))
    metrics.write([{"step": 2, "loss": 1.25}])
    monkeypatch.undo()
    assert metrics.problem == "No space left on device"
    assert [line["step"] for line in lines(tmp_path)] == [1]
    metrics.write([{"step": 3, "loss": float("inf")}])
    assert metrics.problem is None
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 1.5), (2, 1.25), (3, None)]


def test_a_run_that_explodes_keeps_its_last_good_checkpoint(corpus, tmp_path) -> None:
    # A rate of at most 0.01 for the first half, then one that float32 does not survive.
    rising = "points:0=0,0.5=1e-38,0.75=1e-10,1=1"
    config = tiny_config(
        out=str(tmp_path),
        checkpoint_every=2,
        steps=40,
        learning_rate=1e36,
        grad_clip=0.0,
        warmup_steps=0,
        schedule=rising,
    )
    made = train(config, corpus=corpus)
    assert made.diverged
    assert made.diverged_at is not None
    written = result(tmp_path)
    assert (written["loss"], written["diverged"], written["diverged_at"]) == (None, True, made.diverged_at)
    assert written["state"] == "diverged"
    assert lines(tmp_path)[-1]["step"] == made.diverged_at
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert made.diverged_at > 20
    assert [int(p.name[5:14]) for p in kept] == [
        step for step in range(made.diverged_at - 4, made.diverged_at) if step % 2 == 0
    ]
    for path in kept:
        state = torch.load(path, weights_only=True)
        assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_two_processes_do_not_write_to_one_folder(corpus, tmp_path) -> None:
    seen: list[str] = []

    def intrude(step: Any) -> None:
        if step.step == 3:
            with pytest.raises(ForescaleError, match="another process") as error:
                train(config, corpus=corpus, resume=True)
            seen.append(str(error.value))

    config = tiny_config(out=str(tmp_path))
    train(config, corpus=corpus, on_step=intrude)
    assert len(seen) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_where_it_is(corpus, tmp_path, number: int) -> None:
    config = tiny_config(out=str(tmp_path))
    handler = signal.getsignal(number)
    with pytest.raises(RunInterruptedError, match=r"after step 5 of 12.*--resume") as error:
        train(config, corpus=corpus, on_step=lambda s: os.kill(os.getpid(), number) if s.step == 5 else None)
    assert error.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    assert not (tmp_path / "result.json").exists()
    assert train(config, corpus=corpus, resume=True).loss == train(replace(config, out=None), corpus=corpus).loss


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_outlives_no_good_one(corpus, tmp_path, keep: int) -> None:
    config = tiny_config(out=str(tmp_path), checkpoint_every=3, keep_checkpoints=2, log_every=1)
    with pytest.raises(KilledError):
        train(config, corpus=corpus, on_step=stop_at(11))
    (tmp_path / "checkpoints" / "step-000000009.pt").write_bytes(b"nothing")
    again = replace(config, keep_checkpoints=keep, checkpoint_every=1)
    with pytest.raises(KilledError):
        train(again, corpus=corpus, resume=True, on_step=stop_at(8))
    expected = [f"step-{step:09d}.pt" for step in (6, 7, 8)[-keep:]]
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("*.pt")) == expected


def run_in_folder(cache: Path, folder: Path) -> None:
    """What each process of the test below does."""
    torch.set_num_threads(1)
    config = tiny_config(steps=150, checkpoint_every=4, eval_every=25, batch_sequences=2, log_every=3, out=str(folder))
    train(config, corpus=tiny_corpus(cache), resume=True)


def test_killed_at_random_and_resumed_is_undisturbed_to_the_last_bit(corpus, tmp_path) -> None:
    """SIGKILL, wherever it strikes: also while files are written."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "forescale.train._loop", "test_resume"])
    cache, undisturbed, killed = corpus.train.path.parents[2], tmp_path / "undisturbed", tmp_path / "killed"
    first = processes.Process(target=run_in_folder, args=(cache, undisturbed))
    first.start()
    first.join()
    draw, kills, process = random.Random(0), 0, first
    while kills < 10:
        process = processes.Process(target=run_in_folder, args=(cache, killed))
        process.start()
        process.join(draw.uniform(0.1, 0.7))
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    if process.exitcode:
        process = processes.Process(target=run_in_folder, args=(cache, killed))
        process.start()
        process.join()
    assert (process.exitcode, kills >= 3) == (0, True)
    assert (killed / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()
    for key in ("loss", "train_loss", "tokens", "steps"):
        assert result(killed)[key] == result(undisturbed)[key]
    assert not list(killed.rglob("*.partial"))
