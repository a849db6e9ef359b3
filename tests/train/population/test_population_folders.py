"""Members on disk: the files of a run by itself, and a run goes on as a member or alone, whichever it was."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_runs import tiny_config

from forescale.errors import ForescaleError
from forescale.optimizers import make_optimizer
from forescale.train import TrainConfig, train
from forescale.train._checkpoint import load_latest
from forescale.train._interrupt import RunInterruptedError
from forescale.train.population import train_population

ROUNDING = 2e-5
SETTINGS = ({"seed": 0}, {"seed": 1, "learning_rate": 3e-3, "weight_decay": 0.0}, {"seed": 2, "schedule": "cosine"})


class KilledError(Exception):
    pass


def configs(folder: Path, **changes: Any) -> list[TrainConfig]:
    common = tiny_config(checkpoint_every=5, eval_every=4, **changes)
    return [replace(common, out=str(folder / f"run{i}"), **own) for i, own in enumerate(SETTINGS)]


def elsewhere(made: Sequence[TrainConfig], folder: Path) -> list[TrainConfig]:
    return [replace(config, out=str(folder / Path(config.out or "").name)) for config in made]


def lines(folder: Path | str | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder or "") / "metrics.jsonl").read_text().splitlines()]


def result(folder: Path | str | None) -> dict[str, Any]:
    return json.loads((Path(folder or "") / "result.json").read_text())


def kill_at(step: int) -> Any:
    def on_step(place: int, seen: Any) -> None:
        if (place, seen.step) == (1, step):
            raise KilledError

    return on_step


def kill_alone_at(step: int) -> Any:
    def on_step(seen: Any) -> None:
        if seen.step == step:
            raise KilledError

    return on_step


def same(one: TrainConfig, other: TrainConfig) -> None:
    """Two runs' folders say the same, to rounding."""
    ours, theirs = lines(one.out), lines(other.out)
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-3)  # gradient norms; the losses more closely
        assert a["loss"] == pytest.approx(b["loss"], rel=ROUNDING)
    varying = {"seconds", "tokens_per_second", "notes", "machine", "loss", "train_loss", "bits_per_byte"}
    a, b = result(one.out), result(other.out)
    assert {k: v for k, v in a.items() if k not in varying} == {k: v for k, v in b.items() if k not in varying}
    assert a["loss"] == pytest.approx(b["loss"], rel=ROUNDING)


def test_members_leave_what_runs_by_themselves_leave(corpus, tmp_path) -> None:
    members, runs = configs(tmp_path / "members"), configs(tmp_path / "runs")
    train_population(members, corpus=corpus)
    for member, run in zip(members, runs, strict=True):
        train(run, corpus=corpus)
        same(member, run)
        names = [sorted(str(p.relative_to(c.out or "")) for p in Path(c.out or "").rglob("*")) for c in (member, run)]
        assert names[0] == names[1]
        sizes = [(Path(c.out or "") / "checkpoints" / "step-000000012.pt").stat().st_size for c in (member, run)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.05)  # its own row, not the buffers of all


