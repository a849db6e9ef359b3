"""Curves from CSV files: a run a file, or several runs of one file told apart by a column."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from forescale.curves._curve import Curve
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP = ("step", "iteration", "iter", "_step", "global_step")
LOSS = ("loss", "train_loss", "train/loss", "metrics/loss", "training_loss", "val_loss")
RATE = ("learning_rate", "lr", "train/lr", "train/learning_rate")
RUN = ("run", "name", "curve", "run_id", "run_idx")


@dataclass(kw_only=True)
class _Rows:
    """A run's records as they stand in the file; None where a cell is empty."""

    step: list[float] = field(default_factory=list[float])
    loss: list[float | None] = field(default_factory=list["float | None"])
    rate: list[float | None] = field(default_factory=list["float | None"])
    notes: list[str] = field(default_factory=list[str])


def read_curves(*files: str | Path) -> dict[str, Curve]:
    """The curves of CSV files (also .csv.gz), by name: columns step, loss, learning_rate, and run where there are several.

    Other usual names are known (iteration, train_loss, lr, run_id and so on). An empty loss was not measured; an empty rate
    lies on the straight line between its neighbours. Of a log that went back to a checkpoint each step's last record
    counts; a last line that was cut off is left out; both are said in `Curve.note`. Raises `ForescaleError` naming file and
    line for anything else.
    """
    curves: dict[str, Curve] = {}
    for file in map(Path, files):
        for name, rows in _read(file).items():
            if name in curves:
                raise ForescaleError(f"runs of several files need names of their own; got {name!r} twice: rename one.")
            curves[name] = _curve(name, rows)
    if not curves:
        raise ForescaleError("curves are read from CSV files with step, loss and learning_rate; got no file: name one.")
    return curves


def _read(file: Path) -> dict[str, _Rows]:
    try:
        with _open(file) as opened:
            lines = list(csv.reader(opened))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ForescaleError(f"{file} cannot be read as CSV: {error}.") from None
    heading = [cell.strip().lower() for cell in lines[0]] if lines else []
    places = {
        key: _column(heading, names) for key, names in (("step", STEP), ("loss", LOSS), ("rate", RATE), ("run", RUN))
    }
    for key, names in (("step", STEP), ("loss", LOSS), ("rate", RATE)):
        if places[key] is None:
            raise ForescaleError(
                f"{file} needs a column {names[0] if key != 'rate' else 'learning_rate (a curve needs its schedule)'}; got "
                f"{', '.join(heading) or 'an empty file'}: add it."
            )
    return _runs(file, lines, {key: place for key, place in places.items() if place is not None})


def _open(file: Path) -> IO[str]:
    return gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")


def _column(heading: Sequence[str], names: Sequence[str]) -> int | None:
    return next((heading.index(name) for name in names if name in heading), None)


def _runs(file: Path, lines: Sequence[list[str]], places: Mapping[str, int]) -> dict[str, _Rows]:
    runs: dict[str, _Rows] = {}
    alone = file.name.removesuffix(".gz").removesuffix(".csv")
    for number, cells in _filled(lines):
        try:
            name = cells[places["run"]].strip() if "run" in places else alone
            step, loss, rate = (_number(cells[places[key]]) for key in ("step", "loss", "rate"))
        except (ValueError, IndexError):
            if number == len(lines) and runs:
                list(runs.values())[-1].notes.append("the last line was cut off and is left out")
                break
            raise ForescaleError(
                f"{file}, line {number}: step, loss and rate must be numbers; got {','.join(cells)}."
            ) from None
        if step is None:
            raise ForescaleError(f"{file}, line {number}: every record needs its step; got an empty cell.")
        rows = runs.setdefault(name, _Rows())
        rows.step.append(step)
        rows.loss.append(loss)
        rows.rate.append(rate)
    return runs


def _filled(lines: Sequence[list[str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, cells) for number, cells in enumerate(lines[1:], 2) if any(cell.strip() for cell in cells))


def _number(text: str) -> float | None:
    return float(text) if text.strip() else None


def _curve(name: str, rows: _Rows) -> Curve:
    import numpy as np

    step = np.array(rows.step)
    loss = np.array([np.nan if value is None else value for value in rows.loss])
    rate = np.array([np.nan if value is None else value for value in rows.rate])
    kept = _last_records(step)
    if len(kept) < len(step):
        rows.notes.append(
            f"{len(step) - len(kept)} records of before it went back, or of a step that stands twice, were replaced"
        )
    step, loss, rate = step[kept], loss[kept], rate[kept]
    if not np.isfinite(rate).any():
        raise ForescaleError(
            f"the curve {name} needs the learning rate of its steps; got none: read it from the scheduler."
        )
    known = np.isfinite(rate)
    rate = np.interp(step, step[known], rate[known])
    return Curve(step, loss, rate, name=name, note="; ".join(rows.notes))


def _last_records(step: NDArray[np.float64]) -> NDArray[np.intp]:
    """The records after which none has their step or an earlier one: where a log went back, what it wrote again."""
    import numpy as np

    later = np.minimum.accumulate(step[::-1])[::-1]
    return np.flatnonzero(np.append(step[:-1] < later[1:], True))
