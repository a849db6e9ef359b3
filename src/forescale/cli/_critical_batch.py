"""`forescale critical-batch`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.noise.critical import Branched, CriticalBatch

USES = {
    "runs": ("target_loss", "groups", "least_batch", "columns", "set", "seq_len", "out", "picture"),
    "branches": ("epsilon", "alpha", "columns", "set", "seq_len", "picture"),
    "branch_at": ("batch", "learning_rate", "factors", "branch_tokens", "optimizer", "out"),
}
"""What to do -> the options that it reads."""


def critical_batch(
    *,
    runs: OptionalFile = None,
    branches: OptionalFile = None,
    branch_at: str | None = None,
    target_loss: str | None = None,
    groups: str | None = None,
    least_batch: Number = None,
    epsilon: float | None = None,
    alpha: float | None = None,
    batch: Number = None,
    learning_rate: Number = None,
    factors: str | None = None,
    branch_tokens: Number = None,
    optimizer: str | None = None,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    seq_len: OptionalWhole = None,
    out: OptionalFile = None,
    json: Flag = False,
    picture: OptionalFile = None,
) -> None:
    """Measure the critical batch: from runs of several batches to one loss, or from branches of one run.

    With --runs: the tokens that each batch needs for a loss lie on D = D_min (1 + B / B_crit); from several model sizes or
    losses follows a law that `forescale plan --batch-schedule FILE.toml` reads. With --branches: the largest batch whose loss
    is not worse, at each checkpoint. With --branch-at: which branches to train.

    Parameters
    ----------
    runs
        A table of finished runs (as for `forescale fit`) with batch, tokens and loss; of equal batch and tokens the lowest
        loss counts. Runs that all end at one loss (tokens to a goal) are taken as they are.
    branches
        A table of branches: checkpoint_tokens, factor (times the run's batch), batch_tokens (the branch's own), loss; the rows
        of one branch are its loss curve.
    branch_at
        Write the branches to train at these checkpoints, in tokens: 10B,50B,200B.
    target_loss
        Of --runs: losses to read, with commas (default: three that most batches reach).
    groups
        Of --runs: the column that tells model sizes apart (default: params).
    least_batch
        Of --runs: leave smaller batches out, in tokens: below the best batch the tokens rise again.
    epsilon
        Of --branches: loss in nats that counts as none (default 0.01).
    alpha
        Of --branches: weight of the past in the moving average of a loss curve (default 0.5).
    batch
        Of --branch-at: the run's batch, in tokens.
    learning_rate
        Of --branch-at: the run's learning rate at the checkpoints.
    factors
        Of --branch-at: batches as multiples of the run's (default 1,2,4,8).
    branch_tokens
        Of --branch-at: tokens to train each branch for (default 2B).
    optimizer
        Of --branch-at: adam (learning rate x sqrt(factor), the default) or sgd (x factor).
    columns
        Our name = your column, where the names are not recognised: loss=goal,tokens=tokens_to_goal.
    set
        What is alike in every run and not recorded, by our name: batch_tokens=4M.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    out
        Write the law of --runs to this .toml file, or the branches of --branch-at to this .csv file.
    json
        Print JSON (schema_version 1).
    picture
        Also draw what was found: a .png, .svg or .pdf file.
    """
    options = dict(locals())
    mode = _mode(options)
    check_destinations({"--out": out, "--picture": picture}, [path for path in (runs, branches) if path is not None])
    if out is not None and out.suffix != (suffix := ".toml" if mode == "runs" else ".csv"):
        raise ForescaleError(f"--out of --{mode.replace('_', '-')} must end in {suffix}; got {str(out)!r}.")
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    if mode == "branch_at":
        _design(options, json=json)
        return
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    measure: Callable[[dict[str, Any]], Any] = _from_runs if mode == "runs" else _from_branches
    found: Any = measure(options)
    drawn = None if picture is None else _draw(found, picture)
    _print(found, json=json)
    sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if out is not None:
        _save(found, out)
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _mode(options: dict[str, Any]) -> str:
    """What to do; an option that it does not read is refused."""
    given = [name for name in USES if options[name] is not None]
    if len(given) != 1:
        got = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
        raise ForescaleError(f"give one of --runs FILE, --branches FILE and --branch-at TOKENS,...; got {got}.")
    known = (given[0], *USES[given[0]], "json")
    for name, value in options.items():
        if name not in known and value is not None:
            flag, mode = name.replace("_", "-"), given[0].replace("_", "-")
            raise ForescaleError(f"--{flag} does not go with --{mode}: leave it out.")
    return given[0]


def _from_runs(options: dict[str, Any]) -> CriticalBatch:
    from forescale.cli._own_runs import read
    from forescale.noise.critical import critical_batch as measure

    table = read(
        options["runs"],
        options["columns"],
        options["set"],
        seq_len=options["seq_len"],
        needs=("tokens", "batch_tokens", "loss"),
    )
    least = options["least_batch"]
    return measure(
        table,
        targets=_numbers(options["target_loss"], "--target-loss"),
        groups=options["groups"] or "params",
        least_batch=0.0 if least is None else parse_quantity(least, "--least-batch"),
    )


def _from_branches(options: dict[str, Any]) -> tuple[Branched, ...]:
    from forescale.cli._own_runs import read
    from forescale.noise.critical import branched_runs

    table = read(
        options["branches"],
        options["columns"],
        options["set"],
        seq_len=options["seq_len"],
        keep_unfinished=True,
        needs=("batch_tokens", "loss"),
    )
    chosen = {name: options[name] for name in ("epsilon", "alpha") if options[name] is not None}
    return branched_runs(table, **chosen)


def _design(options: dict[str, Any], *, json: bool) -> None:
    from forescale.noise.critical import branch_csv, branch_design

    for name in ("batch", "learning_rate"):
        if options[name] is None:
            flag = f"--{name.replace('_', '-')}"
            raise ForescaleError(f"--branch-at needs the run's --batch and --learning-rate; {flag} is missing.")
    chosen: dict[str, Any] = {}
    if options["factors"] is not None:
        chosen["factors"] = _numbers(options["factors"], "--factors")
    if options["branch_tokens"] is not None:
        chosen["tokens"] = parse_quantity(options["branch_tokens"], "--branch-tokens")
    if options["optimizer"] is not None:
        chosen["optimizer"] = options["optimizer"]
    batch, rate = (parse_quantity(options[name], f"--{name.replace('_', '-')}") for name in ("batch", "learning_rate"))
    runs = branch_design(_numbers(options["branch_at"], "--branch-at"), batch, rate, **chosen)
    if json:
        from json import dumps

        print(dumps({"schema_version": 1, "branches": [dict(vars(run)) for run in runs]}, indent=2, allow_nan=False))
    elif options["out"] is None:
        print(branch_csv(runs), end="")
    sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if options["out"] is not None:
        print(f"forescale: {write(options['out'], branch_csv(runs).encode())} {options['out']}", file=sys.stderr)


def _numbers(text: str | None, name: str) -> tuple[float, ...]:
    return () if text is None else tuple(parse_quantity(part, name) for part in text.split(","))


def _draw(found: CriticalBatch | tuple[Branched, ...], picture: Path) -> bytes:
    from forescale.plots import branches_chart, critical_batch_figure, picture_bytes

    return picture_bytes(branches_chart(found) if isinstance(found, tuple) else critical_batch_figure(found), picture)


def _print(found: CriticalBatch | Sequence[Branched], *, json: bool) -> None:
    from forescale.cli import _render_critical_batch as render

    if isinstance(found, tuple):
        (render.print_branches_json if json else render.print_branches)(found)
    else:
        (render.print_json if json else render.print_runs)(found)  # type: ignore[arg-type]  # both take it


def _save(found: CriticalBatch, out: Path) -> None:
    from forescale.laws import save_law

    if found.law is None:
        raise ForescaleError(f"{out} is not written: {found.notes[-1] if found.notes else 'there is no law'}.")
    save_law(found.law, out)
    print(f"forescale: wrote {out}", file=sys.stderr)
