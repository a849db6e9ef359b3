"""MkDocs hook: one page for each law of the catalog, an index of them, and the conventions; written at build time."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from forescale.laws import Formula, Landscape, Law, conventions, law, names
from forescale.quantities import humanize

KINDS = {
    "hyperparameters": ("Hyperparameter laws", "Learning rate, batch size, weight decay: what to choose."),
    "loss": ("Loss laws", "What loss to expect, and how to split compute between parameters and tokens."),
    "rule": ("Rules", "How to scale a run that you already have; they need a reference run."),
}
EVIDENCE = {
    "primary": "checked against the paper's own text, code or data",
    "secondary": "read in a text that quotes the paper",
    "computed": "computed from released data",
    "unverified": "not verified: shipped for comparison, never a default",
}
Row = tuple[str, ...]


def catalog() -> list[Law]:
    """Every law, by title."""
    return sorted((law(name) for name in names()), key=lambda one: one.title.casefold())


def pages() -> dict[str, str]:
    """Path below `docs/` -> Markdown of every generated page."""
    return {
        "laws/index.md": index(),
        **{f"laws/{one.name}.md": page(one) for one in catalog()},
        "laws/conventions.md": conventions_page(),
    }


def index() -> str:
    """The catalog as tables, one for each kind of law."""
    lines = [
        "# The catalog of laws",
        "",
        "Every constant of the package lives in a catalog file; these pages are written from those files when the site "
        "is built. `forescale laws` prints the same in a terminal.",
        "",
    ]
    for kind, (title, lead) in KINDS.items():
        rows = [
            (f"[{one.title}]({one.name}.md)", _codes(one.predicts), one.experts, _range(one), one.source.evidence)
            for one in catalog()
            if one.kind == kind
        ]
        if rows:
            table = _table(("Law", "Predicts", "Experts", "Measured on", "Evidence"), rows)
            lines += [f"## {title}", "", lead, "", *table, ""]
    lines += ["What no law predicts is a [convention](conventions.md).", "", "## Evidence", ""]
    return "\n".join([*lines, *_table(("Label", "Meaning"), EVIDENCE.items()), ""])


def page(one: Law) -> str:
    """Everything the catalog knows about one law."""
    lines = [f"# {one.title}", "", *_facts(one), ""]
    for formula in one.predicts.values():
        lines += _formula(formula)
    for title, table in (
        ("Measured range", _table(("Axis", "From", "To"), _interval_rows(one.range))),
        (
            "Conditions",
            _table(("Condition", "As measured"), ((_words(k), _text(v)) for k, v in one.conditions.items())),
        ),
        ("Error on other labs' runs", _table(("Quantity", "Octaves", "Measured on"), _transfer_rows(one))),
        ("Do not combine with", _table(("Law", "Why"), ((_link(k), _text(v)) for k, v in one.conflicts.items()))),
    ):
        if table:
            lines += [f"## {title}", "", *table, ""]
    if one.landscape is not None:
        lines += _landscape(one.landscape)
    if one.notes:
        lines += ["## Notes", "", *(f"- {_text(note)}" for note in one.notes), ""]
    return "\n".join(lines)


def conventions_page() -> str:
    """The values that no law predicts."""
    rows = [
        (f"`{name}`", _number(c.value), _seen(c.low, c.high), f"{_text(c.reason)}. *{_text(c.source)}*", c.evidence)
        for name, c in conventions().items()
    ]
    lead = "Values that no scaling law predicts: what published recipes use, and what sweeps found best."
    head = ("Name", "Value", "Seen", "Why", "Evidence")
    return "\n".join(["# Conventions", "", lead, "", *_table(head, rows), ""])


def _facts(one: Law) -> list[str]:
    reference = one.source.reference
    if reference.startswith("arXiv:"):
        reference = f"[{reference}](https://arxiv.org/abs/{reference.removeprefix('arXiv:')})"
    elif reference.startswith("https:"):
        reference = f"<{reference}>"
    rows = [
        (
            "Source",
            f"{_text(one.source.paper)}, {reference}{'; ' if one.source.place else ''}{_text(one.source.place)}",
        ),
        ("Evidence", f"{one.source.evidence}: {EVIDENCE[one.source.evidence]}"),
        ("Models", {"dense": "dense", "moe": "mixture of experts", "any": "dense and mixture of experts"}[one.experts]),
        ("N counts", {"all": "all parameters"}.get(one.params_means, _parameters(one.params_means))),
        ("C counts", one.compute_means),
    ]
    return _table(("Name", f"`{one.name}`"), rows)


def _formula(formula: Formula) -> list[str]:
    lines = [f"## {_words(formula.quantity)}", "", "```text", f"{formula.quantity} = {formula.text()}", "```", ""]
    unit = f"{formula.unit}, ×{_number(formula.unit_size)} here" if formula.unit_size != 1 else formula.unit
    inputs = (f"`{n}` in units of {humanize(size)}" for n, size in formula.input_units.items())
    facts = [_sentence("Unit", filter(None, [unit])), _sentence("Inputs", inputs), f"Evidence: {formula.evidence}."]
    lines += [" ".join(f for f in facts if f), ""]
    head, rows = ("Constant", "Value", "Uncertainty"), _constant_rows(formula)
    lines += [*_table(head, rows), ""] if rows else []
    if formula.unverified:
        lines += [f'!!! warning "Not verified"\n    {_codes(formula.unverified)}', ""]
    return [*lines, _text(formula.note), ""] if formula.note else lines


def _constant_rows(formula: Formula) -> list[Row]:
    sd = {
        n: math.sqrt(row[i]) for i, (n, row) in enumerate(zip(formula.covariance_of, formula.covariance, strict=True))
    }
    rows: list[Row] = []
    for prefix, values in (("", formula.constants), ("exponent of ", formula.exponents)):
        for name, value in values.items():
            spread = ""
            if name in formula.intervals:
                spread = "80 % in {:g} to {:g}".format(*formula.intervals[name])
            elif name in sd:
                spread = f"± {sd[name]:.2g}"
            elif f"log {name}" in sd:
                spread = f"×/÷ {math.exp(sd[f'log {name}']):.3g}"
            rows.append((f"{prefix}`{name}`", _number(value), spread))
    return rows


def _landscape(landscape: Landscape) -> list[str]:
    slices = {"learning_rate": landscape.learning_rate, "batch_tokens": landscape.batch_tokens}
    gaps = {name: dict(zip(s.octaves, s.loss_gap, strict=True)) for name, s in slices.items()}
    octaves = sorted({o for gap in gaps.values() for o in gap})
    rows = [(_factor(o), *(f"{100 * gap[o]:.3g} %" if o in gap else "" for gap in gaps.values())) for o in octaves]
    head = ("Factor on the optimum", *(f"`{name}`" for name in slices))
    lead = f"Loss gap along each axis, the other at its best ({_text(landscape.source)})."
    return ["## What missing the optimum costs", "", lead, "", *_table(head, rows), ""]


def _factor(octaves: float) -> str:
    return f"×{2**octaves:.3g}" if octaves >= 0 else f"÷{2**-octaves:.3g}"


def _transfer_rows(one: Law) -> list[Row]:
    return [(f"`{q}`", f"{e.octaves:.2f}", _text(e.measured_on)) for q, e in one.transfer_errors.items()]


def _condition_rows(one: Law) -> list[Row]:
    return [(_words(name), _text(value)) for name, value in one.conditions.items()]


def _interval_rows(intervals: Mapping[str, tuple[float, float]]) -> list[Row]:
    return [(f"`{axis}`", _number(low), _number(high)) for axis, (low, high) in intervals.items()]


def _range(one: Law) -> str:
    return ", ".join(f"`{axis}` {_seen(low, high)}" for axis, (low, high) in one.range.items())


def _number(value: float) -> str:
    return humanize(value) if 1e4 <= abs(value) < 1e15 else f"{value:g}".replace("e+", "e").replace("e-0", "e-")


def _seen(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    if low == high:
        return _number(low)
    return (
        f"up to {_number(high)}"
        if low == 0
        else f"{_number(low)} to {_number(high)}".replace(" ", "\N{NO-BREAK SPACE}")
    )


def _parameters(means: str) -> str:
    return "not stated; taken as non-vocabulary parameters" if means == "unstated" else f"{means} parameters"


def _words(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _link(name: str) -> str:
    return f"[{name}]({name}.md)" if name in names() else f"`{name}`"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{w}`" for w in words)


def _sentence(lead: str, parts: Iterable[str]) -> str:
    return f"{lead}: {text}." if (text := ", ".join(parts)) else ""


def _text(text: str) -> str:
    """Catalog text as Markdown: it is prose, so nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\*_<[" else c for c in " ".join(text.split()))


def _table(head: Row, rows: Iterable[Row]) -> list[str]:
    body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body] if body else []


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation, under "Laws"."""
    entry = next(e for e in config.nav if isinstance(e, dict) and "Laws" in e)
    entry["Laws"] = ["laws/index.md", *({o.title: f"laws/{o.name}.md"} for o in catalog()), "laws/conventions.md"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    for path, markdown in pages().items():
        files.append(File.generated(config, path, content=markdown))
    return files
