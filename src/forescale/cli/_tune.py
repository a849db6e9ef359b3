"""`forescale tune`."""

from __future__ import annotations

import inspect
import json as json_module
import shlex
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole

if TYPE_CHECKING:
    from forescale.cli._read_tune import Before
    from forescale.sweep.tune import Tuned

Names = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
# Where neither text nor target are given: Python's own sources, a target that two cores train in a minute or two, and as
# many proxies as sweep the batch too: with half of them the recipe came to a loss 19 % higher.
SMALL: Mapping[str, Any] = {
    "target_params": "100K", "target_tokens": "2M", "seq_len": "128", "budget": "40%", "train_target": True, "verify": 3,
}  # fmt: skip


def tune(
    *,
    data: Names = None,
    target_params: Number = None,
    target_tokens: Number = None,
    budget: Number = None,
    out: OptionalFile = None,
    train_target: Flag = False,
    verify: OptionalWhole = None,
    dry_run: Flag = False,
    json: Flag = False,
    shape: str | None = None,
    seq_len: Number = None,
    tokenizer: str = "bytes",
    held_out: str | None = None,
    key: str | None = None,
    errors: str = "strict",
    schedule: str | None = None,
    optimizer: str = "adamw",
    rounds: OptionalWhole = None,
    seeds: OptionalWhole = None,
    goal: str | None = None,
    engine: str = "local",
    address: str | None = None,
    slurm: str | None = None,
    workers: OptionalWhole = None,
    threads: OptionalWhole = None,
    device: str = "auto",
) -> None:
    """Find the hyperparameters of a run by the few small runs that matter: suggest, sweep, calibrate, predict.

    Prints what will be run and what it costs, then runs it. Interrupted or killed, the same command goes on. Ends with the
    recipe, its interval and a page, report.html in --out. Without any options it tunes a small model of Python's own
    sources, trains it and shows how close it came.

    Parameters
    ----------
    data
        Files, folders or globs of text, JSON lines or Parquet, or hf:NAME; default: the sources of Python's standard
        library.
    target_params
        Non-vocabulary parameters of the target, the run that the recipe is for; its shape follows, or give --shape.
    target_tokens
        Training tokens of the target.
    budget
        What the proxies may cost together: a share of the target's compute (10%), a time (30min, 2h) or FLOPs (1e17).
    out
        Folder of the store, the runs and the page (default: one under tuning/, named after the target).
    train_target
        Train the target by the recipe in the end.
    verify
        More runs of the target that show the recipe's true gap: one by published Step Law, the others around the recipe.
    dry_run
        Print what would be run, what it costs and what it will buy; run nothing.
    json
        Print JSON (schema_version 1).
    shape
        The target's shape instead of --target-params: layers=8,width=320,heads=5[,tied=true,...].
    seq_len
        Tokens per sequence (default: 256 below 100M parameters, else 2048), of target and proxies.
    tokenizer
        bytes, bpe:4096 (trained on the data) or a tokenizer.json.
    held_out
        What the loss is measured on: a share of the data (0.05), a number of tokens, or a file.
    key
        Where the text stands in a JSON line, a row or a column (default: text, or the only one that holds text).
    errors
        strict: what is not UTF-8 text ends the run; replace: it becomes U+FFFD, and is counted.
    schedule
        Any schedule of `forescale schedule` (default: the plan's, linear to zero).
    optimizer
        adamw, adam-atan2 or muon.
    rounds
        Rounds at most (default 3).
    seeds
        Runs of every setting, with seeds 0, 1, ... (default 1).
    goal
        Expected loss gap at which no more proxies are run (default 0.25%).
    engine
        local (processes of this machine), ray or slurm.
    address
        Of a Ray cluster (default: one is started here).
    slurm
        Of Slurm: partition=gpu,time=60,...
    workers
        Runs side by side (default: as many as the cores allow).
    threads
        Threads of each (default 1 on a CPU).
    device
        cpu, cuda or auto.
    """
    options = dict(locals())
    command = _command(options)
    from forescale.cli import _read_tune as reading
    from forescale.cli._engines import make_engine
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    from forescale.sweep.tune import tune as run

    options = reading.with_defaults(options, SMALL)
    target, spend = reading.read_target(options), reading.read_spend(options["budget"])
    folder = Path(options["out"] or reading.default_out(target))
    with closing(make_engine(options)) as place:
        before = reading.foresee(target, spend, place, options)
        _print_before(before, folder, json=json, dry_run=dry_run)
        if not dry_run:
            found = run(
                target,
                out=folder,
                budget=spend,
                engine=place,
                say=None if json else _say,
                **reading.read_rounds(options),
            )
            _finish(found, folder, command, json=json)


def _command(options: Mapping[str, Any]) -> str:
    """The command line of these options; what is left at its default is left out."""
    words = ["forescale", "tune"]
    for name, parameter in inspect.signature(tune).parameters.items():
        if (value := options[name]) != parameter.default:
            values = () if value is True else value if name == "data" else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def _say(text: str) -> None:
    print(f"forescale: {text}", file=sys.stderr, flush=True)


def _print_before(before: Before, folder: Path, *, json: bool, dry_run: bool) -> None:
    from forescale.cli import _render_tune as render

    if not json:
        render.print_before(before, folder)
        sys.stdout.flush()
    elif dry_run:
        print(json_module.dumps(before.to_json(), indent=2, allow_nan=False))


def _finish(found: Tuned, folder: Path, command: str, *, json: bool) -> None:
    """Print the end, and write the page, the law and the runs."""
    from forescale.cli import _render_tune as render

    if json:
        print(json_module.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        render.print_tuned(found)
    for path in render.write_files(found, folder, command):
        print(f"forescale: wrote {path}", file=sys.stderr)
