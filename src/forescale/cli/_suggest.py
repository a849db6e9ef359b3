"""`forescale suggest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError
from forescale.quantities import humanize, parse_quantity

if TYPE_CHECKING:
    from rich.console import Console

    from forescale.fit.calibrate import SuggestedRun, Suggestion
    from forescale.workload import Workload


def suggest(
    *,
    params: Number,
    tokens: Number = None,
    tokens_per_param: Number = None,
    active_params: Number = None,
    budget: Number,
    runs: OptionalFile = None,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    seq_len: OptionalWhole = None,
    out: OptionalFile = None,
    json: Flag = False,
) -> None:
    """Which cheap runs to make next, so that the target's learning rate and batch are known best for the FLOPs.

    Numbers accept 7B, 1.4T, 1e20. The runs shrink the expected loss gap at the target most per FLOP, given the published
    prior and the runs that you have; their table, with the loss filled in, goes to `forescale plan --runs`.

    Parameters
    ----------
    params
        Non-vocabulary parameters of the target.
    tokens
        Training tokens of the target.
    tokens_per_param
        Tokens per active parameter, instead of --tokens.
    active_params
        Parameters that one token uses (mixture of experts).
    budget
        FLOPs for all the runs together, or a percentage of the target's: 1%.
    runs
        Runs that you have already (as for `forescale fit`).
    columns
        Of --runs: our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    set
        Of --runs: what is alike in every run and not recorded, by our name: params=124M,tokens=2.6B.
    seq_len
        Tokens per sequence (default 2048): batches are whole sequences; also of --runs, where no column says.
    out
        Write the runs to this .csv file, with an empty loss to fill in.
    json
        Print JSON (schema_version 1).
    """
    from forescale.cli._own_runs import read_own
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    from forescale.fit.calibrate import suggest as suggest_runs

    check_destinations({"--out": out}, [runs] if runs else [])
    if out is not None and out.suffix != ".csv":
        raise ForescaleError(f"--out must end in .csv; got {str(out)!r}.")
    if seq_len == 0:
        raise ForescaleError("--seq-len must be a whole number above 0; got 0.")
    target = _target(params, tokens, tokens_per_param, active_params, seq_len)
    table = read_own(runs, columns, set, seq_len=seq_len)
    found = suggest_runs(target, _budget(budget, target), runs=table, seq_len=seq_len or SEQ_LEN)
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        _print(found)
    if out is not None:
        import sys

        print(f"forescale: {write(out, _csv(found.runs).encode())} {out}", file=sys.stderr)


SEQ_LEN = 2048
COLUMNS = ("params", "active_params", "tokens", "learning_rate", "batch_tokens", "compute", "loss")


def _target(
    params: str | None, tokens: str | None, ratio: str | None, active: str | None, seq_len: int | None
) -> Workload:
    from forescale.plan import Sizes

    given = {"params": params, "tokens": tokens, "tokens_per_param": ratio, "active_params": active}
    read = {
        name: parse_quantity(text, f"--{name.replace('_', '-')}") for name, text in given.items() if text is not None
    }
    if ("tokens" in read) == ("tokens_per_param" in read):
        raise ForescaleError("suggest needs the target's --tokens or --tokens-per-param, one of them.")
    return Sizes(
        params=read.get("params"),
        active_params=read.get("active_params"),
        tokens=read.get("tokens"),
        tokens_per_param=read.get("tokens_per_param"),
        seq_len=seq_len or SEQ_LEN,
    ).workload(None)


def _budget(text: str | None, target: Workload) -> float:
    assert text is not None
    if text.strip().endswith("%"):
        return parse_quantity(text.strip()[:-1], "--budget") / 100 * target.compute
    return parse_quantity(text, "--budget")


def _print(found: Suggestion) -> None:
    from rich.text import Text

    from forescale.cli._console import make_console

    console, target = make_console(), found.target
    console.print(
        Text(
            f"target: {humanize(target.params)} parameters, {humanize(target.tokens)} tokens, {target.compute:.3g} FLOPs; "
            f"budget {found.budget:.3g} FLOPs ({found.budget / target.compute:.2%} of it)",
            style="bold",
        )
    )
    _print_cells(console, found)
    before, after = found.before, found.after
    console.print(
        Text(
            f"What {len(found.runs)} runs ({found.compute:.3g} FLOPs, {found.compute / target.compute:.2%} of the target) "
            f"will buy: the expected loss gap falls from {100 * before.loss_gap:.2g} % to {100 * after.loss_gap:.2g} %; the "
            f"best learning rate known to {after.learning_rate.octaves:.2f} octaves instead of "
            f"{before.learning_rate.octaves:.2f}, the batch to {after.batch_tokens.octaves:.2f} instead of "
            f"{before.batch_tokens.octaves:.2f} (one s.d.)."
        )
    )
    for note in found.notes:
        console.print(Text(f"{note}."), style="dim")


def _print_cells(console: Console, found: Suggestion) -> None:
    from forescale.cli._console import Column, left_out, make_table

    columns = [
        Column(name="N", justify="right"),
        Column(name="D", justify="right"),
        Column(name="runs", justify="right"),
        Column(name="learning rates", fold=24),
        Column(name="batches (tokens)", fold=20),
        Column(name="FLOPs", justify="right", drop=1),
        Column(name="expected gap", justify="right"),
    ]
    rows = [
        [
            humanize(cell.runs[0].params),
            humanize(cell.runs[0].tokens),
            str(len(cell.runs)),
            ", ".join(f"{rate:.2e}" for rate in sorted({run.learning_rate for run in cell.runs})),
            ", ".join(humanize(batch) for batch in sorted({run.batch_tokens for run in cell.runs})),
            f"{cell.compute:.2e}",
            f"{100 * cell.loss_gap:.2f} %",
        ]
        for cell in found.cells
    ]
    table, dropped = make_table(console, columns, rows)
    console.print(table)
    if dropped:
        console.print(left_out(dropped), style="dim")


def _csv(runs: tuple[SuggestedRun, ...]) -> str:
    """The runs as a table for `read_runs`, the loss empty."""
    rows = (",".join(f"{getattr(run, name):.10g}" for name in COLUMNS[:-1]) + "," for run in runs)
    return "\n".join([",".join(COLUMNS), *rows]) + "\n"