def test_a_members_checkpoint_is_a_runs(corpus, tmp_path) -> None:
    members, runs = configs(tmp_path / "members"), configs(tmp_path / "runs")
    train_population(members, corpus=corpus)
    train(runs[1], corpus=corpus)
    one, other = (load_latest(Path(c.out or "") / "checkpoints")[0] for c in (members[1], runs[1]))
    assert one is not None
    assert other is not None
    assert one.step == other.step
    assert one.model.keys() == other.model.keys()
    for name, tensor in one.model.items():
        torch.testing.assert_close(tensor, other.model[name], rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(one.optimizer["param_groups"], other.optimizer["param_groups"], strict=True):
        assert ours == theirs
    for number, state in other.optimizer["state"].items():
        assert {k: v.shape for k, v in one.optimizer["state"][number].items()} == {k: v.shape for k, v in state.items()}
        assert float(one.optimizer["state"][number]["step"]) == 12


@pytest.mark.parametrize("stopped", [3, 8])
def test_a_member_that_was_killed_goes_on_alone_and_with_others(corpus, tmp_path, stopped: int) -> None:
    cut, whole = configs(tmp_path / "cut"), configs(tmp_path / "whole")
    for config in whole:
        train(config, corpus=corpus)
    with pytest.raises(KilledError):
        train_population(cut, corpus=corpus, on_step=kill_at(stopped))
    train(cut[0], corpus=corpus, resume=True)
    train_population(cut[1:], corpus=corpus, resume=True)
    for one, other in zip(cut, whole, strict=True):
        same(one, other)


def test_runs_that_were_killed_at_other_steps_go_on_as_members(corpus, tmp_path) -> None:
    cut, whole = configs(tmp_path / "cut"), configs(tmp_path / "whole")
    for config in whole:
        train(config, corpus=corpus)
    train(cut[0], corpus=corpus)
    for config, step in ((cut[1], 11), (cut[2], 6)):
        with pytest.raises(KilledError):
            train(config, corpus=corpus, on_step=kill_alone_at(step))
    seen: list[tuple[int, int]] = []
    train_population(cut, corpus=corpus, resume=True, on_step=lambda place, step: seen.append((place, step.step)))
    assert [step for place, step in seen if place == 1] == [11, 12]
    assert [step for place, step in seen if place == 2] == list(range(6, 13))
    assert 0 not in {place for place, _ in seen}  # it had ended
    for one, other in zip(cut, whole, strict=True):
        same(one, other)


def test_a_resumed_member_that_forgets_its_optimizer_would_show(corpus, tmp_path, monkeypatch) -> None:
    cut, whole = configs(tmp_path / "cut"), configs(tmp_path / "whole")
    train_population(whole, corpus=corpus)
    with pytest.raises(KilledError):
        train_population(cut, corpus=corpus, on_step=kill_at(8))
    loaded = type(make_optimizer("adamw", [])).load_state_dict
    monkeypatch.setattr(
        type(make_optimizer("adamw", [])), "load_state_dict", lambda self, state: loaded(self, {**state, "state": {}})
    )
    train_population(cut, corpus=corpus, resume=True)
    with pytest.raises(AssertionError):
        same(cut[0], whole[0])


def test_a_stopped_member_has_a_checkpoint_of_its_last_step_and_a_result(corpus, tmp_path) -> None:
    made = configs(tmp_path)
    train_population(made, corpus=corpus, on_step=lambda place, step: place == 1 and step.step == 7)
    assert [result(config.out)["state"] for config in made] == ["finished", "stopped", "finished"]
    assert (Path(made[1].out or "") / "checkpoints" / "step-000000007.pt").is_file()
    again = train(made[1], corpus=corpus, resume=True)
    assert again.steps == 12
    assert again.loss == pytest.approx(train(replace(made[1], out=None), corpus=corpus).loss, rel=ROUNDING)


def test_a_signal_saves_all_members_and_they_go_on(corpus, tmp_path) -> None:
    made = configs(tmp_path / "cut")
    made.append(replace(made[0], out=None, seed=5))  # one without a folder

    def on_step(place: int, step: Any) -> None:
        if (place, step.step) == (2, 7):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunInterruptedError, match="the checkpoints of 3 members") as error:
        train_population(made, corpus=corpus, on_step=on_step)
    assert error.value.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    for config in made[:3]:
        assert (Path(config.out or "") / "checkpoints" / "step-000000007.pt").is_file()
    whole = elsewhere(made[:3], tmp_path / "whole")
    train_population(made[:3], corpus=corpus, resume=True)
    train_population(whole, corpus=corpus)
    for one, other in zip(made, whole, strict=False):
        same(one, other)


def test_folders_are_checked_before_anything_starts(corpus, tmp_path) -> None:
    made = configs(tmp_path)
    train(made[2], corpus=corpus)
    with pytest.raises(ForescaleError, match=r"run2 holds the result of a run"):
        train_population(made, corpus=corpus)
    assert not Path(made[0].out or "").exists()
    with pytest.raises(ForescaleError, match=r"run0 came twice"):
        train_population([made[0], replace(made[0], seed=8)], corpus=corpus)


def test_folders_are_free_again_where_a_member_cannot_start(corpus, tmp_path) -> None:
    made = configs(tmp_path)
    with pytest.raises(KilledError):
        train_population(made, corpus=corpus, on_step=kill_at(8))
    changed = replace(made[2], learning_rate=0.5)
    with pytest.raises(ForescaleError, match="learning_rate was"):
        train_population([*made[:2], changed], corpus=corpus, resume=True)
    assert len(train_population(made, corpus=corpus, resume=True)) == 3
