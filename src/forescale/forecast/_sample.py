"""Joint sample paths: the conditioning window runs once, and its state is copied for all paths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forescale.forecast._windows import Windows, extra_inputs

ROWS = 4096  # paths that are moved at a time: enough to keep matrix products busy, few enough for the cache


def sample_windows(
    network: Any, windows: Windows, paths: int, horizon: int, generator: torch.Generator | None = None
) -> Tensor:
    """Paths of the windows' futures in their own units, float64 [windows, paths, horizon].

    A constant window's paths repeat its last value. Rows are independent, but share the generator: the same windows in
    the same order give the same paths.
    """
    out = torch.empty(len(windows.z), paths, horizon, dtype=torch.float64)
    size = max(ROWS // paths, 1)
    with torch.no_grad():
        for index in torch.arange(len(windows.z)).split(size):
            out[index] = _sample(network, windows.take(index), paths, horizon, generator)
    return out


def _sample(network: Any, windows: Windows, paths: int, horizon: int, generator: torch.Generator | None) -> Tensor:
    grid, layout, count = network.density.grid, windows.layout, len(windows.z)
    past = windows.z[:, : layout.reach]
    step = network.start(windows.inputs(grid, horizon=False), paths)
    z, bins = _buffers(past, grid.encode(past), paths, horizon)
    uniform = torch.rand(horizon, count * paths, generator=generator)
    for t in range(horizon):
        at = layout.reach + t
        extra = extra_inputs(windows, z, bins, grid, at, 1)
        new = step(z[:, at - 1], bins[:, at - 1], None if extra is None else extra[:, 0], uniform[t])
        z[:, at], bins[:, at] = new
    drawn = z[:, layout.reach :].reshape(count, paths, horizon).double()
    drawn = drawn * windows.unit[:, None, None] + windows.shift[:, None, None]
    last = past[:, -1].double() + windows.shift  # of a constant window, whose unit counted as 1
    return torch.where(windows.constant[:, None, None], last[:, None, None], drawn)


def _buffers(past: Tensor, bins: Tensor, paths: int, horizon: int) -> tuple[Tensor, Tensor]:
    """Past values and bins of every path, with room for the horizon."""
    z = past.repeat_interleave(paths, 0)
    binned = bins.repeat_interleave(paths, 0)
    room = binned.new_zeros(len(z), horizon, bins.shape[-1])
    return torch.cat([z, z.new_zeros(len(z), horizon)], 1), torch.cat([binned, room], 1)
