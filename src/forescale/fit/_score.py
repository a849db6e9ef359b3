"""Which published law would have been right on a sweep: the loss gap of each law's choice in every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._cells import Cell, Cells, make_cells
from forescale.fit._scores import CellGap, Score, Scores
from forescale.laws import Law, law, names, variables

if TYPE_CHECKING:
    from forescale.fit._cells import Array
    from forescale.runs import Runs

QUANTITIES = ("learning_rate", "batch_tokens")
CONSTANTS = ((3e-4, 2.0**19), (1e-3, 2.0**19), (2e-3, 2.0**19))  # what people set without a law
MOST_LEVELS = 40  # of learning rate and of batch, among which the best constant setting is sought
BEST_BATCH, BEST_RATE, BEST_LOSS = "best batch", "best learning rate", "lowest loss"


def score(runs: Runs, laws: Sequence[str | Path | Law] | None = None) -> Scores:
    """Score laws on a sweep: the loss gap of each law's learning rate and batch in every cell.

    `laws` are catalog names, paths of TOML files or values; None takes every verified hyperparameter law of the catalog
    that the runs' columns suffice for. A law that predicts one of the two is handed the best swept value of the other.
    Raises `ForescaleError` if no cell has two distinct settings, or if none of the laws named can be evaluated.
    """
    cells = make_cells(runs)
    if not runs.frame["loss"].is_finite().any():
        raise ForescaleError(
            f"all {runs.frame.height} runs of {runs.source} diverged (no loss is finite): scoring needs runs that trained."
        )
    if not cells.cells:
        raise ForescaleError(
            f"no (params, tokens) cell of {runs.source} has runs at two different learning rates or batches "
            f"({cells.alone} cells of one setting): scoring needs a sweep."
        )
    chosen, unverified = _catalog() if laws is None else (_named(laws), ())
    scored, not_applicable = score_all(cells.cells, chosen)
    if laws is not None and not scored:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_applicable.items())
        raise ForescaleError(f"none of the laws named can be scored on {runs.source}. {reasons}")
    return Scores(
        laws=tuple(sorted(scored, key=lambda s: (s.smooth.mean, s.name))),
        baselines=_baselines(cells.cells),
        floor=_floor(cells.cells),
        cells=len(cells.cells),
        not_applicable=not_applicable,
        notes=(*runs.notes, *_notes(runs, cells, unverified), *(s.held_in for s in scored if s.held_in)),
        runs=_counts(runs),
    )


def _catalog() -> tuple[list[Law], tuple[str, ...]]:
    """The catalog's laws on learning rate or batch that are verified, and the names of those that are not."""
    return catalog_laws(), tuple(each.name for each in _suited() if not _verified(each))


def catalog_laws() -> list[Law]:
    """The catalog's laws on learning rate or batch that are verified."""
    return [each for each in _suited() if _verified(each)]


def _suited() -> list[Law]:
    found = [law(name) for name in names()]
    return [each for each in found if each.kind == "hyperparameters" and _quantities(each)]


def _named(laws: Sequence[str | Path | Law]) -> list[Law]:
    return [each if isinstance(each, Law) else law(each) for each in laws]


def _quantities(each: Law) -> list[str]:
    return [q for q in QUANTITIES if q in each.predicts]


def _verified(each: Law) -> bool:
    formulas = [each.predicts[q] for q in _quantities(each)]
    return each.source.evidence != "unverified" and all(
        f.evidence != "unverified" and not f.unverified for f in formulas
    )


def score_all(cells: Sequence[Cell], laws: Iterable[Law]) -> tuple[list[Score], dict[str, str]]:
    scored: list[Score] = []
    not_applicable: dict[str, str] = {}
    for each in laws:
        name = each.name if all(s.name != each.name for s in scored) else f"{each.name} ({each.origin})"
        gaps, reason = law_gaps(cells, each)
        if gaps:
            missing = f"{len(cells) - len(gaps)} of {len(cells)} cells: {reason}" if reason else ""
            scored.append(_law_score(cells, each, name, gaps, missing))
        else:
            not_applicable[name] = reason
    return scored, not_applicable


