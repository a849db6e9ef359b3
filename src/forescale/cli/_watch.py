"""`forescale watch`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import File, Flag, Number, OptionalFile
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.curves.watch import Watched


def watch(
    run: File,
    /,
    *,
    steps: Number = None,
    schedule: str | None = None,
    false_alarms: float | None = None,
    follow: Flag = False,
    every: float = 10.0,
    json: Flag = False,
    picture: OptionalFile = None,
) -> None:
    """Say where a run will end, with 50 and 90 % intervals, and what happened in it: spikes, drifts, plateaus, new data.

    Reads a finished or a growing log: the folder or metrics.jsonl of `forescale train`, other JSON lines, CSV, a Hugging Face
    trainer_state.json, a W&B export or run folder, TensorBoard event files, and printed logs (.log, .txt, .out).

    Parameters
    ----------
    run
        The log, or the folder that it lies in.
    steps
        Steps of the whole run, where neither the log nor a config.json beside it says so.
    schedule
        Learning rate schedule, where nothing says it: linear, cosine:final=0.1, wsd:decay=0.2 and the others of
        `forescale schedule`.
    false_alarms
        Of each of six statistics, per 10,000 records (default 0.1).
    follow
        Look again until the run ends or ctrl-C; with --json a line of JSON each time.
    every
        Of --follow: seconds between two looks.
    json
        Print JSON (schema_version 1): final_loss with value, low and high, and events.
    picture
        Also draw the curve, the forecast and the events: a .png, .svg or .pdf file.
    """
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    check_destinations({"--picture": picture}, [run])
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    if not every > 0:
        raise ForescaleError(f"--every is above 0 seconds; got {every:g}.")
    from forescale.curves.watch import follow_log

    read = follow_log(run, steps=None if steps is None else parse_quantity(steps, "--steps"))
    chosen: dict[str, Any] = {"schedule": schedule}
    if false_alarms is not None:
        chosen["false_alarms"] = false_alarms
    seen = -1.0
    while True:
        seen, over = _look(read, chosen, seen, follow=follow, json=json, picture=picture)
        if over or not follow:
            return
        time.sleep(every)


def _look(
    read: Any, chosen: dict[str, Any], seen: float, *, follow: bool, json: bool, picture: Path | None
) -> tuple[float, bool]:
    """Read, print if there is anything new; the last step and whether the run has ended."""
    from forescale.cli import _render_watch as render
    from forescale.curves.watch import watch as look

    try:
        log = read()
    except ForescaleError:
        if not follow:
            raise
        return seen, False  # a run that is about to write its first loss
    last = float(log.step[-1])
    over = log.share is not None and log.share >= 1
    if last == seen:
        return seen, over
    found = look(log, **chosen)
    drawn = None if picture is None else _draw(found, picture)
    render.print_json(found, one_line=follow) if json else render.print_watched(found)
    sys.stdout.flush()  # what cannot be printed fails here, before a file is written
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)
    return last, over


def _draw(found: Watched, picture: Path) -> bytes:
    from forescale.plots import picture_bytes, watch_figure

    return picture_bytes(watch_figure(found), picture)
