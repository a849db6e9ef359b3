"""Exact compression of series by a forecaster's law: the better the forecast, the fewer bits."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from forescale.errors import ForescaleError
from forescale.forecast._frames import Origin
from forescale.forecast._series import Panel, Step
from forescale.forecast._torch import whole_numbers
from forescale.forecast._windows import Cutter, Layout, Windows
from forescale.forecast.uses._coded import Block, double_precision
from forescale.forecast.uses._range_coder import AdaptiveBit, AdaptiveNumber, Coder, Decoder, Encoder

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR

MAGIC = b"forescale series 1"
MOST_DECIMALS = 9
LARGEST = 2**52  # of the whole numbers that are coded: float64 holds them exactly


def compress(model: C2FAR, data: Any, *, decimals: int | None = None) -> bytes:
    """Code a long frame of series in as few bytes as the model's law allows; `decompress` restores every value.

    Values are whole multiples of 10^-decimals; by default the fewest decimals that hold them all. Each value costs about
    -log2 of the probability of its bins (and the numbers in the finest one share it evenly), so a wrong model costs bytes,
    never values. Gaps are kept. The first horizon of a series and those after a constant span are coded by differences.
    The model is needed again to read the bytes; both run it in float64. Raises `ForescaleError` for values with more
    decimals, or a law without bins.
    """
    panel, origin = _read(model, data)
    decimals = _decimals(panel, decimals)
    numbers = [np.round(np.nan_to_num(values) * 10.0**decimals).astype(np.int64) for values in panel.values]
    present = [np.isfinite(values) for values in panel.values]
    encoder = Encoder()
    _walk(model, panel, decimals, numbers, present, encoder)
    header = {
        "ids": panel.ids, "first": panel.first, "lengths": [len(values) for values in panel.values],
        "step": dataclasses.asdict(panel.step), "decimals": decimals, "kind": origin.kind, "zone": origin.zone,
        "named": origin.named, "model": _fingerprint(model), "values": _checksum(panel),
    }  # fmt: skip
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    return MAGIC + len(packed).to_bytes(4, "big") + packed + encoder.finish()


def decompress(model: C2FAR, content: bytes) -> Any:
    """The frame that `compress` was given, as polars: unique_id, ds, y, series by series, each in the order of time.

    Raises `ForescaleError` for other bytes, another model than the one that wrote them, or values that do not match their
    checksum.
    """
    header, body = _opened(content)
    if header["model"] != _fingerprint(model):
        raise ForescaleError(
            "these bytes were written with another model: decompress with the one that compressed them."
        )
    lengths = header["lengths"]
    numbers = [np.zeros(length, np.int64) for length in lengths]
    present = [np.ones(length, bool) for length in lengths]
    panel = Panel(
        ids=tuple(header["ids"]), first=tuple(header["first"]), values=tuple(np.zeros(length) for length in lengths),
        step=Step(**header["step"]),
    )  # fmt: skip
    panel = _walk(model, panel, header["decimals"], numbers, present, Decoder(body))
    if _checksum(panel) != header["values"]:
        raise ForescaleError(
            "the values do not match their checksum: the bytes are damaged, or this machine's floating point differs from "
            "that of the machine that wrote them; decompress there."
        )
    return _frame(panel, Origin(kind=header["kind"], zone=header["zone"], named=header["named"]))


def _read(model: C2FAR, data: Any) -> tuple[Panel, Origin]:
    network, _ = model._ready()  # pyright: ignore[reportPrivateUsage]
    if hasattr(network, "head") and not hasattr(network.head, "density"):
        raise ForescaleError(f"compression codes bins, and the law {model.options.law!r} has none: take law='levels'.")
    if not hasattr(network, "start"):
        raise ForescaleError("compression walks a series in time's order, and a SutraNet does not: take a C2FAR.")
    return model._read(data)  # pyright: ignore[reportPrivateUsage]


def _decimals(panel: Panel, decimals: int | None) -> int:
    """The decimals that restore every value bit for bit."""
    values = np.concatenate([each[np.isfinite(each)] for each in panel.values])
    for tried in range(MOST_DECIMALS + 1) if decimals is None else [decimals]:
        numbers = np.round(values * 10.0**tried)
        if np.abs(numbers).max(initial=0) >= LARGEST:
            break
        if bool((numbers / 10.0**tried == values).all()):
            return tried
    limit = f"at most {MOST_DECIMALS}" if decimals is None else f"{decimals}"
    raise ForescaleError(
        f"values must be whole multiples of 10^-decimals, {limit} of them, below 2^52 of those steps; some are not: round "
        "them first, or take units in which they are."
    )


def _walk(model: C2FAR, panel: Panel, decimals: int, numbers: Any, present: Any, coder: Coder) -> Panel:
    """Code all series side by side, a horizon at a time; the panel as the coder has it."""
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    network, scale = double_precision(network), 10.0**decimals
    values = tuple(each.copy() for each in panel.values)
    differences, tails, gap = AdaptiveNumber(), AdaptiveNumber(), AdaptiveBit()
    for start in range(0, max(map(len, values)), layout.horizon):
        part = slice(start, start + layout.horizon)
        rows = [k for k, each in enumerate(values) if len(each) > start]
        for k in rows:
            _code_gaps(coder, gap, present[k][part])
        lawful, windows = _windows(dataclasses.replace(panel, values=values), rows, layout, start)
        if windows is not None:
            block = Block(coder, network.density.grid, windows, scale, tails)
            _code_block(block, network, [numbers[k][part] for k in lawful], [present[k][part] for k in lawful])
        for k in sorted(set(rows) - set(lawful)):
            _code_differences(coder, differences, numbers[k], present[k], part)
        for k in rows:
            values[k][part] = np.where(present[k][part], numbers[k][part] / scale, np.nan)
    return dataclasses.replace(panel, values=values)


def _windows(panel: Panel, rows: Sequence[int], layout: Layout, start: int) -> tuple[list[int], Windows | None]:
    """Which of the rows the law can code from `start` on, and their windows: those that varied before."""
    rows = [k for k in rows if start and np.isfinite(panel.values[k][:start]).any()]
    if not rows:
        return [], None
    told = Panel(
        ids=tuple(panel.ids[k] for k in rows),
        first=tuple(panel.first[k] for k in rows),
        values=tuple(panel.values[k][:start] for k in rows),
        step=panel.step,
    )
    cutter = Cutter(told, layout, ahead=layout.horizon)
    windows = cutter.cut(torch.arange(len(rows)), torch.full((len(rows),), start))
    kept = whole_numbers((~windows.constant).nonzero()[:, 0])
    return [rows[k] for k in kept], windows.take(torch.tensor(kept)) if kept else None


def _code_gaps(coder: Coder, gap: AdaptiveBit, present: Any) -> None:
    for t, there in enumerate(present):
        present[t] = not gap.code(coder, int(not there))


def _code_block(block: Block, network: Any, numbers: Sequence[Any], present: Sequence[Any]) -> None:
    """Code rows of numbers, which may differ in length, in place; a gap's number is free, and stays."""
    steps = max(map(len, numbers))
    table, active = np.zeros((len(numbers), steps), np.int64), np.zeros((len(numbers), steps), bool)
    for k, row in enumerate(numbers):
        table[k, : len(row)], active[k, : len(row)] = row, present[k]
    found = block.run(network, table, active)
    for k, row in enumerate(numbers):
        row[:] = found[k, : len(row)]