def _law_score(cells: Sequence[Cell], each: Law, name: str, gaps: tuple[CellGap, ...], missing: str) -> Score:
    return Score(
        name=name,
        title=each.title,
        gaps=gaps,
        given=_given(each),
        evidence="verified" if _verified(each) else "unverified",
        missing=missing,
        fitted_on=each.fitted_on,
        states_range=bool(each.range),
        misfit=_misfit(cells, each),
    )


def _misfit(cells: Sequence[Cell], each: Law) -> str:
    kinds = {"moe" if cell.active_params < cell.params else "dense" for cell in cells}
    if each.experts == "any" or kinds == {each.experts}:
        return ""
    words = {"dense": "dense models", "moe": "mixtures of experts"}
    others = words["moe" if each.experts == "dense" else "dense"]
    return (
        f"a law of {words[each.experts]}, scored on {others} as well"
        if len(kinds) > 1
        else f"a law of {words[each.experts]}, scored on {others}"
    )


def _given(each: Law) -> tuple[str, ...]:
    quantities = _quantities(each)
    needs_loss = any("loss" in each.predicts[q].inputs for q in quantities)
    return (
        *((BEST_RATE,) if "learning_rate" not in quantities else ()),
        *((BEST_BATCH,) if "batch_tokens" not in quantities else ()),
        *((BEST_LOSS,) if needs_loss else ()),
    )


def law_gaps(cells: Sequence[Cell], each: Law) -> tuple[tuple[CellGap, ...], str]:
    """The gaps in the cells where the law has a value, and why it has none in the first of the others."""
    if not _quantities(each):
        return (), f"it predicts {', '.join(sorted(each.predicts))}, neither learning rate nor batch."
    gaps: list[CellGap] = []
    reason = ""
    for cell in cells:
        try:
            gaps.append(_law_gap(cell, each))
        except ForescaleError as error:
            reason = reason or str(error)
    return tuple(gaps), reason


def _law_gap(cell: Cell, each: Law) -> CellGap:
    """The gap of the law's choice; of several, of the one that is best on the linear surface."""
    x: dict[str, Any] = {**variables(cell.workload, each), "loss": cell.minimum}
    return gap_at(cell, _choices(cell, each, x), outside=each.outside(x))


