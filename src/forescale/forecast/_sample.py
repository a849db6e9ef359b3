"""Joint sample paths: the conditioning window runs once, and its state is copied for all paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from forescale.forecast._torch import chunks
from forescale.forecast._windows import Windows, extra_inputs

ROWS = 1024  # paths that are moved at a time: more do not fit the cache


def uniforms(seeds: Sequence[int], paths: int, horizon: int) -> Tensor:
    """Numbers in 0 to 1 for each window by its own seed, [windows, paths, horizon]: no window's depend on another's."""
    generator = torch.Generator()
    rows = [torch.rand(paths, horizon, generator=generator.manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.zeros(0, paths, horizon)


def sample_windows(draw: Callable[[Windows, Tensor], Tensor], windows: Windows, uniform: Tensor) -> Tensor:
    """Paths of the windows' futures in their own units, float64 [windows, paths, horizon], by `uniform` of that shape.

    Each number u picks the value below which a share u of the law given the path so far lies, so that for a horizon of 1
    chosen numbers give exact quantiles. A constant window's paths repeat its last value.
    """
    out = torch.empty(uniform.shape, dtype=torch.float64)
    size = max(ROWS // uniform.shape[1], 1)
    with torch.no_grad():
        for index in chunks(len(windows.z), size):
            part = windows.take(index)
            out[index] = _in_own_units(draw(part, uniform[index]).double(), part)
    return out


def _in_own_units(drawn: Tensor, windows: Windows) -> Tensor:
    unit, shift = windows.unit[:, None, None], windows.shift[:, None, None]
    last = windows.z[:, windows.layout.reach - 1, None, None] + shift  # of a constant window, whose unit counted as 1
    return torch.where(windows.constant[:, None, None], last, drawn * unit + shift)


def draw_paths(network: Any, windows: Windows, uniform: Tensor) -> Tensor:
    """Normalised paths of the windows' futures, value by value; as `sample_windows` otherwise."""
    grid, layout = network.density.grid, windows.layout
    count, paths, horizon = uniform.shape
    past = windows.z[:, : layout.reach]
    step = network.start(windows.inputs(grid, horizon=False), paths)
    z, bins = _buffers(past, grid.encode(past), paths, horizon)
    by_step = uniform.reshape(count * paths, horizon).T.contiguous()
    for t in range(horizon):
        at = layout.reach + t
        extra = extra_inputs(windows, z, bins, grid, at, 1)
        z[:, at], bins[:, at] = step(z[:, at - 1], bins[:, at - 1], None if extra is None else extra[:, 0], by_step[t])
    return z[:, layout.reach :].reshape(count, paths, horizon)


def _buffers(past: Tensor, bins: Tensor, paths: int, horizon: int) -> tuple[Tensor, Tensor]:
    """Past values and bins of every path, with room for the horizon."""
    z = past.repeat_interleave(paths, 0)
    binned = bins.repeat_interleave(paths, 0)
    room = binned.new_zeros(len(z), horizon, bins.shape[-1])
    return torch.cat([z, z.new_zeros(len(z), horizon)], 1), torch.cat([binned, room], 1)
