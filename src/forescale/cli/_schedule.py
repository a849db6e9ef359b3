"""`forescale schedule`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole, whole
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.schedules import Averaging, Schedule

Names = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
Files = Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)]
STEPS = 20_000
TIMESCALE = 0.21
WHENCE = "measured at 20 tokens per parameter (Power Lines, 610M); yours is B / (learning rate x weight decay x D)"
NOTICED = 0.999  # the largest factor, below which the peak counts as missed
EXPLAINED = (
    ("mean factor", "mean learning rate over the peak; the initial weight is near exp(-mean factor / timescale)"),
    ("initial weight", "coefficient of the initial weights in the final weights"),
    ("peak at", "progress of the update that counts most"),
    ("effective share", "share of the steps that the final weights average over, (sum c)^2 / sum c^2"),
    ("last tenth", "coefficients of the updates of the last tenth, summed"),
)


def schedule(
    name: str | None = None,
    /,
    *,
    compare: Names = None,
    runs: Files = None,
    steps: OptionalWhole = None,
    peak: Number = None,
    warmup: Number = None,
    final: float | None = None,
    timescale: Number = None,
    table: Flag = False,
    json: Flag = False,
    picture: OptionalFile = None,
) -> None:
    """Compare learning rate schedules: their factors, and how much each update counts in the final weights.

    Names: linear, cosine, wsd, wsd-sqrt, tenth, step, constant, inverse-sqrt, cyclic, points; with options as in
    wsd:decay=0.1, step:0.5=0.1 or points:0=0,0.1=1,1=0. Without names, all but points are compared.

    With --runs, a law of loss along a schedule is fitted to the curves, and the schedules are ranked by their final loss.

    Parameters
    ----------
    name
        One schedule, instead of --compare.
    compare
        Several schedules.
    runs
        CSV files of loss curves with the columns step, loss, learning_rate (and run, where a file has several).
    steps
        Optimizer steps of the run (default 20000; with --runs those of the longest curve).
    peak
        With --runs, the peak learning rate (default: that of the curves).
    warmup
        Linear warmup: below 1 a share of the run, from 1 on in steps (default: 0.1 of the run; with --runs the curves' own).
    final
        Final over peak learning rate, of the schedules that have one (default 0).
    timescale
        AdamW's averaging timescale, B / (learning rate x weight decay x D), as a share of the run (default 0.21).
    table
        Print the factor of every step as CSV (with --json as JSON lines); with --timescale also the coefficients.
    json
        Print JSON (schema_version 1).
    picture
        Also draw factors and coefficients over progress: a .png, .svg or .pdf file.
    """
    check_destinations({"--picture": picture}, [])
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    if runs:
        if table or timescale is not None:
            raise ForescaleError(
                "--runs ranks schedules by their loss; got --table or --timescale with it: leave them out."
            )
        _rank(name, compare, runs, steps, peak, warmup, final, json=json, picture=picture)
        return
    if peak is not None:
        raise ForescaleError(f"--peak goes with --runs; got {peak} without it: a factor needs no peak.")
    steps = STEPS if steps is None else steps
    schedules = _schedules(name, compare, _share(warmup, steps), final)
    given = None if timescale is None else parse_quantity(timescale, "--timescale")
    drawn = None if picture is None else _draw(schedules, steps, given or TIMESCALE, picture)
    _print(schedules, steps, given, table=table, json=json)
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _rank(
    name: str | None,
    compare: Sequence[str] | None,
    runs: Sequence[Path],
    steps: int | None,
    peak: str | None,
    warmup: str | None,
    final: float | None,
    *,
    json: bool,
    picture: Path | None,
) -> None:
    from json import dumps

    from forescale.cli._schedule_runs import CANDIDATES, as_document, print_ranking, rank, read_law, warmup_of
    from forescale.schedules._check import step_count

    law = read_law(runs)
    steps = int(law.time_unit) if steps is None else step_count(steps, "--steps")
    share = _share(warmup, steps)
    share = warmup_of(law, steps) if share is None else share
    schedules = _schedules(name, compare or (None if name else CANDIDATES), share, final)
    height = None if peak is None else parse_quantity(peak, "--peak")
    found = rank(law, schedules, steps, height, final or 0.0, share)
    drawn = None
    if picture is not None:
        from forescale.plots import picture_bytes, ranking_figure

        drawn = picture_bytes(
            ranking_figure(law, found.schedules, found.ranked, found.best, steps, found.peak), picture
        )
    if json:
        print(dumps(as_document(found), indent=2, allow_nan=False))
    else:
        print_ranking(found)
    if sys.stdout is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _share(text: str | None, steps: int) -> float | None:
    """The warmup as a share of the run: as given, or of steps."""
    if text is None:
        return None
    number = 0.0 if text.strip() == "0" else parse_quantity(text, "--warmup")
    if number < 1:
        return number
    if (count := whole(text, "--warmup")) >= steps:
        raise ForescaleError(f"--warmup must be shorter than the run; got {count} of {steps} steps.")
    return count / steps


def _schedules(
    name: str | None, compare: Sequence[str] | None, warmup: float | None, final: float | None
) -> dict[str, Schedule]:
    from forescale.schedules import SCHEDULES, by_name

    if name is not None:
        if compare:
            raise ForescaleError(f"give one schedule or --compare several; got {name} and --compare.")
        return {name: by_name(name, warmup=warmup, final=final)}
    names = list(compare or (each for each in SCHEDULES if each != "points"))
    for text in names:
        if names.count(text) > 1:
            raise ForescaleError(f"--compare {text} stands there twice: give it once.")
    given = {key: value for key, value in (("warmup", warmup), ("final", final)) if value is not None}
    for key in given:
        if without := [text for text in names if not _takes(text, key)]:
            print(f"forescale: --{key} does not apply to {', '.join(without)}.", file=sys.stderr)
    return {text: by_name(text, **{k: v for k, v in given.items() if _takes(text, k)}) for text in names}


def _takes(text: str, option: str) -> bool:
    from forescale.schedules import options_of

    return option in options_of(text.partition(":")[0])


def _draw(schedules: Mapping[str, Schedule], steps: int, timescale: float, picture: Path) -> bytes:
    from forescale.plots import picture_bytes, schedules_figure

    return picture_bytes(schedules_figure(schedules, steps, timescale), picture)


def _print(schedules: Mapping[str, Schedule], steps: int, timescale: float | None, *, table: bool, json: bool) -> None:
    _say_missed_peaks(schedules, steps)
    if table:
        _print_steps(schedules, steps, timescale, json=json)
    else:
        from forescale.schedules import averaging

        made = {name: averaging(each, steps, timescale or TIMESCALE) for name, each in schedules.items()}
        (_print_json if json else _print_averages)(made, steps, timescale)
    if sys.stdout is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written


def _say_missed_peaks(schedules: Mapping[str, Schedule], steps: int) -> None:
    from forescale.schedules import factors

    largest = {name: float(factors(each, steps).max()) for name, each in schedules.items() if _takes(name, "warmup")}
    if missed := [f"{name} (at most {factor:.3g})" for name, factor in largest.items() if factor < NOTICED]:
        print(
            f"forescale: no step reaches the peak in {', '.join(missed)}: let warmup x steps be whole.", file=sys.stderr
        )


def _print_steps(schedules: Mapping[str, Schedule], steps: int, timescale: float | None, *, json: bool) -> None:
    import csv
    from json import dumps

    rows = _rows(schedules, steps, timescale)
    if json:
        for row in rows:
            print(dumps(row))
        return
    columns = ["schedule", "step", "factor", *(["coefficient"] if timescale is not None else [])]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _rows(schedules: Mapping[str, Schedule], steps: int, timescale: float | None) -> Iterator[dict[str, Any]]:
    from forescale.schedules import factors, update_weights

    for name, each in schedules.items():
        columns = {"factor": factors(each, steps).tolist()}
        if timescale is not None:
            columns["coefficient"] = update_weights(each, steps, timescale).tolist()
        for step, values in enumerate(zip(*columns.values(), strict=True)):
            yield {"schedule": name, "step": step} | dict(zip(columns, values, strict=True))


def _print_json(made: Mapping[str, Averaging], steps: int, timescale: float | None) -> None:
    from json import dumps

    rows = [{"schedule": name, **asdict(each)} for name, each in made.items()]
    document = {"schema_version": 1, "steps": steps, "timescale": timescale or TIMESCALE, "schedules": rows}
    print(dumps(document, indent=2, allow_nan=False))


def _print_averages(made: Mapping[str, Averaging], steps: int, timescale: float | None) -> None:
    from rich.text import Text

    from forescale.cli._console import Column, make_console, make_table

    console = make_console()
    console.print(Text(f"{steps:,} steps · timescale {timescale or TIMESCALE:g}", style="bold"))
    if timescale is None:
        console.print(Text(f"({WHENCE})"))
    console.print()
    columns = [Column(name="schedule", fold=12), *(Column(name=name, justify="right") for name, _ in EXPLAINED)]
    console.print(make_table(console, columns, [_row(name, each) for name, each in made.items()])[0])
    console.print()
    for name, meaning in EXPLAINED:
        console.print(Text(f"{name:<16} {meaning}"))


def _row(name: str, made: Averaging) -> tuple[str, ...]:
    return (
        name,
        f"{made.mean_factor:.3f}",
        f"{made.initial_weight:.3g}",
        f"{made.peak:.3f}",
        f"{made.effective_share:.3f}",
        f"{made.last_tenth:.3g}",
    )