def _choices(cell: Cell, each: Law, x: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Learning rates and batches that the law may mean: every swept value of what it does not predict."""
    _check_swept(cell, _quantities(each))

    def values(quantity: str, swept: Array, **more: float) -> list[float]:
        return [float(each.predict(quantity, **x, **more))] if quantity in each.predicts else swept.tolist()

    return [
        (rate, batch)
        for batch in values("batch_tokens", cell.batches)
        for rate in values("learning_rate", cell.learning_rates, batch_tokens=batch)
    ]


def _check_swept(cell: Cell, quantities: Sequence[str]) -> None:
    """A law of one quantity cannot be scored where that quantity was not swept: it would get the best of the other."""
    for quantity, swept in (("learning_rate", cell.learning_rates), ("batch_tokens", cell.batches)):
        if list(quantities) == [quantity] and len(swept) == 1:
            raise ForescaleError(f"it predicts {quantity} only, of which the sweep has one value.")


def gap_at(cell: Cell, choices: Sequence[tuple[float, float]], outside: Mapping[str, float] | None = None) -> CellGap:
    gaps = cell.gaps([rate for rate, _ in choices], [batch for _, batch in choices])
    i = int(gaps.linear.argmin())
    return CellGap(
        params=cell.params,
        active_params=cell.active_params,
        tokens=cell.tokens,
        learning_rate=choices[i][0],
        batch_tokens=choices[i][1],
        nearest=float(gaps.nearest[i]),
        linear=float(gaps.linear[i]),
        smooth=float(gaps.smooth[i]),
        clipped=bool(gaps.clipped[i]),
        outside=outside or {},
    )


def constant_score(cells: Sequence[Cell], rate: float, batch: float, title: str) -> Score:
    name = f"constant lr={rate:.4g}, batch={batch:.0f}"
    return Score(name=name, title=title, gaps=tuple(gap_at(cell, [(rate, batch)]) for cell in cells))


def _baselines(cells: Sequence[Cell]) -> tuple[Score, ...]:
    usual = [constant_score(cells, rate, batch, "a constant setting") for rate, batch in CONSTANTS]
    rate, batch = best_constant(cells)
    return (*usual, constant_score(cells, rate, batch, "the best constant setting in hindsight"))


def best_constant(cells: Sequence[Cell]) -> tuple[float, float]:
    """The swept rate and batch of the lowest linear mean, among those inside every cell's box if there are any."""
    import numpy as np

    rates, batches = (
        np.unique(np.round(np.concatenate([getattr(cell, axis) for cell in cells]), digits)).tolist()
        for axis, digits in (("learning_rates", 12), ("batches", 3))
    )
    grid = [(rate, batch) for rate in _thinned(rates) for batch in _thinned(batches)]
    read = [cell.gaps([r for r, _ in grid], [b for _, b in grid]) for cell in cells]
    clipped = np.sum([gaps.clipped for gaps in read], axis=0)
    means = np.mean([gaps.linear for gaps in read], axis=0)
    inside = clipped == 0
    return grid[int(np.where(inside | ~inside.any(), means, np.inf).argmin())]


def _thinned(levels: Sequence[float]) -> Sequence[float]:
    """At most `MOST_LEVELS` of them, evenly spread: sweeps around each cell's own guess share no grid."""
    step = -(-len(levels) // MOST_LEVELS)
    return levels[::step]


def _floor(cells: Sequence[Cell]) -> Score:
    gaps = tuple(gap_at(cell, [cell.smooth_optimum()]) for cell in cells)
    return Score(name="floor", title="each cell's own smooth minimum", gaps=gaps)


def _counts(runs: Runs) -> dict[str, Any]:
    return {
        "source": runs.source,
        "read": runs.read,
        "missing_loss": runs.missing_loss,
        "unfinished": runs.unfinished,
        "diverged": runs.diverged,
        "columns": dict(runs.columns),
    }


def _notes(runs: Runs, cells: Cells, unverified: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the scores has to know about the runs and the cells."""
    notes = (
        (runs.missing_loss, "{} without a loss dropped", "run"),
        (
            runs.diverged,
            "{} diverged (loss above 1.5 times the lowest of the cell): on the nearest and linear surfaces, not on "
            "the smooth one",
            "run",
        ),
        (cells.repeated, "{} at a setting that its cell has already: the lowest loss counts", "run"),
        (cells.alone, "{} of a single setting left out", "cell"),
        *_cell_notes(cells.cells),
    )
    texts = [
        text.format(f"{count} {noun}" if count == 1 else f"{count} {noun}s") for count, text, noun in notes if count
    ]
    if len(cells.cells) == 1:
        texts.append("one cell only: mean, median and max are that cell's gap")
    if unverified:
        texts.append(f"not verified, scored only when named: {', '.join(unverified)}")
    return tuple(texts)


def _cell_notes(cells: Sequence[Cell]) -> tuple[tuple[int, str, str], ...]:
    return (
        (
            sum(cell.on_edge for cell in cells),
            "{} with the best run on the edge of the sweep: the optimum may lie beyond, and gaps are lower bounds "
            "there",
            "cell",
        ),
        (
            sum(len(cell.batches) == 1 for cell in cells),
            "{} with one batch only: any other batch counts as outside the sweep",
            "cell",
        ),
        (
            sum(not cell.has_smooth for cell in cells),
            "{} with too few runs near the minimum for a smooth surface: the linear one stands in",
            "cell",
        ),
    )
