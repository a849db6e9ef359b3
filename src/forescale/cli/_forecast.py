"""`forescale forecast`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import File, Flag, OptionalFile, OptionalWhole, Whole
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import polars

    from forescale.forecast import C2FAR

ALIASES = {
    "ds": ("ds", "timestamp", "date", "datetime", "time"),
    "y": ("y", "value", "target"),
    "unique_id": ("unique_id", "id", "item_id", "series_id", "series"),
}
LEVELS = (50, 80, 95)
NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "None"]
SHOWN, DRAWN = 20, 6  # series in the table and in the picture
HISTORY = 4  # horizons of the past in the picture


def forecast(
    file: File,
    /,
    *,
    horizon: Whole,
    columns: str | None = None,
    steps: OptionalWhole = None,
    paths: Whole = 500,
    seed: Whole = 0,
    model: OptionalFile = None,
    save: OptionalFile = None,
    out: OptionalFile = None,
    json: Flag = False,
    plot: OptionalFile = None,
) -> None:
    """Forecast series with their uncertainty: C2FAR, trained on the file, or a model saved before.

    FILE is a long table (.csv or .tsv, with .gz or without; .parquet) with the columns unique_id (left out for one series),
    ds (times or whole numbers) and y. Its last horizon is held out to choose the weights.

    Parameters
    ----------
    file
        The table of series.
    horizon
        Steps to forecast after each series' end.
    columns
        Our name = your column, where the names are not recognised: y=demand,ds=hour.
    steps
        Training steps at most (default 1000); training stops before where the held-out horizon gets no better.
    paths
        Sample paths that medians and intervals are taken over.
    seed
        Of training and paths.
    model
        Forecast with this saved model instead of training one.
    save
        Write the trained model to this file.
    out
        Write medians and the 50, 80 and 95 % intervals to this .csv file.
    json
        Print JSON (schema_version 1).
    plot
        Also draw the first series with their forecasts: a .png, .svg or .pdf file.
    """
    check_destinations({"--out": out, "--plot": plot, "--save": save}, [f for f in (file, model) if f is not None])
    if out is not None and out.suffix != ".csv":
        raise ForescaleError(f"--out must end in .csv; got {str(out)!r}.")
    if plot is not None:
        from forescale.plots import picture_format

        picture_format(plot)  # refuses another suffix before any work is done
    for name, count in (("--horizon", horizon), ("--paths", paths), ("--steps", 1 if steps is None else steps)):
        if count < 1:
            raise ForescaleError(f"{name} must be a whole number from 1 on; got {count}.")
    if model is not None and (steps is not None or save is not None):
        raise ForescaleError(
            "--model forecasts with a saved model; --steps and --save go with training: leave them out."
        )
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    table = _read(file, columns)
    fitted = _model(table, horizon, steps, seed, model)
    found: Any = fitted.predict(table, horizon, level=LEVELS, paths=paths, seed=seed)
    drawn = None if plot is None else _draw(fitted, table, found, horizon, seed, plot)
    _print(fitted, found, file.name, json=json)
    sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if save is not None:
        fitted.save(save)
        print(f"forescale: wrote {save}", file=sys.stderr)
    if out is not None:
        print(f"forescale: {write(out, found.write_csv().encode())} {out}", file=sys.stderr)
    if drawn is not None and plot is not None:
        print(f"forescale: {write(plot, drawn)} {plot}", file=sys.stderr)


def _read(file: Path, columns: str | None) -> polars.DataFrame:
    """The columns unique_id, ds and y of a file."""
    import polars as pl

    try:
        if file.suffix == ".parquet":
            table = pl.read_parquet(file)
        else:
            separator = "\t" if ".tsv" in file.suffixes else ","
            table = pl.read_csv(
                file, separator=separator, try_parse_dates=True, null_values=NULLS, infer_schema_length=None
            )
    except OSError as error:
        raise ForescaleError(f"{file} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.NoDataError:
        raise ForescaleError(f"{file} is empty: give a table with the columns unique_id, ds and y.") from None
    except pl.exceptions.PolarsError as error:
        raise ForescaleError(f"{file} is no table: {str(error).strip().partition(chr(10))[0].rstrip('.')}.") from None
    return table.rename({theirs: ours for ours, theirs in _found(table.columns, columns).items() if theirs != ours})


def _found(header: Sequence[str], columns: str | None) -> Mapping[str, str]:
    """Our name -> the file's column."""
    lower = {name.strip().lower(): name for name in header}
    found = {ours: lower[alias] for ours, names in ALIASES.items() for alias in reversed(names) if alias in lower}
    for pair in (columns or "").split(",") if columns else []:
        ours, mark, theirs = (part.strip() for part in pair.partition("="))
        if not mark or ours not in ALIASES or theirs not in header:
            raise ForescaleError(
                f"--columns takes unique_id, ds or y = a column of the file ({', '.join(header)}); got {pair}."
            )
        found[ours] = theirs
    return found


