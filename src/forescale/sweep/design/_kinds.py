"""The kinds of design as a file describes them: each turns its table into runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.sweep.design._common import Common
from forescale.sweep.design._design import Design
from forescale.sweep.design._file import Table, check_keys, take, text
from forescale.sweep.design._grid import grid, octaves
from forescale.sweep.design._plateau import plateau
from forescale.sweep.design._suggested import from_suggestion
from forescale.sweep.design._table import from_file
from forescale.sweep.design._values import read_number, read_share, read_value, read_whole

OF_KIND: Mapping[str, tuple[str, ...]] = {
    "plateau": ("loss_gap", "batches", "rates", "surface"),
    "suggest": ("target_params", "target_active_params", "target_tokens", "target_tokens_per_param", "budget"),
    "file": ("file",),
}
OF_ALL = ("kind", "name", "seeds")
AXIS = ("octaves", "step", "around")


def make_kind(found: Table, common: Common, axes: Mapping[str, list[Any]], path: Path) -> Design:
    """The design that [design] asks for; `axes` are the lists of the other tables, `path` that of the file."""
    kind = text("kind", found.get("kind", "grid"))
    makers: Mapping[str, Callable[..., Design]] = {
        "grid": _grid, "plateau": _plateau, "suggest": _suggest, "file": _from_file
    }  # fmt: skip
    if kind not in makers:
        raise ForescaleError(f"the kind of a design is {', '.join(makers)}; got {kind!r}: choose one.")
    options = {"seeds": _seeds(found.get("seeds")), "name": text("name", found.get("name", path.stem))}
    return makers[kind](found, common, axes, path.parent, options)


def _seeds(value: Any) -> tuple[int, ...]:
    """A number of seeds, from 0 on, or a list of them."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(read_whole("seeds", each) for each in cast("list[Any]", value))
    return tuple(range(read_whole("seeds", value)))


def _grid(found: Table, common: Common, axes: Mapping[str, list[Any]], _folder: Path, options: Table) -> Design:
    made: dict[str, Sequence[Any]] = dict(axes)
    for name, value in found.items():
        if name not in OF_ALL:
            common.check_names([name])
            made[name] = _axis(name, value)
    if twice := set(axes) & set(found):
        raise ForescaleError(f"{min(twice)} has a list and an axis in [design]: leave one out.")
    return grid(common, made, **options)


def _axis(name: str, value: Any) -> Sequence[Any]:
    """A list of values, or octaves: `{ octaves = 2, step = 0.5, around = 0.001 }`."""
    if isinstance(value, list):
        return [read_value(name, each) for each in cast("list[Any]", value)]
    if not isinstance(value, Mapping):
        raise ForescaleError(
            f"{name} of a grid is a list of values or {{ octaves = 2 }}; got {value!r}: write [{value!r}]."
        )
    axis = cast(Table, value)
    check_keys(axis, AXIS, f"the axis {name} has no")
    span: Any = axis.get("octaves")
    numbers = cast("list[Any]", span if isinstance(span, list) else [span])
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        raise ForescaleError(
            f"octaves of {name} are a number or a list of numbers; got {span!r}: such as 2 or [-1, 0, 1]."
        )
    return octaves(
        numbers if isinstance(span, list) else numbers[0],
        step=take(axis, "step", read_number) or 1.0,
        around=take(axis, "around", read_number),
    )


def _plateau(found: Table, common: Common, axes: Mapping[str, list[Any]], folder: Path, options: Table) -> Design:
    check_keys(found, (*OF_ALL, *OF_KIND["plateau"]), "a plateau has no")
    made: dict[str, Any] = {name: take(found, name, read_whole) for name in ("batches", "rates")}
    made["loss_gap"] = take(found, "loss_gap", read_share)
    if (file := take(found, "surface", text)) is not None:
        from forescale.fit.surface import load_surface

        made["surface"] = load_surface(folder / file)
    sizes = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return plateau(common, sizes=sizes, **{name: value for name, value in made.items() if value is not None}, **options)


def _suggest(found: Table, common: Common, axes: Mapping[str, list[Any]], _folder: Path, options: Table) -> Design:
    from forescale.fit.calibrate import suggest
    from forescale.plan import Sizes
    from forescale.train._shapes import usual_seq_len

    check_keys(found, (*OF_ALL, *OF_KIND["suggest"]), "a suggestion has no")
    _no_axes(axes, "a suggestion")
    for name in ("target_params", "budget"):
        if name not in found:
            raise ForescaleError(f"a suggestion needs {name}: give target_params, target_tokens and budget.")
    sizes = {name.removeprefix("target_"): take(found, name, read_number) for name in OF_KIND["suggest"][:-1]}
    # One length of sequences for all proxies: at most half as large as the target.
    seq_len = int(common.values.get("seq_len") or usual_seq_len(float(sizes["params"] or 0) / 2))
    target = Sizes(**cast("dict[str, Any]", sizes), seq_len=seq_len).workload(None)
    share = str(found["budget"]).strip().endswith("%")
    budget = read_share("budget", found["budget"]) * (target.compute if share else 1.0)
    suggestion = suggest(target, budget, runs=common.runs, seq_len=seq_len)
    return from_suggestion(replace(common, values={**common.values, "seq_len": seq_len}), suggestion, **options)


def _from_file(found: Table, common: Common, axes: Mapping[str, list[Any]], folder: Path, options: Table) -> Design:
    check_keys(found, (*OF_ALL, *OF_KIND["file"]), "a design from a file has no")
    _no_axes(axes, "a design from a file")
    if "file" not in found:
        raise ForescaleError('a design from a file needs file, a table of runs: file = "runs.csv".')
    return from_file(common, folder / text("file", found["file"]), **options)


def _no_axes(axes: Mapping[str, list[Any]], what: str) -> None:
    if axes:
        raise ForescaleError(f"{what} lists its runs; got a list for {', '.join(axes)} as well: give one value.")
