"""`forescale fit --isoflop`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.cli._outputs import write
from forescale.quantities import humanize

if TYPE_CHECKING:
    from rich.console import Console

    from forescale.fit.loss import Budget, IsoFlops, Parameter, Powers

BEYOND = {"smallest": "< ", "largest": "> ", "inside": ""}  # before N: below the smallest, above the largest trained


def fit_isoflop(
    runs: Path,
    family: str,
    columns: str | None,
    json: bool,
    out: Path | None,
    picture: Path | None,
    *,
    constants: str | None = None,
    keep_unfinished: bool = False,
    groups: str | None,
    bootstraps: int,
    seed: int,
) -> None:
    """Fit the budgets of an iso-FLOP set, print their optima, draw them and save the law behind them."""
    from forescale.cli._own_runs import read
    from forescale.fit.loss import fit_isoflops
    from forescale.laws import save_law

    table = read(runs, columns, constants, keep_unfinished=keep_unfinished, needs=("params", "loss"))
    found = fit_isoflops(table, family, groups=groups or "params", bootstraps=bootstraps, seed=seed)
    drawn = None if picture is None else _draw(found, table.source, picture)
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        _print(found, table.source)
    sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if out is not None:
        save_law(found.fit.law, out)
        print(f"forescale: wrote {out}", file=sys.stderr)
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _draw(found: IsoFlops, source: str, picture: Path) -> bytes:
    from forescale.plots import isoflop_chart, picture_bytes

    return picture_bytes(isoflop_chart(found, source=source), picture)


def _print(found: IsoFlops, source: str) -> None:
    console = make_console()
    many = f"{len(found.budgets)} compute budget{'s' if len(found.budgets) > 1 else ''}"
    console.print(f"{source}: {many}, {found.fit.runs} runs fitted", style="bold", markup=False)
    console.print(
        f"law: {found.fit.law.formula('loss').text()}, rms {100 * found.fit.rms:.2f} %", markup=False, soft_wrap=True
    )
    console.print()
    dropped = _print_budgets(console, found)
    console.print()
    for line in (*_powers(found), left_out(dropped), *(f"! {warning}." for warning in found.warnings)):
        if line:
            console.print(line, markup=False)


def _print_budgets(console: Console, found: IsoFlops) -> tuple[str, ...]:
    columns = (
        Column(name="budget\n(FLOPs)"),
        Column(name="runs", justify="right", drop=3),
        Column(name="N*\n(law)", justify="right"),
        Column(name="D*\n(law)", justify="right", drop=2),
        Column(name="D*/N*\n(law)", justify="right"),
        Column(name="80 %"),
        Column(name="D*/N*\n(parabola)", justify="right"),
        Column(name="80 %"),
        Column(name="bias of\nparabola", justify="right"),
        Column(name="optimum seen", fold=12, drop=1),
    )
    table, dropped = make_table(console, columns, [_row(budget) for budget in found.budgets])
    console.print(table)
    return dropped


def _row(budget: Budget) -> tuple[str, ...]:
    law, parabola = budget.law, budget.parabola
    return (
        f"{budget.compute:.3g}",
        str(len(budget.shelf.loss)),
        f"{BEYOND[law.edge]}{humanize(law.params.value)}",
        humanize(law.tokens.value),
        f"{law.tokens_per_param.value:.3g}",
        _interval(law.tokens_per_param),
        "none" if parabola is None else f"{parabola.tokens_per_param.value:.3g}",
        "" if parabola is None else _interval(parabola.tokens_per_param),
        f"x {budget.bias:.2f}",
        "yes" if budget.seen else f"no: {_unseen(budget)}",
    )


def _unseen(budget: Budget) -> str:
    """Who puts the optimum at or beyond which end of the sizes."""
    places = {"best run": budget.best, "law": budget.law.edge}
    places["parabola"] = budget.parabola.edge if budget.parabola is not None else "none"
    return ", ".join(f"{name} {place}" for name, place in places.items() if place != "inside")


def _interval(p: Parameter) -> str:
    return "unknown" if isnan(p.low) else f"{p.low:.3g} to {p.high:.3g}"


def _powers(found: IsoFlops) -> Iterator[str]:
    for name, powers in (("law", found.law), ("parabola", found.parabola)):
        if powers is not None:
            yield f"{name}, {powers.budgets} budgets: {_exponents(powers)}"
    if found.parabola_bias is not None:
        yield f"the parabolas of the law's own losses add {found.parabola_bias:+.3f} to its exponent of N*"


def _exponents(powers: Powers) -> str:
    parts = (("N*", powers.params), ("D*", powers.tokens), ("D*/N*", powers.tokens_per_param))
    return ", ".join(f"{name} ~ C^{p.value:.3f} ({_interval(p)})" for name, p in parts)
