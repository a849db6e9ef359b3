"""`forescale laws`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag

if TYPE_CHECKING:
    from forescale.cli._console import Column
    from forescale.laws import Formula, Law


def laws(name: str | None = None, /, *, json: Flag = False, plot: bool = True) -> None:
    """List the laws, or show one with its constants, conditions, measured range, source and a plot.

    Parameters
    ----------
    name
        A law of the catalog, or a TOML file of your own; without it, all are listed.
    json
        Print JSON.
    plot
        Draw the law in the terminal.
    """
    from forescale.laws import law, names

    if name is None:
        listed = [law(n) for n in names()]
        if json:
            _print_json([_as_json(one) for one in listed])
        else:
            _list(listed)
        return
    shown = law(name)
    if json:
        _print_json(_as_json(shown))
    else:
        _show(shown, plot)


def _as_json(law: Law) -> dict[str, Any]:
    return asdict(law) | {"formulas": {q: f.text() for q, f in law.predicts.items()}}


def _print_json(document: object) -> None:
    import json

    print(json.dumps(document, indent=2, default=dict))


def _list(listed: list[Law]) -> None:
    from forescale.cli._console import make_console, make_table

    console = make_console()
    for kind, title in (
        ("hyperparameters", "hyperparameter laws"),
        ("rule", "rules that scale a reference run"),
        ("loss", "loss laws"),
    ):
        table, _ = make_table(
            console, _columns(), [_row(o) for o in listed if o.kind == kind], title=title, title_style="bold"
        )
        console.print(table)
        console.print()
    console.print("unverified laws are used only when named; `forescale laws NAME` shows one.")


def _columns() -> tuple[Column, ...]:
    from forescale.cli._console import Column

    folds = {"law": 0, "predicts": 18, "models": 0, "measured on": 18, "evidence": 12}
    return tuple(Column(name=name, fold=fold) for name, fold in folds.items())


def _row(law: Law) -> tuple[str, ...]:
    return law.name, ", ".join(law.predicts), law.experts, law.range_text() or "not stated", _evidence(law)


def _evidence(law: Law) -> str:
    kinds = dict.fromkeys(f.evidence for f in law.predicts.values())
    if len(kinds) == 1:
        return next(iter(kinds))
    named = dict.fromkeys(
        f"{f.evidence} ({q})" if f.evidence == "unverified" else f.evidence for q, f in law.predicts.items()
    )
    return ", ".join(named)


def _show(law: Law, plot: bool) -> None:
    from rich.text import Text

    from forescale.cli._console import make_console

    console = make_console()
    console.print(Text.assemble((law.title, "bold"), f"  ({law.name}, {law.kind}, {law.experts} models, {law.origin})"))
    place = f", {law.source.place}" if law.source.place else ""
    console.print(Text(f"{law.source.paper}, {law.source.reference}{place} [{law.source.evidence}]"))
    for quantity, formula in law.predicts.items():
        for line in _formula_lines(quantity, formula):
            console.print(Text(line))
    console.print(Text(f"N counts        {law.params_means} parameters; C is {law.compute_means}"))
    console.print(Text(f"measured on     {law.range_text() or 'not stated'}"))
    for key, value in law.conditions.items():
        console.print(Text(f"{key:<15} {value}"))
    for quantity, error in law.transfer_errors.items():
        console.print(Text(f"on other labs   {quantity}: {error.octaves:.2g} octaves off ({error.measured_on})"))
    for other, reason in law.conflicts.items():
        console.print(Text(f"never with      {other}: {reason}"))
    for note in law.notes:
        console.print(Text(f"note            {note}"))
    if plot:
        _draw(law)


def _formula_lines(quantity: str, formula: Formula) -> list[str]:
    unit = f" [{formula.unit}]" if formula.unit else ""
    lines = [f"\n{quantity} = {formula.text()}{unit} ({formula.evidence})"]
    if formula.unverified:
        lines.append(f"  unverified: {', '.join(formula.unverified)}; used only when you name this law")
    if formula.note:
        lines.append(f"  {formula.note}")
    if formula.covariance:
        sds = ", ".join(f"{n} {formula.covariance[i][i] ** 0.5:.3g}" for i, n in enumerate(formula.covariance_of))
        lines.append(f"  standard errors: {sds} (with covariance)")
    lines += [f"  {n}: 80 % interval {low:g} to {high:g}" for n, (low, high) in formula.intervals.items()]
    return lines


def _draw(law: Law) -> None:
    import shutil

    from forescale.plots import law_curve

    width = min(shutil.get_terminal_size().columns, 100)
    for quantity in law.predicts:
        if curve := law_curve(law, quantity, width=width):
            print(f"\n{curve}")
