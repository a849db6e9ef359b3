"""Where a trainer's final loss stands: in its output, or in a file that it wrote."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

from forescale.errors import ForescaleError

Source = Literal["output", "json", "json_lines", "csv", "runs"]
NUMBER = r"([-+]?(?:nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?))"
# `val loss 3.21`, `eval_loss: 3.21`, `'eval_loss': '3.21'`, `validation/loss=3.21`, `val_loss:3.21`
USUAL = rf"(?i)\b(?:val|valid|validation|eval|test|dev|held[-_ ]?out|final)[-_/. ]?loss['\"]?\s*[:=]?\s*['\"]?{NUMBER}"


@dataclass(frozen=True, kw_only=True)
class LossRule:
    """Where the final loss stands (nats per token): the last match in the output, or a key of a file below `{out}`.

    `output`: `pattern`, a regular expression whose one group is the loss. `json`: `key` of `file`, with dots into objects.
    `json_lines`: of its last line that has the key. `csv`: the last value of the column `key`. `runs`: whatever
    `forescale.read_runs` reads in `file`, a folder too, such as a Hugging Face trainer_state.json.
    NaN and infinity mean that the run diverged. Raises `ForescaleError` for a rule that cannot read anything.
    """

    source: Source = "output"
    pattern: str = USUAL
    file: str = ""  # below the folder of the run's files, {out}
    key: str = ""

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise ForescaleError(f"a loss is read from {', '.join(get_args(Source))}; got {self.source!r}: choose one.")
        check_pattern(self.pattern, 1, "the loss")
        if self.source in ("json", "json_lines", "csv") and not (self.file and self.key):
            raise ForescaleError(f"a loss in a {self.source} file needs its file and its key; got {self!s}: give both.")

    def __str__(self) -> str:
        if self.source == "output":
            return "`val loss 3.21` or the like" if self.pattern == USUAL else f"match of {self.pattern!r}"
        return f"{self.key or 'loss'} in {self.file or 'its folder'}, read as {self.source}"

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern."""
        return re.compile(self.pattern)

    def to_json(self) -> dict[str, str]:
        """Plain JSON types: what the source needs."""
        if self.source == "output":
            return {"source": self.source, "pattern": self.pattern}
        return {"source": self.source, "file": self.file, "key": self.key}


def check_pattern(pattern: str, groups: int, what: str) -> None:
    """Raise `ForescaleError` unless it is a regular expression with so many groups."""
    try:
        found = re.compile(pattern).groups
    except re.error as error:
        raise ForescaleError(
            f"the pattern of {what} must be a regular expression; {pattern!r} is none ({error})."
        ) from None
    if found != groups:
        raise ForescaleError(
            f"the pattern of {what} must have {groups} group{'s' * (groups > 1)} in parentheses; {pattern!r} has {found}: "
            "write the others as (?:...)."
        )


def as_loss(text: object) -> float | None:
    """A number, NaN and infinity among them; None for anything else."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_loss(rule: LossRule, out: Path) -> float | None:
    """The loss in a file below `out`, for every source but the output; None where there is none."""
    readers: Mapping[str, Callable[[LossRule, Path], float | None]] = {
        "json": _json,
        "json_lines": _json_lines,
        "csv": _csv,
        "runs": _runs,
    }
    return readers[rule.source](rule, out / rule.file)


def _json(rule: LossRule, path: Path) -> float | None:
    try:
        return as_loss(_value(json.loads(path.read_text("utf-8")), rule.key))
    except (OSError, ValueError):
        return None


def _json_lines(rule: LossRule, path: Path) -> float | None:
    found = [as_loss(_value(line, rule.key)) for line in _objects(path)]
    return next((loss for loss in reversed(found) if loss is not None), None)


def _objects(path: Path) -> Iterator[Any]:
    """The lines that are JSON: one cut short is none."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _value(data: Any, key: str) -> Any:
    """`eval.loss` as a key, else as the key `loss` of the object `eval`."""
    if not isinstance(data, dict):
        return None
    values = cast("dict[str, Any]", data)
    if key in values:
        return values[key]
    first, dot, rest = key.partition(".")
    return _value(values.get(first), rest) if dot else None


def _csv(rule: LossRule, path: Path) -> float | None:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            found = [as_loss((row.get(rule.key) or "").strip()) for row in csv.DictReader(file, skipinitialspace=True)]
    except OSError:
        return None
    return next((loss for loss in reversed(found) if loss is not None), None)


def _runs(rule: LossRule, path: Path) -> float | None:
    """The one run that the reader of runs finds; raises `ForescaleError` where there are several."""
    from forescale.runs import read_runs

    columns = {"loss": rule.key} if rule.key else None
    runs = read_runs(path, needs=("loss",), columns=columns, keep_unfinished=True)
    if runs.frame.height != 1:
        raise ForescaleError(
            f"{path} must hold one run; it holds {runs.frame.height}: name the file of one in the rule."
        )
    loss = float(runs.frame["loss"][0])
    return loss if math.isfinite(loss) else math.inf
