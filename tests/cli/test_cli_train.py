"""`forescale train` from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forescale.train import _peak

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("train", "--params", "20K", "--tokens", "12K", "--seq-len", "32", "--batch-sequences", "12")
WORDS = ("the cat sees milk", "a dog likes rain", "my bird fears snow", "the dog sees a bird", "rain and snow and milk")


@pytest.fixture
def run(run, monkeypatch, tmp_path):
    """As everywhere, in a folder with `text.txt`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_peak, "SECONDS", 0.0)  # of measuring the processor
    monkeypatch.setenv("FORESCALE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("\n".join(WORDS[i * i % 5] for i in range(1500)))
    return run


def result(folder: Path | str) -> dict[str, Any]:
    return json.loads((Path(folder) / "result.json").read_text())


def config(folder: Path | str) -> dict[str, Any]:
    return json.loads((Path(folder) / "config.json").read_text())["config"]


def test_trains_by_the_plans_recipe_and_says_why(run, tmp_path) -> None:
    code, out, err = run(*SMALL[:5], "--seq-len", "32", "--data", "text.txt")
    assert code == 0, err
    folder = next((tmp_path / "runs").iterdir())
    row, planned = result(folder), config(folder)
    assert row["loss"] == pytest.approx(float(re.search(r"loss ([\d.]+) nats per token", out)[1]), abs=1e-4)
    law = json.loads(run("plan", "--shape", shape_text(planned), "--tokens", "12K", "--seq-len", "32", "--json")[1])
    for name in ("learning_rate", "weight_decay", "beta2", "warmup_steps", "init_std", "steps", "batch_sequences"):
        assert planned[name] == pytest.approx(law["recipe"][name]["value"])
        assert re.search(rf"^{name} +[\d.,e-]+  [\w-]+$", out, re.M)
    assert "Step Law, dense" in out
    assert "do not compare" in out
    assert "MFU is against" in err


def shape_text(planned: dict[str, Any]) -> str:
    kept = ("layers", "width", "heads", "vocab", "ffn_width")
    return ",".join(f"{key}={planned['shape'][key]}" for key in kept)


def test_every_number_of_the_recipe_can_be_given(run) -> None:
    given = {
        "learning_rate": 0.003, "weight_decay": 0.2, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "warmup_steps": 3,
        "schedule": "cosine", "final_lr_ratio": 0.1, "grad_clip": 0.5, "init_std": 0.03, "steps": 90,
    }  # fmt: skip
    flags = [str(part) for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    line = ("train", "--depth", "1", "--width", "16", "--seq-len", "32", "--batch-tokens", "130", "--data", "text.txt")
    code, out, err = run(*line, *flags, "--out", "r")
    assert code == 0, err
    made = config("r")
    assert {name: made[name] for name in given} == given
    assert made["batch_sequences"] == 4
    assert "target 130, -1.5% after rounding" in " ".join(out.split())  # what was rounded is said
    assert result("r")["tokens"] == 90 * 128


def test_a_timescale_stands_for_a_weight_decay(run) -> None:
    line = (*SMALL, "--data", "text.txt", "--learning-rate", "0.01", "--timescale", "0.5", "--dry-run", "--json")
    recipe = json.loads(run(*line)[1])["recipe"]
    # Power Lines: timescale = B / (learning rate x weight decay x D).
    assert recipe["weight_decay"]["value"] == pytest.approx(12 * 32 / (0.01 * 0.5 * 12_000))
    assert run(*line, "--weight-decay", "0.1")[0] == 2


def test_numbers_can_be_switched_off(run) -> None:
    code, _, err = run(*SMALL, "--data", "text.txt", "--weight-decay", "0", "--grad-clip", "0", "--out", "r")
    assert code == 0, err
    assert (config("r")["weight_decay"], config("r")["grad_clip"]) == (0, 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--tokens", "12K", "--steps", "50"), (50, 8)),  # 12000 / 50 / 32 = 7.5 sequences
        (("--steps", "60", "--batch-tokens", "256"), (60, 8)),
        (("--steps", "80", "--batch-sequences", "5"), (80, 5)),
    ],
)
def test_steps_tokens_and_batch_fix_a_run_in_any_two(run, flags: Any, expected: tuple[int, int]) -> None:
    line = ("train", "--params", "20K", "--seq-len", "32", *flags, "--dry-run", "--json")
    made = json.loads(run(*line)[1])["config"]
    assert (made["steps"], made["batch_sequences"]) == expected


@pytest.mark.parametrize(
    "schedule", ["wsd:decay=0.5", "constant", "inverse-sqrt", "points:0=0,0.5=1,1=0", "cyclic:cycles=2"]
)
def test_every_schedule_can_be_named(run, schedule: str) -> None:
    code, out, err = run(*SMALL, "--schedule", schedule, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["config"]["schedule"] == schedule


def test_a_dry_run_trains_nothing_and_estimates_the_time(run, tmp_path) -> None:
    code, out, _ = run("train", "--params", "10M", "--tokens", "20M", "--dry-run")
    assert code == 0
    assert re.search(r"^time   about [\d.]+ (s|min|h) at 40% of", out, re.M)
    assert re.search(r"steps x \d+ sequences x 256 tokens = [\d,]+ tokens", out)
    assert not (tmp_path / "runs").exists()
    made = json.loads(run("train", "--params", "10M", "--tokens", "20M", "--dry-run", "--json")[1])
    assert made["estimated_seconds"] == pytest.approx(made["flops"] / made["peak_flops"] / 0.4)
    assert made["recipe"]["learning_rate"]["reason"].startswith("Step Law")


def test_the_default_length_of_sequences_is_said(run) -> None:
    assert (
        "sequences have 256 tokens, the default below 100M"
        in run("train", "--params", "10M", "--tokens", "20M", "--dry-run")[2]
    )


@pytest.mark.parametrize(
    ("flags", "check"),
    [
        (("--optimizer", "muon", "--scheme", "mup", "--base", "width=16,depth=1"), lambda c: c["base"]["width"] == 16),
        (("--optimizer", "adam-atan2", "--position", "alibi"), lambda c: c["options"]["position"] == "alibi"),
        (
            ("--density", "0.5", "--scheme", "supar", "--base", "width=16,depth=1"),
            lambda c: c["options"]["density"] == 0.5,
        ),
        (
            ("--scheme", "everett", "--base", "width=16,depth=1", "--scheme-options", "form=ntk"),
            lambda c: c["scheme_options"] == {"form": "ntk"},
        ),
        (
            ("--held-out", "2000", "--eval-every", "10", "--seed", "3", "--precision", "fp32"),
            lambda c: c["held_out"] == 2000,
        ),
        (("--activation-checkpointing", "--micro-batch", "2", "--z-loss", "1e-4"), lambda c: c["micro_batch"] == 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_reach_the_run(run, flags: tuple[str, ...], check: Any) -> None:
    code, _, err = run(*SMALL, "--data", "text.txt", "--learning-rate", "0.003", *flags, "--out", "r")
    assert code == 0, err
    assert check(config("r"))
    assert result("r")["state"] == "finished"


def test_experts_share_the_parameters(run) -> None:
    code, _, err = run(
        *("train", "--params", "200K", "--experts", "4", "--top-k", "2", "--tokens", "10K", "--seq-len", "32"),
        *("--batch-sequences", "4", "--data", "text.txt", "--out", "r"),
    )
    assert code == 0, err
    row = result("r")
    assert row["params"] == pytest.approx(200_000, rel=0.1)
    assert row["active_params"] < 0.8 * row["params"]


def test_a_planned_shape_takes_kinds_of_parts(run) -> None:
    kinds = ("--kv-heads", "1", "--norm", "layer", "--qk-norm", "head", "--tied")
    for size in (("--params", "200K"), ("--depth", "2", "--width", "64", "--heads", "4")):
        line = ("train", *size, *kinds, "--tokens", "1M", "--seq-len", "32", "--dry-run", "--json")
        shape = json.loads(run(*line)[1])["config"]["shape"]
        assert [shape[key] for key in ("kv_heads", "norm", "qk_norm", "tied")] == [1, "layer", "head", True]
    mixed = ("--params", "200K", "--experts", "4", "--top-k", "1", "--shared-experts", "1", "--tokens", "1M")
    experts = json.loads(run("train", *mixed, "--dry-run", "--json")[1])["config"]["shape"]["experts"]
    assert (experts["top_k"], experts["shared_width"]) == (1, experts["width"])


def test_json_holds_the_recipe_and_the_result(run) -> None:
    code, out, err = run(*SMALL, "--data", "text.txt", "--json", "--out", "r")
    made = json.loads(out)
    assert (code, err) == (0, "")
    assert made["schema_version"] == 1
    assert made["result"] == result("r")
    assert made["recipe"]["batch_tokens"]["value"] == 12 * 32


def test_a_finished_run_is_not_trained_over(run) -> None:
    line = (*SMALL, "--data", "text.txt", "--out", "r")
    first = run(*line)
    assert first[0] == 0
    loss = result("r")["loss"]
    code, _, err = run(*line)
    assert (code, "--resume" in err) == (2, True)
    assert run(*line, "--resume")[0] == 0
    assert run("train", "--out", "r", "--resume", "--threads", "1")[0] == 0  # everything from the folder
    assert result("r")["loss"] == loss
    for described in (line, ("train", "--out", "r")):
        code, _, err = run(*described, "--resume", "--learning-rate", "0.5")
        assert code == 2
        assert re.search(r"learning_rate was 0\.\d+, now 0\.5", err)


def test_what_is_given_beside_a_folder_is_compared_or_refused(run) -> None:
    stated = ("--learning-rate", "0.003", "--seed", "3", "--density", "0.5", "--held-out", "2000")
    assert run(*SMALL, "--data", "text.txt", *stated, "--out", "r")[0] == 0
    resumed = ("train", "--out", "r", "--resume")
    assert run(*resumed, *stated, "--seq-len", "32", "--batch-sequences", "12", "--eval-every", "9")[0] == 0
    for flags, message in (
        (("--seed", "0"), "seed was 3, now 0"),  # also where it is the default of a new run
        (("--density", "1", "--held-out", "0.1"), "held_out was 2000, now 0.1"),
        (("--density", "1", "--held-out", "0.1"), "density was 0.5, now 1"),
        (("--optimizer", "muon"), "optimizer was adamw, now muon"),
        (("--activation-checkpointing",), "activation_checkpointing was False, now True"),
        (("--precision", "bf16"), 'precision was "fp32", now "bf16"'),
        (("--law", "learning_rate=step-law", "--heads", "2"), "got --heads and --law too"),
        (("--micro-batch", "0"), "micro_batch must be a whole number, 1 or more; got 0"),
    ):
        code, _, err = run(*resumed, *flags)
        assert (code, message in err) == (2, True), err


def test_text_is_taken_from_the_key_and_mended_as_told(run, tmp_path) -> None:
    rows = [b'{"id": "%d", "body": "%s"}' % (i, WORDS[i % 5].encode()) for i in range(1500)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows).replace(b"snow", b"sn\xffw", 3))
    line = (*SMALL, "--data", "rows.jsonl", "--out", "r")
    code, _, err = run(*line, "--key", "body")
    assert (code, "errors='replace'" in err) == (2, True)
    assert run(*line, "--key", "body", "--errors", "replace")[0] == 0
    assert (config("r")["key"], config("r")["errors"]) == ("body", "replace")
    assert any("U+FFFD" in note for note in result("r")["notes"])


def test_a_folder_of_runs_is_a_runs_table(run, tmp_path) -> None:
    from forescale.runs import read_runs

    for rate in ("0.003", "0.01", "1e-4", "0.5"):
        extra = ("--grad-clip", "0", "--init-std", "1e38") if rate == "0.5" else ()
        run(
            *SMALL,
            "--data",
            "text.txt",
            "--learning-rate",
            rate,
            *extra,
            "--out",
            f"sweep/lr-{rate}",
            "--log",
            "tensorboard",
        )
    (tmp_path / "sweep" / "killed").mkdir()
    (tmp_path / "sweep" / "killed" / "config.json").write_text((tmp_path / "sweep/lr-0.01/config.json").read_text())
    runs = read_runs(tmp_path / "sweep")
    rows = {row["learning_rate"]: row for row in runs.frame.to_dicts()}
    assert sorted(rows) == [1e-4, 0.003, 0.01, 0.5]
    for rate in (0.003, 0.01):
        made = result(tmp_path / "sweep" / f"lr-{rate}")
        names = (
            "params",
            "tokens",
            "batch_tokens",
            "seq_len",
            "weight_decay",
            "steps",
            "loss",
            "width",
            "depth",
            "seed",
        )
        assert {name: rows[rate][name] for name in names} == {name: made[name] for name in names}
    assert rows[0.5]["loss"] == float("inf")
    assert rows[0.5]["diverged"]
    assert rows[0.5]["tokens"] == rows[0.01]["tokens"]
    assert (runs.read, runs.unfinished, runs.missing_loss) == (5, 1, 0)
    assert "event files" not in " ".join(runs.notes)
    one = read_runs(tmp_path / "sweep" / "lr-0.01")
    assert (
        one.frame["loss"][0] == read_runs(tmp_path / "sweep/lr-0.01/result.json").frame["loss"][0] == rows[0.01]["loss"]
    )
    code, out, err = run("fit", "sweep", "--json")
    assert code == 0, err
    assert json.loads(out)


def test_runs_that_have_not_finished_are_told_so(run, tmp_path) -> None:
    run(*SMALL, "--data", "text.txt", "--out", "sweep/a")
    (tmp_path / "sweep/a/result.json").unlink()
    code, _, err = run("fit", "sweep")
    assert code == 2
    assert "no run in sweep has finished with a loss (1 of 1 did not finish" in err


def test_a_run_that_diverges_has_its_own_exit_code(run) -> None:
    code, _, err = run(*SMALL, "--data", "text.txt", "--grad-clip", "0", "--init-std", "1e38", "--out", "r")
    assert code == 3
    assert re.search(r"^forescale: the run diverged at step \d+ of \d+: .* lower learning rate", err, re.M)
    assert (result("r")["diverged"], result("r")["loss"]) == (True, None)


BAD = [
    (("--tokens", "12K"), "the model is missing"),
    (("--params", "20K"), "length of the run is missing"),
    (("--params", "20K", "--steps", "5"), "--batch-tokens or --batch-sequences"),
    (("--params", "20K", "--tokens", "12K", "--tokens-per-param", "20"), "give one of them"),
    (("--params", "20K", "--tokens", "12K", "--steps", "5", "--batch-tokens", "64"), "two of the three"),
    (("--params", "20K", "--tokens", "12K", "--batch-tokens", "64", "--batch-sequences", "2"), "give one of them"),
    (("--params", "20K", "--shape", "layers=1,width=16,heads=2", "--tokens", "12K"), "--shape says it all"),
    (("--params", "20K", "--tokens", "12K", "--optimizer", "sgd"), "adamw, adam-atan2, muon"),
    (("--params", "20K", "--tokens", "12K", "--schedule", "sine"), "linear, cosine"),
    (
        ("--params", "20K", "--tokens", "12K", "--schedule", "points:0=1,1=0", "--warmup-steps", "3"),
        "warmup_steps is decided by the schedule",
    ),
    (("--params", "20K", "--tokens", "12K", "--scheme", "ntk"), "standard, mup"),
    (("--params", "20K", "--tokens", "12K", "--base", "width=16"), "--base needs width and depth"),
    (("--params", "20K", "--tokens", "12K", "--scheme", "mup"), "give it (--base width=256,depth=4)"),
    (("--params", "20K", "--tokens", "12K", "--base", "width=16,depth=1"), "the scheme standard has no base"),
    (("--params", "20K", "--tokens", "12K", "--density", "1.5"), "density"),
    (("--params", "20K", "--tokens", "12K", "--top-k", "1"), "give --experts as well"),
    (("--shape", "layers=1,width=16,heads=2", "--tokens", "12K", "--tied"), "--shape says it all; got --tied too"),
    (("--params", "20K", "--tokens", "12K", "--norm", "batch"), "norm must be"),
    (("--params", "20K", "--tokens", "12K", "--errors", "ignore"), "strict, replace"),
    (("--params", "20K", "--tokens", "12K", "--precision", "fp8"), "auto, fp32, bf16"),
    (("--params", "20K", "--tokens", "12K", "--parallel", "tp"), "auto, none, ddp, fsdp"),
    (("--params", "20K", "--tokens", "12K", "--log", "paper"), "tensorboard, wandb, trackio"),
    (("--params", "20K", "--tokens", "12K", "--beta1", "1.0"), "beta1"),
    (("--params", "20K", "--tokens", "12K", "--learning-rate", "3"), "learning_rate must lie between"),
    (("--params", "20K", "--tokens", "12K", "--data", "nowhere.txt"), "nowhere.txt"),
    (("--params", "20K", "--tokens", "12K", "--data", "text.txt", "--tokenizer", "none.json"), "none.json"),
    (("--params", "20K", "--tokens", "12K", "--data", "text.txt", "--seq-len", "40000"), "at least one sequence"),
    (("--params", "20K", "--tokens", "1M", "--data", "text.txt", "--batch-sequences", "900"), "at least one batch"),
    (("--params", "20K", "--tokens", "12K", "--device", "quantum"), "auto, cpu, cuda"),
    (("--out", "missing", "--resume"), "holds no run to go on with"),
    (("--params", "20K", "--tokens", "12K", "--data", "text.txt", "--out", "text.txt"), "it is a file"),
    (("--params", "20K", "--tokens", "12K", "--data", "text.txt", "--log", "wandb"), "pip install wandb"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(run, arguments: Any, message: str) -> None:
    code, _, err = run("train", *(("--seq-len", "32") if "--seq-len" not in arguments else ()), *arguments)
    last = err.splitlines()[-1]
    assert code == 2
    assert last.startswith("forescale: ")
    assert message in last
    assert "Traceback" not in err


def process(tmp_path: Path, *arguments: Any, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "FORESCALE_CACHE": str(tmp_path / "cache")}
    line = [sys.executable, *launcher, "-m", "forescale", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=environment, cwd=tmp_path, **pipes)


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(run, tmp_path) -> None:
    del run  # it made the text
    line = (
        "train",
        "--params",
        "20K",
        "--seq-len",
        "32",
        "--steps",
        "4000",
        "--batch-sequences",
        "2",
        "--data",
        "text.txt",
    )
    started = process(tmp_path, *line, "--out", "r")
    metrics = tmp_path / "r/metrics.jsonl"
    while started.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 130, err
    assert re.search(r"^forescale: interrupted after step \d+ of 4000; .*--resume", err.splitlines()[-1])
    assert "Traceback" not in err
    assert list((tmp_path / "r/checkpoints").iterdir())


@pytest.mark.slow  # a torchrun starts three interpreters
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_torchrun_trains_as_one_process_does(run, tmp_path, parallel: str) -> None:
    line = (*SMALL, "--data", "text.txt", "--learning-rate", "1e-3")  # at large rates rounding grows over the run
    assert run(*line, "--out", "one")[0] == 0
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    two = process(tmp_path, *line, "--parallel", parallel, "--out", "two", launcher=launcher)
    out, err = two.communicate(timeout=300)
    assert two.returncode == 0, err
    assert out.count("nats per token on") == 1
    assert result(tmp_path / "two")["processes"] == 2
    assert result(tmp_path / "two")["loss"] == pytest.approx(result(tmp_path / "one")["loss"], rel=1e-5)
