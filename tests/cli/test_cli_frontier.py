"""`forescale frontier`: its JSON, its table, its pictures, and one sentence for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forescale.cli import main

POINT = {"params", "tokens", "batch_tokens", "steps", "compute", "seconds", "loss"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["frontier", *arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


@pytest.mark.parametrize(
    ("arguments", "traded"),
    [
        (("--compute", "1e21"), ["seconds", "loss"]),
        (("--loss", "2.6"), ["seconds", "compute"]),
        (("--deadline", "30d", "--devices", "256"), ["compute", "loss"]),
    ],
)
def test_json(run: Any, arguments: tuple[str, ...], traded: list[str]) -> None:
    code, out, err = run(*arguments, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema_version"] == 1
    assert document["traded"] == traded
    assert len(document["points"]) > 1
    assert all(set(point) >= POINT for point in document["points"])
    assert document["chosen"] in document["points"]
    assert all(each["reason"] for each in document["assumptions"].values())


def test_options_reach_the_library(run: Any) -> None:
    arguments = ("--loss", "2.4", "--deadline", "1d12h", "--devices", "1K", "--flops", "A100", "--utilisation", "0.3")
    more = (
        "--model-parallel",
        "8",
        "--micro-batch",
        "2",
        "--step-overhead",
        "0.05",
        "--price",
        "2.5",
        "--power",
        "400",
    )
    last = (
        "--inference-tokens",
        "1T",
        "--seq-len",
        "2048",
        "--weight",
        "0.3",
        "--law",
        "power-lines",
        "--law",
        "loss=skaling",
    )
    _, out, _ = run(*arguments, *more, *last, "--json")
    document = json.loads(out)
    assert document["goal"] == {
        "loss": 2.4, "compute": None, "deadline": 129600.0, "weight": 0.3, "inference_tokens": 1e12, "seq_len": 2048,
        "params": None, "tokens_per_param": None, "unique_tokens": None, "laws": ["power-lines", "loss=skaling"],
    }  # fmt: skip
    assert document["cluster"] == {
        "devices": 1000, "flops": 312e12, "utilisation": 0.3, "model_parallel": 8, "micro_batch": 2, "step_overhead": 0.05,
        "seconds_per_step": None, "price": 2.5, "watts": 400.0,
    }  # fmt: skip
    assert "unverified" in {warning["code"] for warning in document["warnings"]}


def test_table(run: Any) -> None:
    code, out, _ = run("--deadline", "30d", "--devices", "256", "--price", "2.5", "--power", "700")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("within 30 d · compute against loss · up to 256 of NVIDIA H100 SXM at 40%")
    assert sum(line.startswith("->") for line in lines) == 2  # the chosen row, and its reasons
    assert "460,800" in out  # 256 devices x 720 hours x 2.5
    assert "129 MWh" in out  # 256 x 700 W x 720 h
    for heading in ("other sizes in the time and compute of the choice", "were the critical batch another", "assumed"):
        assert heading in out


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_picture(run: Any, tmp_path: Path, name: str) -> None:
    code, _, err = run("--loss", "2.6", "--json", "--picture", str(tmp_path / name))
    assert code == 0
    assert "wrote" in err
    assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what is wanted"),
        (("--loss", "1.5"), "irreducible loss of epoch is 1.817"),
        (("--loss", "abc"), "--loss must be a number"),
        (("--compute", "1e9"), "too few"),
        (("--deadline", "30x", "--devices", "8"), "--deadline must be a time"),
        (("--deadline", "30d"), "bounds nothing"),
        (("--deadline", "1d", "--devices", "2.5"), "--devices must be a whole number"),
        (("--loss", "2.6", "--flops", "v100"), "one of a100, h100"),
        (("--loss", "2.6", "--flops", "-3"), "--flops must be finite and above zero"),
        (("--loss", "2.6", "--law", "epoch", "--law", "epoch"), "stands there twice"),
        (("--loss", "2.6", "--law", "loss="), "--law takes NAME"),
        (("--loss", "2.6", "--picture", "x.jpg"), "a picture is a .png"),
        (("--loss", "2.6", "--weight", "3"), "from 0 to 1"),
    ],
)
def test_bad_input_is_one_sentence(run: Any, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_it_loads_numpy_and_nothing_heavier() -> None:
    probe = "import sys; from forescale.cli import main\ntry: main(['frontier', '--loss', '2.6', '--json'])\n"
    probe += "finally: print(*sorted({'numpy', 'scipy', 'polars', 'matplotlib', 'torch'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.split() == ["numpy"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--price", "1e300", "price must lie between"),
        ("--power", "1e300", "watts must lie between"),
        ("--step-overhead", "1e300", "step_overhead must lie between"),
        ("--utilisation", "1e-300", "utilisation must lie between"),
        ("--flops", "1e-300", "flops must lie between"),
        ("--seconds-per-step", "1e300", "seconds_per_step must lie between"),
    ],
)
def test_numbers_beyond_any_cluster_are_refused(capsys, option: str, value: str, words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["frontier", "--loss", "2.2", option, value, "--json"])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