def _code_differences(coder: Coder, adaptive: AdaptiveNumber, numbers: Any, present: Any, part: slice) -> None:
    """Code differences from the observed value before, in place."""
    seen: Any = np.flatnonzero(present[: part.start])
    before = int(numbers[seen[-1]]) if len(seen) else 0
    for t in range(part.start, min(part.stop, len(numbers))):
        if present[t]:
            before += adaptive.code_signed(coder, int(numbers[t]) - before)
            numbers[t] = before


def _fingerprint(model: C2FAR) -> int:
    """Of the weights and the options."""
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    mark = zlib.crc32(repr((network.density.grid, layout)).encode())
    for name, weight in network.state_dict().items():
        mark = zlib.crc32(weight.detach().contiguous().numpy().tobytes(), zlib.crc32(name.encode(), mark))
    return mark


def _checksum(panel: Panel) -> int:
    mark = 0
    for values in panel.values:
        mark = zlib.crc32(np.where(np.isfinite(values), values + 0.0, np.nan).tobytes(), mark)
    return mark


def _opened(content: bytes) -> tuple[dict[str, Any], bytes]:
    at = len(MAGIC) + 4
    size = int.from_bytes(content[len(MAGIC) : at], "big")
    try:
        if not content.startswith(MAGIC):
            raise ValueError(content[:8])
        return json.loads(zlib.decompress(content[at : at + size])), content[at + size :]
    except (ValueError, zlib.error):
        raise ForescaleError("these bytes are not compressed series: give what compress returned.") from None


def _frame(panel: Panel, origin: Origin) -> Any:
    times = [panel.step.times(first, 0, len(v)) for first, v in zip(panel.first, panel.values, strict=True)]
    names = [name for name, values in zip(panel.ids, panel.values, strict=True) for _ in values]
    y = [None if np.isnan(value) else float(value) for values in panel.values for value in values]
    return origin.frame({"unique_id": names, "y": y}, np.concatenate(times))
