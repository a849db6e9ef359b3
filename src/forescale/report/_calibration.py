"""The section about a calibration: what was believed before the runs, and after them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forescale.report._extras import Calibration, Coefficients, Interval
from forescale.report._parts import QUANTITIES, Figure, Row, Table, figure, number, symbol

BEFORE, AFTER = "before these runs", "after these runs"


def calibration_section(calibration: Calibration) -> dict[str, Any]:
    """Note, figures and tables."""
    return {
        "note": calibration.note,
        "figures": list(_figures(calibration)),
        "table": _table(calibration),
        "labs": _labs(calibration) if calibration.labs else None,
    }


def _sources(calibration: Calibration) -> dict[str, Coefficients]:
    return {**calibration.labs, BEFORE: calibration.prior, AFTER: calibration.posterior}


def _names(calibration: Calibration) -> list[tuple[str, str]]:
    return [(quantity, name) for quantity, said in calibration.posterior.items() for name in said]


def _find(said: Coefficients, quantity: str, name: str) -> Interval | None:
    return said.get(quantity, {}).get(name)


def _label(quantity: str, name: str) -> str:
    return f"{QUANTITIES.get(quantity, quantity)}: {symbol(name)}"


def _figures(calibration: Calibration) -> Iterator[Figure]:
    """A picture a coefficient: every lab, and both sides of the runs."""
    from forescale.fit import Estimate
    from forescale.plots import coefficient_chart

    for i, (quantity, name) in enumerate(_names(calibration)):
        found = {source: _find(said, quantity, name) for source, said in _sources(calibration).items()}
        rows = {k: Estimate(value=v.value, low=v.low, high=v.high) for k, v in found.items() if v is not None}
        label = _label(quantity, name)
        drawn = coefficient_chart(rows, AFTER, label)
        yield figure(
            drawn, f"calibration{i}", f"{label} of each lab, before and after these runs, with 80 % intervals."
        )


def _table(calibration: Calibration) -> Table:
    sides = (calibration.prior, calibration.posterior)
    rows = [
        (_label(quantity, name), *(v for said in sides for v in _three(_find(said, quantity, name))))
        for quantity, name in _names(calibration)
    ]
    head = ("coefficient", "before", "80 % low", "80 % high", "after", "80 % low", "80 % high")
    return Table(caption="Coefficients before and after these runs, with 80 % intervals.", head=head, rows=rows)


def _three(interval: Interval | None) -> Row:
    if interval is None:
        return ("", "", "")
    return tuple(number(v) for v in (interval.value, interval.low, interval.high))


def _labs(calibration: Calibration) -> Table:
    names, sources = _names(calibration), _sources(calibration)
    rows = [(source, *(_text(_find(said, *name)) for name in names)) for source, said in sources.items()]
    caption = "Each lab's own coefficients, with 80 % intervals."
    head = ("lab", *(_label(*name) for name in names))
    return Table(caption=caption, head=head, rows=rows, strong=(len(rows) - 1,))


def _text(interval: Interval | None) -> str:
    if interval is None:
        return ""
    ends = (f"{v:.3g}".replace("-", "\u2212") for v in (interval.value, interval.low, interval.high))
    return "{} ({} to {})".format(*ends)
