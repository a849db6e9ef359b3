"""The designs of examples/sweep: all can be read, and the two trainers that know nothing of forescale are swept by them."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pytest

from forescale import read_runs
from forescale.sweep import Job, run_job
from forescale.sweep.design import DesignFile, read_design
from forescale.sweep.design._common import RECIPE, TRAINER, WORKLOAD
from forescale.sweep.design._kinds import OF_ALL, OF_KIND
from forescale.sweep.design._read import BUDGET, COMMAND, ENGINE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "sweep"
PAGE = (ROOT / "docs" / "concepts" / "sweep.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_design_can_be_read(path: Path) -> None:
    file = read_design(path)
    assert len(file.design.jobs) >= 3
    assert f"forescale sweep {path.name} " in path.read_text("utf-8")


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL), ids=["grid", "command"])
def test_the_designs_of_the_page_can_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "design.toml").write_text(text, encoding="utf-8")
    file = read_design(tmp_path / "design.toml")
    assert len(file.design.jobs) in (9 * 3 * 2 * 2, 5 * 2)


def test_the_page_has_every_key() -> None:
    keys = {
        *WORKLOAD,
        *RECIPE,
        *TRAINER,
        *COMMAND,
        *ENGINE,
        *BUDGET,
        *OF_ALL,
        *(key for of in OF_KIND.values() for key in of),
    }
    assert [key for key in sorted(keys) if f"`{key}" not in PAGE and f"{key} =" not in PAGE] == []


def design(folder: Path, name: str, *changes: tuple[str, str]) -> DesignFile:
    """An example in a folder of its own, with a text, by this Python, and small."""
    words = random.Random(0).choices(["alpha", "beta", "gamma", "delta", "of", "and", "the"], k=3000)
    (folder / "text.txt").write_text(" ".join(words), encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        (folder / script.name).write_bytes(script.read_bytes())
    text = (EXAMPLES / name).read_text("utf-8")
    for old, new in (("\npython ", f"\n{sys.executable} "), *changes):
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    return read_design(folder / name)


def small(job: Job) -> Job:
    """On one thread."""
    return Job(**{**vars(job), "execution": {**job.execution, "threads": 1}})


def test_a_script_like_nanogpt(tmp_path: Path) -> None:
    changes = (('tokens = "200K"', "tokens = 30720"), ("octaves = 2, around = 0.004", "octaves = [0], around = 0.008"))
    job = small(design(tmp_path, "nanogpt.toml", *changes).design.jobs[0])
    assert (job.row["depth"], job.row["width"], job.row["batch_sequences"], job.row["steps"]) == (2, 32, 8, 60)
    folder = tmp_path / "runs" / "one"
    done = run_job(job, folder)
    assert done.state == "done", done.problem
    assert f"val loss {done.loss:.4f}" in (folder / "log.txt").read_text().splitlines()[-1]
    curve = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in curve] == [0, 10, 20, 30, 40, 50]
    assert done.loss < curve[0]["loss"] - 1
    frame = read_runs(tmp_path / "runs").frame
    assert frame.select("learning_rate", "loss").rows() == [(0.008, done.loss)]
    # Asked to make it again, as where the machine went down at the very end, it goes on by the script's own checkpoint.
    (folder / "result.json").unlink()
    again = run_job(job, folder)
    assert "resumed at iteration 60" in (folder / "log.txt").read_text()
    assert again.loss == done.loss


def test_hugging_faces_trainer(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    job = small(design(tmp_path, "hf.toml", ('tokens = "50K"', "tokens = 10240")).design.jobs[1])
    done = run_job(job, tmp_path / "run")
    assert done.state == "done", done.problem
    history = json.loads((tmp_path / "run" / "out" / "trainer_state.json").read_text())["log_history"]
    assert done.loss == next(record["eval_loss"] for record in reversed(history) if "eval_loss" in record)
    assert "'eval_loss'" in (tmp_path / "run" / "log.txt").read_text()  # the usual rule would read it there
    assert 1.0 < done.loss < 5.0
