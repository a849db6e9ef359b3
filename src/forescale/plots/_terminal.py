"""A law drawn in the terminal: log-log, one line for each of three sizes, solid where it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws import SYMBOLS, Law, spell

# Where a law states no range, and for inputs that are neither axis nor line.
USUAL = {
    "params": (1e8, 1e10),
    "active_params": (1e8, 1e10),
    "nonzero_params": (1e8, 1e10),
    "tokens": (1e9, 1e12),
    "unique_tokens": (1e12, 1e12),
    "tokens_per_param": (10.0, 1000.0),
    "compute": (1e18, 1e23),
    "loss": (2.0, 4.0),
    "batch_tokens": (1e5, 1e7),
    "flops_per_token": (6e8, 6e10),
    "width": (512.0, 8192.0),
    "active_share": (0.05, 1.0),
    "sparsity": (0.5, 0.5),
}
AXES = ("tokens", "tokens_per_param", "params", "compute", "loss", "batch_tokens", "width")
LINES = ("params", "nonzero_params", "flops_per_token", "tokens", "batch_tokens")
POINTS = 120
MARKERS = ("hd", "braille", "dot")


def law_curve(law: Law, quantity: str, *, width: int = 78, height: int = 18) -> str:
    """The law's `quantity` over one decade beyond its measured range on each side; '' where nothing can be drawn."""
    plotext = _plotext()
    if law.kind == "rule":
        return _ratio_curve(law, quantity, width, height)
    axis, line = _axes(law, quantity)
    low, high = _range(law, axis)
    stretch = 10.0 if axis not in ("loss", "tokens_per_param") else 2.0
    xs = _spaced(low / stretch, high * stretch)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    drawn: list[float] = []
    for marker, (label, fixed) in zip(MARKERS, _lines(law, axis, line), strict=False):
        points = [(x, y) for x in xs if (y := _value(law, quantity, {**fixed, axis: x})) is not None]
        if points:
            drawn += [y for _, y in points]
            plotext.plot(
                [math.log10(x) for x, _ in points], [math.log10(y) for _, y in points], label=label, marker=marker
            )
    if not drawn:
        return ""
    for edge in filter(None, law.range.get(axis, ())):
        plotext.vline(math.log10(edge), "gray")
    _ticks(plotext.xticks, min(xs), max(xs), "width" if axis == "width" else "")
    _ticks(plotext.yticks, min(drawn), max(drawn))
    measured = "; measured between the upright lines" if axis in law.range else ""
    plotext.title(f"{law.name}: {quantity}")
    plotext.xlabel(f"{axis} ({SYMBOLS.get(axis, axis)}), log scale{measured}")
    return plotext.uncolorize(plotext.build())


def _plotext() -> Any:
    """The plotting library, untyped; imported when something is drawn."""
    return import_module("plotext")


def _ratio_curve(law: Law, quantity: str, width: int, height: int) -> str:
    """A rule: the factor on the reference run's value against the factor on each of its inputs."""
    plotext = _plotext()
    formula = law.formula(quantity)
    own = [n for n in formula.inputs if f"reference_{n}" in formula.inputs]
    value_there = f"reference_{quantity}"
    run = dict.fromkeys(formula.inputs, 1.0) | {value_there: 0.95 if quantity.startswith("beta") else 1.0}
    xs = _spaced(1 / 16, 16)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    ys: list[float] = []
    for marker, name in zip(MARKERS, own, strict=False):
        line = [float(formula.evaluate(run | {name: x})) / run[value_there] for x in xs]
        ys += line
        plotext.plot([math.log10(x) for x in xs], [math.log10(y) for y in line], label=name, marker=marker)
    _ticks(plotext.xticks, xs[0], xs[-1])
    _ticks(plotext.yticks, min(ys), max(ys))
    plotext.title(f"{law.name}: factor on the reference run's {quantity}")
    plotext.xlabel("factor on the reference run's input, the others equal; log scale")
    return plotext.uncolorize(plotext.build())


def _range(law: Law, axis: str) -> tuple[float, float]:
    """The measured range, with the usual lower end where the law states only an upper one."""
    usual = USUAL.get(axis, (1.0, 10.0))
    low, high = law.range.get(axis, usual)
    return (low or min(usual[0], high / 10)), high


def _spaced(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS)]


def _axes(law: Law, quantity: str) -> tuple[str, str | None]:
    inputs = law.formula(quantity).inputs
    axis = next((a for a in AXES if a in inputs), inputs[0])
    return axis, next((n for n in LINES if n in inputs and n != axis), None)


def _lines(law: Law, axis: str, line: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Up to three settings of every input but the axis, with a label each."""
    fixed: dict[str, Any] = {n: math.sqrt(math.prod(_range(law, n))) for n in {**USUAL, **law.range} if n != axis}
    if line is None:
        yield "", fixed
        return
    low, high = _range(law, line)
    for value in dict.fromkeys((low, math.sqrt(low * high), high)):
        yield f"{SYMBOLS.get(line, line)} = {spell(line, value)}", {**fixed, line: value}


def _value(law: Law, quantity: str, x: dict[str, Any]) -> float | None:
    params, tokens = x.get("params"), x.get("tokens")
    if params and tokens:
        x = {"compute": 6 * params * tokens, **x} if "compute" not in law.range else x
    try:
        return float(law.predict(quantity, **x))
    except (ForescaleError, OverflowError):
        return None


def _ticks(set_ticks: Any, low: float, high: float, variable: str = "") -> None:
    count = 5
    ticks = [math.log10(low) + (math.log10(high) - math.log10(low)) * i / (count - 1) for i in range(count)]
    set_ticks(ticks, [spell(variable, 10**t) if 10**t >= 1 else f"{10**t:.2g}" for t in ticks])
