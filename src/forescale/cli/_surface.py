"""`forescale fit --surface` and `forescale score --surface`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.fit.surface import Fit, Surface, SurfaceScore
    from forescale.runs import Runs

GAPS = (0.0025, 0.005, 0.01)


def fit_and_print(runs: Runs, out: Path | None, *, json: bool, seed: int) -> None:
    """Fit a surface to `runs`, print it with its score on those runs, and save it to `out`."""
    from forescale.fit.surface import fit_surface, save_surface, score_surface

    surface = fit_surface(runs, name=out.stem if out is not None else "surface", seed=seed)
    scored = score_surface(runs, surface)
    if json:
        from json import dumps

        print(dumps(surface_json(surface, scored), indent=2, allow_nan=False))
    else:
        _print_fit(surface, scored)
    if out is not None:
        save_surface(surface, out)
        print(f"forescale: wrote {out}", file=sys.stderr)


def score_and_print(runs: Runs, path: Path, *, json: bool, cells: bool) -> None:
    """Score the surface in the file `path` on `runs`."""
    from forescale.fit.surface import load_surface, score_surface

    scored = score_surface(runs, load_surface(path))
    if json:
        from json import dumps

        print(dumps(scored.to_json(), indent=2, allow_nan=False))
    else:
        _print_score(scored, cells=cells)


def surface_json(surface: Surface, scored: SurfaceScore) -> dict[str, Any]:
    """The surface in plain JSON types, with its score on the runs it was fitted to."""
    spread = [surface.covariance[i][i] ** 0.5 for i in range(len(surface.covariance))]
    score = scored.to_json()
    return {
        "schema_version": 1,
        "name": surface.name,
        "fitted_on": surface.fitted_on,
        "parameters": {
            name: {"value": value, "stderr": error, "held": name in surface.held}
            for (name, value), error in zip(surface.parameters.items(), spread, strict=True)
        },
        "reference": vars(surface.reference),
        "edge": vars(surface.edge),
        "cell_error": surface.cell_error,
        "noise_scale": surface.noise_scale,
        "inflation": surface.inflation,
        "range": {axis: list(ends) for axis, ends in surface.range.items()},
        "in_sample": {
            key: score[key] for key in ("r2", "mae", "covered", "near", "with_diverged", "gap", "divergence")
        },
        "notes": list(surface.notes),
    }


def _print_fit(surface: Surface, scored: SurfaceScore) -> None:
    from forescale.cli._console import make_console

    console = make_console()
    for line in _fit_lines(surface, scored):
        console.print(line, markup=False, soft_wrap=True)


def _fit_lines(surface: Surface, scored: SurfaceScore) -> Iterable[str]:
    from forescale.quantities import humanize

    p, unit = surface.parameters, surface.reference
    best = surface.best(unit.params, unit.tokens)
    yield f"{surface.fitted_on}: surface fitted to {scored.all.runs} runs of {len(scored.cells)} cells"
    for label, name, value, interval in (
        ("learning rate", "rate", best.learning_rate, best.learning_rate_interval),
        ("batch", "batch", best.batch_tokens, best.batch_tokens_interval),
    ):
        exponents = ", ".join(f"{symbol}^{p[f'{name}_{v}']:.3f}" for symbol, v in (("N", "params"), ("D", "tokens")))
        yield (
            f"best {label} {value:.4g} ({interval[0]:.4g} to {interval[1]:.4g}) at N = {humanize(unit.params)}, "
            f"D = {humanize(unit.tokens)}; {exponents}"
        )
    for gap in GAPS:
        plateau = surface.plateau(unit.params, unit.tokens, gap)
        yield (
            f"within {100 * gap:g} %: learning rate {plateau.learning_rate[0]:.3g} to {plateau.learning_rate[1]:.3g}, "
            f"batch {humanize(plateau.batch_tokens[0])} to {humanize(plateau.batch_tokens[1])}"
        )
    yield f"loss there {best.loss:.4f} nats per token"
    yield f"on the runs it was fitted to: {_fit_text(scored.all)}; within 5 % of the best: {_fit_text(scored.near)}"
    yield from (f"{note}." for note in surface.notes)


def _fit_text(fit: Fit) -> str:
    r2 = f"R2 {fit.r2:.4f}" if fit.r2 is not None else "R2 not defined"
    return r2 if fit.mae is None else f"{r2}, mean absolute error {fit.mae:.4f} nats"


def _print_score(scored: SurfaceScore, *, cells: bool) -> None:
    from forescale.cli._console import make_console

    console = make_console(100)
    for line in _score_lines(scored):
        console.print(line, markup=False, soft_wrap=True)
    if cells:
        console.print(_cell_table(scored))


def _score_lines(scored: SurfaceScore) -> Iterable[str]:
    held = "the runs it was fitted to" if scored.same_runs else f"fitted to {scored.fitted_on}"
    yield f"{scored.surface} ({held}): {scored.all.runs} runs that trained, {len(scored.cells)} cells"
    yield f"all that trained: {_fit_text(scored.all)}, {_share(scored.all)} inside the 80 % interval"
    yield f"within 5 % of their cell's best: {_fit_text(scored.near)}, {_share(scored.near)} inside"
    yield f"diverged runs included: {_fit_text(scored.with_diverged)}"
    called = scored.called
    yield (
        f"diverged: {called['diverged']} runs, {called['foretold']} foretold; {called['false_alarms']} false alarms among "
        f"{called['trained']} that trained"
    )
    if scored.choice is not None:
        gaps = ", ".join(
            f"{name} {100 * getattr(scored.choice, name).mean:.3f}" for name in ("nearest", "linear", "smooth")
        )
        yield f"its own choice of learning rate and batch, mean loss gap in per cent: {gaps}"
    yield from (f"{note}." for note in scored.notes)


def _share(fit: Fit) -> str:
    return "none" if fit.covered is None else f"{100 * fit.covered:.0f} %"


def _cell_table(scored: SurfaceScore) -> Any:
    from rich import box
    from rich.table import Table

    from forescale.quantities import humanize

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("N", "active", "D", "runs", "R2", "bias %", "inside %", "lr", "B", "gap %"):
        table.add_column(name, justify="right")
    for cell in scored.cells:
        choice = cell.choice
        table.add_row(
            *(humanize(v) for v in (cell.params, cell.active_params, cell.tokens)),
            str(cell.all.runs),
            "-" if cell.all.r2 is None else f"{cell.all.r2:.3f}",
            "-" if cell.all.bias is None else f"{100 * cell.all.bias:+.2f}",
            "-" if cell.all.covered is None else f"{100 * cell.all.covered:.0f}",
            *(
                ("-", "-", "-")
                if choice is None
                else (f"{choice.learning_rate:.3g}", humanize(choice.batch_tokens), f"{100 * choice.smooth:.3f}")
            ),
        )
    return table
