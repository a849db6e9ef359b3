"""What a run shows and reports while it goes on: progress, trackers, the measured peak."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from loop_runs import tiny_config

from forescale.errors import MissingExtraError
from forescale.train import _progress as progress_module
from forescale.train import train
from forescale.train._peak import matmul_peak
from forescale.train._progress import Progress

CPU = torch.device("cpu")


def progress(**changes: Any) -> Progress:
    settings: dict[str, Any] = {"start": 0, "steps": 100, "batch_tokens": 1000, "flops_per_token": 6e3, "peak": 1e9}
    return Progress(**settings | changes)


def test_the_line_says_loss_speed_time_left_and_mfu() -> None:
    # 20 steps x 1000 tokens in 2 s; 80 steps are left; 1e4 tokens/s x 6e3 FLOPs over 1e9 FLOP/s.
    assert progress().text(20, [9.0, 2.0, 4.0], 2.0) == "loss 5.0000  10K tokens/s  ETA 8 s  MFU 6%"
    assert progress(peak=None).text(0, [], 1.0) == "0 tokens/s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere(corpus, monkeypatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY", 0.0)
    monkeypatch.setattr(progress_module, "BAR_EVERY", 0.0)
    for stream, bar in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        train(tiny_config(), corpus=corpus, progress=True)
        text = stream.getvalue()
        assert ("\x1b[" in text) == bar
        assert "MFU is against" in " ".join(text.split())
        assert "tokens/s" in text
        assert ("step 12/12" in text) != bar


def test_nothing_is_shown_unless_asked(corpus, capsys) -> None:
    train(tiny_config(), corpus=corpus)
    assert capsys.readouterr() == ("", "")


def test_the_peak_is_what_a_product_reaches() -> None:
    torch.set_num_threads(1)
    peak = matmul_peak(CPU, "fp32", 256)
    assert 1e8 < peak < 1e13  # a slow core reaches 1 GFLOP/s, no core 10 TFLOP/s


def test_tensorboard_gets_every_step(corpus, tmp_path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    made = train(tiny_config(out=str(tmp_path), log=("tensorboard",), eval_every=6), corpus=corpus)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == list(range(1, 13))
    assert [event.value for event in losses] == pytest.approx(list(made.losses))
    assert [event.step for event in events.Scalars("held_out_loss")] == [6, 12]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_get_the_config_and_every_step(corpus, tmp_path, monkeypatch, name: str) -> None:
    seen: dict[str, Any] = {"logged": [], "finished": 0}

    def log(values: dict[str, float], step: int) -> None:
        seen["logged"].append((step, values["loss"]))

    def finish() -> None:
        seen["finished"] += 1

    module = SimpleNamespace(init=lambda **options: seen.update(options), log=log, finish=finish)
    monkeypatch.setitem(sys.modules, name, module)
    made = train(tiny_config(out=str(tmp_path / "run-7"), log=(name,)), corpus=corpus)
    assert seen["logged"] == list(enumerate(made.losses, start=1))
    assert (seen["name"], seen["config"]["learning_rate"], seen["finished"]) == ("run-7", 0.01, 1)
    assert str(seen.get("id")).startswith("run-7-") == (name == "wandb")


def test_a_missing_tracker_is_said_before_training(corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        train(tiny_config(out=str(tmp_path), log=("wandb",)), corpus=corpus)


def test_bf16_on_a_processor_without_it_is_said(corpus, monkeypatch) -> None:
    from forescale.train import _loop

    monkeypatch.setattr(_loop, "bf16_slowdown", lambda _: 80.0)
    made = train(tiny_config(precision="bf16", steps=3), corpus=corpus)
    assert "bf16 is 80 times slower than fp32 on this processor" in made.notes


def test_more_than_one_pass_is_said(corpus) -> None:
    made = train(tiny_config(steps=60, batch_sequences=10), corpus=corpus)
    assert any("passes over" in note for note in made.notes)
    assert train(tiny_config(steps=3), corpus=corpus).notes == ()


@pytest.mark.slow  # a minute of compiling
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # in modules of torch's own
def test_compiled_is_the_same_run(corpus, tmp_path: Path) -> None:
    plain = train(tiny_config(steps=6), corpus=corpus)
    compiled = train(tiny_config(steps=6, compile=True, out=str(tmp_path)), corpus=corpus)
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-5)
    assert train(tiny_config(steps=6, out=str(tmp_path)), corpus=corpus, resume=True).loss == pytest.approx(plain.loss)
