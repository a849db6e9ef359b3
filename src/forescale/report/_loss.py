"""The page about a fitted loss law."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize
from forescale.report._parts import Figure, Number, Row, Table, facts, figure, number, rare_first, render

if TYPE_CHECKING:
    from forescale.fit.loss import LossEvidence, LossFit
    from forescale.runs import Runs


def loss_report(runs: Runs, fit: LossFit, *, law_file: str = "law.toml") -> str:
    """A self-contained page of HTML about a loss law fitted to `runs`; nothing in it is loaded from elsewhere.

    `law_file` is the file that the commands on the page name. Raises `ForescaleError` where the runs are not those of
    the fit.
    """
    from forescale.fit.loss import loss_evidence
    from forescale.laws import law_toml

    shown = loss_evidence(runs, fit)
    document = fit.to_json()
    return render(
        "loss.html",
        title=fit.law.title,
        fit=fit,
        formula=fit.law.formula("loss").text(),
        warnings=rare_first(fit.warnings),
        held_out=_held_out(document),
        rms=number(100 * fit.rms, "{:.2f}"),
        objective=number(fit.objective),
        verdict=_verdict(document),
        runs=_runs(runs),
        fit_figure=_fit_figure(shown),
        residual_figures=list(_residual_figures(shown)),
        constants_figure=_constants_figure(fit, shown),
        constants=_constants(document, shown),
        optima=_optima(document),
        conditions=list(_conditions(fit, shown)),
        toml=law_toml(fit.law),
        law_file=law_file,
        commands=_commands(fit, law_file),
    )


def _held_out(document: Mapping[str, Any]) -> dict[str, Number] | None:
    """The extrapolation's numbers, errors in per cent."""
    held = document["extrapolation"]
    if held is None:
        return None
    errors = {key: number(100 * held[key], "{:+.2f}") for key in ("bias", "bias_low", "bias_high")}
    return {**errors, "runs": number(held["held_out"], "{:.0f}"), "factor": number(held["factor"], "{:.3g}")}


def _verdict(document: Mapping[str, Any]) -> Table:
    rows: list[Row] = [("all runs, fitted to them", number(100 * document["rms"], "{:.2f}"), "", "", "")]
    if (held := document["extrapolation"]) is not None:
        bias = [number(100 * held[key], "{:+.2f}") for key in ("bias", "bias_low", "bias_high")]
        what = f"the {held['held_out']} most expensive runs, fitted without them"
        rows.append((what, number(100 * held["rms"], "{:.2f}"), *bias))
    head = ("runs", "rms", "mean error", "from", "to, by constants as good")
    caption = "Error of the predicted loss in per cent (of ln predicted / measured)."
    return Table(caption=caption, head=head, rows=rows, strong=(len(rows) - 1,))


def _runs(runs: Runs) -> Table:
    counts = (("rows read", runs.read), ("without a loss", runs.missing_loss), ("diverged", runs.diverged))
    pairs: list[tuple[str, str | Number]] = [(name, number(n, "{:.0f}")) for name, n in counts]
    return facts("The runs.", [*pairs, *((f"{ours} is read from", theirs) for ours, theirs in runs.columns.items())])


def _fit_figure(shown: LossEvidence) -> Figure:
    from forescale.plots import loss_fit_chart

    return figure(loss_fit_chart(shown), "fitted", f"Predicted against measured loss of {len(shown.measured)} runs.")


def _residual_figures(shown: LossEvidence) -> Iterator[Figure]:
    from forescale.plots import loss_residual_chart

    for name, values in shown.inputs.items():
        if values.max() > values.min():
            alt = f"Error of the predicted loss in per cent against {name}."
            yield figure(loss_residual_chart(shown, name), f"residual-{name}", alt)


def _constants_figure(fit: LossFit, shown: LossEvidence) -> Figure:
    from forescale.plots import loss_constants_chart

    alt = "Each constant's 80 % interval and its range within 5 % of the objective, over its fitted value."
    return figure(loss_constants_chart(fit, shown.published), "constants", alt)


def _constants(document: Mapping[str, Any], shown: LossEvidence) -> Table:
    rows: list[Row] = []
    for name, p in document["parameters"].items():
        own = [number(p[key]) for key in ("value", "stderr", "low", "high")]
        spread = [number(end) for end in document["spread"][name]]
        rows.append((name, *own, *spread, *(number(c[name]) for c in shown.published.values())))
    head = (
        *("constant", "value", "standard error", "80 % low", "80 % high", "as good: low", "as good: high"),
        *(f"{name}, published" for name in shown.published),
    )
    caption = (
        "Constants, with 80 % intervals from the bootstrap and the range that each takes within 5 % of the objective, the "
        "others refitted."
    )
    return Table(caption=caption, head=head, rows=rows)


def _optima(document: Mapping[str, Any]) -> Table:
    names = list(document["parameters"])
    rows: list[Row] = [
        (f"{i}", number(o["objective"]), *(number(o["constants"][name]) for name in names))
        for i, o in enumerate(document["optima"], 1)
    ]
    caption = "Local optima, up to twice the objective of the best (mean Huber loss)."
    return Table(caption=caption, head=("optimum", "objective", *names), rows=rows, strong=(0,))


def _conditions(fit: LossFit, shown: LossEvidence) -> Iterator[Table]:
    rows: list[Row] = [(axis, _ends(axis, low), _ends(axis, high)) for axis, (low, high) in fit.law.range.items()]
    yield Table(caption="The range on which the law was measured.", head=("axis", "from", "to"), rows=rows)
    import numpy as np

    from forescale import __version__

    origin: list[tuple[str, str | Number]] = [
        ("runs", fit.law.source.reference),
        ("SHA-256 of the numbers fitted", shown.sha256),
        ("fitted by", f"{fit.law.source.place}, forescale {__version__}, numpy {np.__version__}"),
        *((f"note {i}", note) for i, note in enumerate(fit.law.notes, 1)),
    ]
    yield facts("Where it comes from.", origin)


def _ends(axis: str, value: float) -> Number:
    return number(value, None if axis in ("compute", "sparsity") else humanize)


def _commands(fit: LossFit, law_file: str) -> str:
    """What to type; a plan by compute needs a law of parameters and tokens."""
    law = shlex.quote(f"loss={law_file}")
    params, tokens = (fit.law.range.get(axis, (0.0, 0.0))[1] for axis in ("params", "tokens"))
    if not (params and tokens):
        return f"forescale laws {shlex.quote(law_file)}"
    return f"forescale plan --params {humanize(params)} --tokens {humanize(tokens)} --seq-len 2048 --law {law}"