def _model(table: polars.DataFrame, horizon: int, steps: int | None, seed: int, saved: Path | None) -> C2FAR:
    from forescale.forecast import C2FAR, Training

    if saved is not None:
        return C2FAR.load(saved)
    chosen = {} if steps is None else {"steps": steps}
    return C2FAR(horizon=horizon, training=Training(seed=seed, **chosen)).fit(table)


def _draw(fitted: C2FAR, table: polars.DataFrame, found: Any, horizon: int, seed: int, plot: Path) -> bytes:
    from forescale.forecast._frames import read_panel
    from forescale.plots import forecast_figure, picture_bytes

    panel, _ = read_panel(table, step=fitted.step)
    names = panel.ids[:DRAWN]
    if len(names) < len(panel.ids):
        print(f"forescale: {plot} shows the first {DRAWN} of {len(panel.ids)} series.", file=sys.stderr)
    wanted = table if "unique_id" not in table.columns else table.filter(table["unique_id"].is_in(list(names)))
    paths = fitted.paths(wanted, horizon, 5, seed=seed)
    columns: Any = {name: found[name].to_numpy().reshape(-1, horizon) for name in found.columns if "C2FAR" in name}
    pasts = [values[-HISTORY * horizon :] for values in panel.values[:DRAWN]]
    return picture_bytes(
        forecast_figure(
            [
                {
                    "name": str(name),
                    "past": (panel.step.times(first, len(v) - len(past), len(v)), past),
                    "future": panel.step.times(first, len(v), len(v) + horizon),
                    "median": columns["C2FAR"][k],
                    "bands": [
                        (level, columns[f"C2FAR-lo-{level}"][k], columns[f"C2FAR-hi-{level}"][k]) for level in LEVELS
                    ],
                    "paths": paths[k],
                }
                for k, (name, first, v, past) in enumerate(zip(names, panel.first, panel.values, pasts, strict=False))
            ],
            dates=panel.step.unit != "number",
        ),
        plot,
    )


def _print(fitted: C2FAR, found: polars.DataFrame, source: str, *, json: bool) -> None:
    from json import dumps

    groups = found.partition_by("unique_id", maintain_order=True) if "unique_id" in found.columns else [found]
    if json:
        print(dumps(_document(fitted, groups, source), indent=2, allow_nan=False))
        return
    from rich.text import Text

    from forescale.cli._console import Column, make_console, make_table

    console = make_console()
    console.print(Text(_heading(fitted, source, len(groups)), style="bold"))
    heads = [Column(name=name, justify="right") for name in ("steps", "median, first", "80 %", "median, last", "80 %")]
    rows = [_row(group) for group in groups[:SHOWN]]
    console.print(make_table(console, [Column(name="series", fold=12), *heads], rows)[0])
    if len(groups) > SHOWN:
        console.print(Text(f"({len(groups) - SHOWN} more series; see --out or --json)", style="dim"))


def _heading(fitted: C2FAR, source: str, count: int) -> str:
    about = f"{source}: {count} series, C2FAR of {fitted.parameters:,} parameters"
    if fitted.fitted is None:
        return about
    return f"{about}, best at step {fitted.fitted.best_step} with {fitted.fitted.loss:.3f} nats a held-out value"


def _row(group: polars.DataFrame) -> tuple[str, ...]:
    first, last = group.row(0, named=True), group.row(-1, named=True)
    cells = [(f"{row['C2FAR']:.5g}", f"{row['C2FAR-lo-80']:.5g} to {row['C2FAR-hi-80']:.5g}") for row in (first, last)]
    return (str(first.get("unique_id", "")), str(group.height), *cells[0], *cells[1])


def _document(fitted: C2FAR, groups: Sequence[polars.DataFrame], source: str) -> dict[str, Any]:
    about = fitted.fitted
    return {
        "schema_version": 1,
        "source": source,
        "model": {
            "parameters": fitted.parameters,
            "best_step": about and about.best_step,
            "held_out_nats": about and about.loss,
            "left_out": list(about.left_out) if about else [],
        },
        "series": [
            {
                "unique_id": group["unique_id"][0] if "unique_id" in group.columns else None,
                "ds": [value if isinstance(value, int) else value.isoformat() for value in group["ds"].to_list()],
                "median": group["C2FAR"].to_list(),
                "intervals": {
                    str(level): {
                        "low": group[f"C2FAR-lo-{level}"].to_list(),
                        "high": group[f"C2FAR-hi-{level}"].to_list(),
                    }
                    for level in LEVELS
                },
            }
            for group in groups
        ],
    }
