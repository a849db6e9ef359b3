"""The design file: what it may say, and one sentence with its name for everything else; tables of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.fit.calibrate import suggest
from forescale.sweep.command._command import command_of
from forescale.sweep.design import Common, DesignFile, from_file, from_suggestion, grid, octaves, read_design
from forescale.workload import Workload

WORKLOAD = '[workload]\nparams = "100K"\ntokens = "1M"\nseq_len = 64\n'
COMMAND = '[command]\nrun = "train --lr {learning_rate}"\n'


def read(folder: Path, text: str) -> DesignFile:
    path = folder / "design.toml"
    path.write_text(text, encoding="utf-8")
    return read_design(path)


def test_a_grid_in_a_file_is_the_grid_in_code(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        WORKLOAD
        + """
[recipe]
schedule = "wsd:decay=0.2"
beta2 = [0.95, 0.99]
[design]
kind = "grid"
learning_rate = { octaves = 1, step = 0.5, around = "0.004" }
batch_tokens = ["1K", 2048]
weight_decay = { octaves = [-1, 1] }
seeds = 2
""",
    )
    common = Common(values={"params": 1e5, "tokens": 1e6, "seq_len": 64, "schedule": "wsd:decay=0.2"})
    axes: dict[str, Any] = {
        "beta2": [0.95, 0.99],
        "learning_rate": octaves(1, step=0.5, around=0.004),
        "batch_tokens": [1000.0, 2048.0],
        "weight_decay": octaves([-1.0, 1.0]),
    }
    assert [job.key for job in file.design.jobs] == [job.key for job in grid(common, axes, seeds=(0, 1)).jobs]
    assert (file.design.name, len(file.design.jobs)) == ("design", 80)


def test_everything_that_a_file_may_say(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        """
[workload]
params = "124M"
tokens = "1B"
seq_len = 1024
data = "corpus.bin"
[recipe]
law = ["learning_rate=deepseek"]
seed = 7
[command]
run = "python train.py --lr {learning_rate:.3e} --data {data} --seed {seed}"
loss = { csv = "log.csv", column = "val_loss" }
curve = 'iter (\\d+): loss ([\\d.]+)'
cwd = "sub"
env = { OMP_NUM_THREADS = "{threads}" }
shell = true
resume = "python train.py --resume {out}"
grace = "30s"
[design]
name = "rates"
learning_rate = { octaves = [0, 1] }
[engine]
name = "slurm"
workers = 4
slurm = { partition = "gpu", time = 60 }
time_limit = "2h"
race = true
[budget]
flops = "1e20"
time = "3d"
money = 100
price_per_hour = 2.5
devices = 8
flops_per_second = "1e15"
""",
    )
    job = file.design.jobs[0]
    command = command_of(job)
    assert job.settings["fields"]["data"] == f"{tmp_path}/corpus.bin"
    assert (job.row["seed"], job.time_limit, file.design.name) == (7, 7200.0, "rates")
    assert (command.cwd, command.grace, command.shell) == (f"{tmp_path}/sub", 30.0, True)
    assert (command.loss.source, command.loss.file, command.loss.key) == ("csv", "log.csv", "val_loss")
    assert file.engine == {
        "name": "slurm", "workers": 4, "slurm": "partition=gpu,time=60", "time_limit": 7200.0, "race": True
    }  # fmt: skip
    budget = file.budget
    assert (budget.flops, budget.seconds, budget.money, budget.devices) == (1e20, 3 * 86400.0, 100.0, 8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[workloads]\n", "a design has no table 'workloads'; did you mean workload?"),
        (WORKLOAD + "parms = 3\n", r"\[workload\] has no 'parms'; did you mean params"),
        (WORKLOAD + "[recipe]\nlr = 3\n", r"\[recipe\] has no 'lr'"),
        (WORKLOAD + "[design]\nlearning_rates = [1]\n", "no 'learning_rates'; did you mean learning_rate"),
        (WORKLOAD + '[design]\nkind = "gird"\n', "grid, plateau, suggest, file; got 'gird'"),
        (WORKLOAD + "[design]\nlearning_rate = 0.1\n", r"a list of values or \{ octaves = 2 \}; got 0.1"),
        (WORKLOAD + "[design]\nlearning_rate = { octave = 1 }\n", "no 'octave'; did you mean octaves"),
        (WORKLOAD + '[design]\nlearning_rate = { octaves = "x" }\n', "octaves of learning_rate are a number"),
        (WORKLOAD + "[design]\nseeds = 1.5\n", "seeds must be a whole number"),
        (WORKLOAD + "[engine]\nworker = 1\n", "did you mean workers"),
        (WORKLOAD + "[engine]\nrace = 1\n", "race is true or false"),
        (WORKLOAD + '[engine]\ntime_limit = "soon"\n', "time_limit must be a time"),
        (WORKLOAD + "[budget]\nmoney = 5\n", "needs the price of a device"),
        (WORKLOAD + "[budget]\nflops = 0\n", "flops of a budget must be finite and above 0"),
        ('[workload]\nparams = "1X"\ntokens = 1\n', "params must be a number such as 7B"),
        ("[workload]\nparams = true\n", "params must be a number such as"),
        ("workload = 3\n", r"\[workload\] must be a table"),
        ("[workload\n", "is not valid TOML"),
        (WORKLOAD + '[workload.base]\nx = 1\n', r"\[workload\] has no 'base'"),
        (WORKLOAD + "[recipe]\nbase = 3\n", "base must be a table with width and depth"),
        (WORKLOAD + "[recipe]\nbeta2 = [0.9, 0.95]\n[design]\nbeta2 = [0.9]\n", "beta2 has a list and an axis"),
        (WORKLOAD + "[command]\n", r"\[command\] needs run"),
        (WORKLOAD + COMMAND + "cwd = 3\n", "cwd must be a text"),
        (WORKLOAD + "[recipe]\nlaw = 3\n", "law must be a list of texts"),
        (WORKLOAD + '[recipe]\nlaw = "nosuch"\n', "no law is named 'nosuch'"),
        (WORKLOAD + '[command]\nrun = "train {lr}"\n', "field lr, which does not exist"),
        (WORKLOAD + COMMAND + 'loss = { json = "a.json" }\n', "needs its file and its key"),
        (WORKLOAD + COMMAND + 'loss = { jason = "a.json" }\n', "did you mean json"),
        (WORKLOAD + COMMAND + 'loss = { json = "a", csv = "b" }\n', "a loss has one source"),
        (WORKLOAD + COMMAND + "loss = 3\n", "loss must be a pattern or a table"),
        (WORKLOAD + COMMAND + 'loss = "("\n', "must be a regular expression"),
        (WORKLOAD + '[design]\nkind = "plateau"\nrate = 3\n', "a plateau has no 'rate'; did you mean rates"),
        ('[design]\nkind = "suggest"\n', "needs target_params"),
        (WORKLOAD + '[design]\nkind = "suggest"\ntarget_params = "1B"\ntarget_tokens = "20B"\nbudget = "1%"\n',
         "a suggestion decides params and tokens"),
        ('[design]\nkind = "suggest"\ntarget_params = "1B"\ntarget_tokens = "20B"\nbudget = 1e12\n', "buys no sweep"),
        ('[design]\nkind = "file"\n', "needs file, a table of runs"),
        ('[design]\nkind = "file"\nfile = "none.csv"\n', "none.csv is not there"),
        ("", "the model is missing"),
    ],
)  # fmt: skip
def test_one_sentence_that_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ForescaleError, match=says) as raised:
        read(tmp_path, text)
    assert "design.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="cannot be read: No such file"):
        read_design(tmp_path / "none.toml")


def test_a_plateau_at_several_sizes(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        '[workload]\nparams = ["1M", "4M"]\ntokens_per_param = 20\n[design]\nkind = "plateau"\nloss_gap = "1%"\nbatches = 1\n',
    )
    assert [round(job.row["params"] / 1e6) for job in file.design.jobs] == [1, 1, 1, 4, 4, 4]


def test_a_suggestion_is_that_of_suggest(tmp_path: Path) -> None:
    text = '[workload]\nseq_len = 256\n[design]\nkind = "suggest"\ntarget_params = "100M"\ntarget_tokens = "2B"\nbudget = "1%"\n'
    design = read(tmp_path, text).design
    target = Workload(params=1e8, tokens=2e9, seq_len=256)
    found = suggest(target, 0.01 * target.compute, seq_len=256)
    assert len(design.jobs) == len(found.runs)
    for job, run in zip(design.jobs, found.runs, strict=True):
        assert job.row["learning_rate"] == run.learning_rate
        assert job.row["batch_tokens"] == run.batch_tokens
        assert job.row["params"] == pytest.approx(run.params, rel=0.1)  # a real shape
    assert design.notes[0].startswith(f"the expected loss gap at the target falls from {found.before.loss_gap:.2%}")
    with pytest.raises(ForescaleError, match="a suggestion decides learning_rate"):
        from_suggestion(Common(values={"learning_rate": 1e-3}), found)


ROWS: list[dict[str, Any]] = [
    {"params": 1e5, "tokens": 1e6, "learning_rate": 0.004, "batch_tokens": 1024.0, "schedule": "cosine"},
    {"params": 1e5, "tokens": 1e6, "learning_rate": 0.008, "batch_tokens": 1024.0, "schedule": None},
]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"runs.{kind}"
    frame = pl.DataFrame(ROWS)
    if kind == "csv":
        path.write_text("N,D,lr,batch_tokens,schedule,loss\n100K,1M,0.004,1024,cosine,3.1\n100K,1M,0.008,1024,,\n")
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        lines = (
            [f"{k} = {json.dumps(v)}" for k, v in ROWS[0].items()],
            [f"{k} = {v!r}" for k, v in ROWS[1].items() if v],
        )
        path.write_text("\n".join(f"[[runs]]\n{chr(10).join(each)}" for each in lines))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "json", "toml"])
def test_a_table_of_runs(tmp_path: Path, kind: str) -> None:
    design = from_file(Common(values={"seq_len": 64}), write(tmp_path, kind))
    expected = [
        grid(Common(values={"seq_len": 64}), {name: [value] for name, value in row.items() if value is not None})
        .jobs[0]
        .key
        for row in ROWS
    ]
    assert [job.key for job in design.jobs] == expected
    assert any("says what runs came to" in note for note in design.notes) == (kind == "csv")


def test_a_table_of_fields_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("lr,dropout,name\n0.001,0.10,a b\n0.002,0.2,c\n")
    text = '[workload]\nparams = "1M"\ntokens = "20M"\n[command]\nrun = "t {learning_rate} {dropout:.1f} {name}"\n'
    design = read(tmp_path, text + '[design]\nkind = "file"\nfile = "runs.csv"\n').design
    assert [job.settings["fields"] for job in design.jobs] == [
        {"learning_rate": 0.001, "dropout": 0.1, "name": "a b"},
        {"learning_rate": 0.002, "dropout": 0.2, "name": "c"},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("params,tokens,colour\n1M,20M,red\n", "runs.csv: a run has no 'colour'"),
        ("params,tokens\n1M,many\n", "runs.csv, run 1: tokens must be a number"),
        ("params,tokens\n1M,\n", "the length of a run is tokens"),
    ],
)
def test_a_table_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(ForescaleError, match=says):
        from_file(Common(), tmp_path / "runs.csv")
