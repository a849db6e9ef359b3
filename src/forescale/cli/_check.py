"""`forescale check`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole, Whole, whole
from forescale.errors import ForescaleError, UnknownNameError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.check import CoordCheck, Proxy, TransferCheck

KINDS = ("coords", "transfer")


def check(
    kind: str,
    /,
    *,
    scheme: str = "completep",
    alpha: float | None = None,
    widths: str | None = None,
    depths: str | None = None,
    densities: str | None = None,
    learning_rate: Number = None,
    learning_rates: str | None = None,
    steps: OptionalWhole = None,
    seeds: OptionalWhole = None,
    batch: Whole = 8,
    seq_len: Whole = 64,
    optimizer: str = "adamw",
    tied: Flag = False,
    data: OptionalFile = None,
    model: str | None = None,
    workers: Whole = 1,
    out: OptionalFile = None,
    json: Flag = False,
    strict: Flag = False,
) -> None:
    """Check a parametrization on small models: coords looks at activations, transfer at the best learning rate.

    A verdict (pass, fail or undecided), a picture and JSON. Sizes are looked along one of width, depth and density. coords
    takes a minute; it misses faults that transfer sees, which trains a whole run for every size, learning rate and seed.

    Parameters
    ----------
    kind
        coords or transfer.
    scheme
        standard, mup, completep, completed-p, supar, everett or u-mup.
    alpha
        Of completep and completed-p: from 0.5 to 1 (default 1).
    widths
        Widths, the first is the base: 64,128,256,512 (default of coords), 32,64,128,256 (of transfer).
    depths
        Numbers of layers, the first is the base; several of them look along the depth, at the first width.
    densities
        Shares of weights kept, the densest first; several of them look along the density.
    learning_rate
        Of coords: the base's (default 2^-8, with which activations change several times over).
    learning_rates
        Of transfer: the grid (default 2^-10 to 2^-4 in octaves; it grows where a minimum lies at its end).
    steps
        Optimizer steps (default 10 for coords, 200 for transfer).
    seeds
        Runs of each setting (default 2).
    batch
        Sequences a step.
    seq_len
        Tokens a sequence.
    optimizer
        adamw, adam-atan2 or muon.
    tied
        Tie the output matrix to the embedding.
    data
        A text file (default: the sources of Python's standard library).
    model
        Your own model: file.py:function, called with width, depth and density; its tokens are bytes.
    workers
        Processes that share the runs of transfer, one thread each.
    out
        Folder for picture, JSON and finished runs (default check-KIND; with --json none).
    json
        Print JSON.
    strict
        Exit with 1 where the verdict is not pass.
    """
    if kind not in KINDS:
        raise UnknownNameError(f"check takes coords or transfer; got {kind!r}.")
    given = {"widths": _counts(widths, "--widths"), "depths": _counts(depths, "--depths")}
    options: dict[str, Any] = {name: sizes for name, sizes in given.items() if sizes}
    if several := _numbers(densities, "--densities"):
        options["densities"] = several
    if several or (given["depths"] and len(given["depths"]) > 1):
        options.setdefault("widths", [64])
    if alpha is not None:
        options["alpha"] = alpha
    if model is not None and tied:
        raise ForescaleError("--tied is of the model that the check makes; yours ties or not: leave one of them out.")
    options |= {"seeds": 2 if seeds is None else seeds, "optimizer": optimizer}
    if model is not None:
        options["make_model"] = _make_model(model)
    folder = out if out is not None or json else Path(f"check-{kind}")
    if folder is not None:
        _make_folder(folder)
    proxy = _proxy(kind, steps, batch=batch, seq_len=seq_len, tied=tied, data=data)
    if kind == "coords":
        _refuse(kind, {"--learning-rates": learning_rates, "--workers": workers if workers != 1 else None})
        found = _coords(scheme, learning_rate, steps, proxy, options)
    else:
        _refuse(kind, {"--learning-rate": learning_rate})
        found = _transfer(scheme, learning_rates, proxy, workers, folder, options)
    _report(kind, found, folder, json=json)
    if strict and found.verdict != "pass":
        sys.exit(1)


def _refuse(kind: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ForescaleError(f"{name} means nothing to check {kind}: leave it out.")


def _counts(text: str | None, name: str) -> list[int]:
    return [whole(part, name) for part in _parts(text)]


def _numbers(text: str | None, name: str) -> list[float]:
    return [parse_quantity(part, name) for part in _parts(text)]


def _parts(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part.strip()]


def _proxy(kind: str, steps: int | None, *, batch: int, seq_len: int, tied: bool, data: Path | None) -> Proxy:
    from forescale.check import Proxy

    known: dict[str, Any] = {} if kind == "coords" or steps is None else {"steps": steps}
    files = () if data is None else (str(data),)
    return Proxy(batch_sequences=batch, seq_len=seq_len, tied=tied, data=files, **known)


def _coords(scheme: str, rate: str | None, steps: int | None, proxy: Proxy, options: dict[str, Any]) -> CoordCheck:
    from forescale.check import check_coords

    if rate is not None:
        options["learning_rate"] = parse_quantity(rate, "--learning-rate")
    if steps is not None:
        options["steps"] = steps
    return check_coords(scheme, proxy=proxy, progress=_say_size, **options)


def _transfer(
    scheme: str, rates: str | None, proxy: Proxy, workers: int, folder: Path | None, options: dict[str, Any]
) -> TransferCheck:
    from forescale.check import check_transfer

    if rates is not None:
        options["learning_rates"] = _numbers(rates, "--learning-rates")
    return check_transfer(scheme, proxy=proxy, workers=workers, folder=folder, progress=_Said(), **options)


def _say_size(text: str, done: int, total: int) -> None:
    print(f"forescale: {text} ({done + 1} of {total})", file=sys.stderr)


class _Said:
    """A line a run, with the time that is left by those made so far."""

    def __init__(self) -> None:
        import time

        self.clock: Callable[[], float] = time.monotonic
        self.start, self.first = self.clock(), -1

    def __call__(self, point: Any, done: int, total: int) -> None:
        from forescale.quantities import humanize_duration

        self.first = done - 1 if self.first < 0 else self.first
        left = (self.clock() - self.start) / (done - self.first) * (total - done)
        print(
            f"forescale: run {done} of {total}: size {point.size:g}, learning rate {point.learning_rate:.3g}, loss "
            f"{point.loss:.4f}; about {humanize_duration(left)} left",
            file=sys.stderr,
        )


def _make_model(text: str) -> Callable[[int, int, float], Any]:
    """The function that `file.py:function` names; processes of their own find its file on the path as well."""
    import os
    from importlib import import_module

    file, colon, name = text.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not path.is_file():
        raise ForescaleError(f"--model takes file.py:function, a file that exists; got {text!r}.")
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    made = getattr(import_module(path.stem), name, None)
    if not callable(made):
        raise ForescaleError(f"--model: {file} has no function {name!r}.")
    return made


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ForescaleError(f"--out {folder} cannot be made: {error.strerror or error}.") from None


def _report(kind: str, found: CoordCheck | TransferCheck, folder: Path | None, *, json: bool) -> None:
    import json as library

    document = library.dumps(found.to_json(), indent=2)
    if json:
        print(document)
    else:
        _print(found)
    if folder is None:
        return
    from forescale.check import CoordCheck
    from forescale.cli._outputs import write
    from forescale.plots import coords_chart, picture_bytes, transfer_chart

    name = f"{kind}-{found.scheme}-{found.axis}"
    drawn: Any = coords_chart(found) if isinstance(found, CoordCheck) else transfer_chart(found)
    picture = folder / f"{name}.png"
    for path, content in ((picture, picture_bytes(drawn, picture)), (folder / f"{name}.json", document.encode())):
        print(f"forescale: {write(path, content)} {path}", file=sys.stderr)


def _print(found: Any) -> None:
    from forescale.cli._console import Column, make_console, make_table

    console = make_console()
    console.print(f"{found.verdict}: {found.says}\n")
    if hasattr(found, "curves"):
        columns = [
            Column(name="activation"),
            *(Column(name=f"{found.axis} {s:g}", justify="right") for s in found.sizes),
        ]
        columns += [Column(name="slope", justify="right"), Column(name="verdict")]
        rows = [
            (c.kind, *(f"{v:.3g}" for v in c.values[-1]), f"{c.slope:+.2f}", c.verdict)
            for c in (*found.curves, *found.decays)
        ]
    else:
        names = (found.axis, "best learning rate", "loss", "drift (octaves)", "base's rate costs (%)", "")
        columns = [Column(name=name, justify="right") for name in names]
        rows = [
            (
                f"{m.size:g}",
                f"{m.learning_rate:.4g}",
                f"{m.loss:.4f}",
                f"{m.drift:+.2f}",
                f"{m.base_rate_loss_gap_percent:.2f}",
                "at the end of the grid" if m.edge else "",
            )
            for m in found.minima
        ]
    console.print(make_table(console, columns, rows)[0])
