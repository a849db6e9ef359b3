"""The authors' checkpoint: the names of its tensors, and what it says about its own size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from forescale.errors import ForescaleError
from forescale.forecast._density import Density
from forescale.forecast._grid import Grid
from forescale.forecast._networks import SeparateNetwork
from forescale.forecast._torch import from_array

LEVELS = ("coarse", "fine", "fine2")  # the authors' words for the levels
NUDGE = 0.01  # the authors' code moves values this far into a tail's support


def read_reference(path: str | Path, *, low: float = -0.1, high: float = 1.3) -> SeparateNetwork:
    """A network from the tensors of github.com/huaweicloud/c2far_forecasting in an .npz; low and high are not in it.

    The defaults are those of its hourly Azure settings. Raises `ForescaleError` for a file of other tensors.
    """
    tensors = _load(Path(path))
    levels = [name for name in LEVELS if f"{name}_out.weight" in tensors]
    if not levels:
        raise ForescaleError(f"{path} has no tensor coarse_out.weight: give the tensors of the authors' checkpoint.")
    bins = tuple(tensors[f"{name}_out.weight"].shape[0] for name in levels)
    hidden = tensors["coarse_out.weight"].shape[1]
    layers = sum(re.fullmatch(r"coarse_lstm\.weight_hh_l\d+", name) is not None for name in tensors)
    tails = "ex_mlp_low.0.weight" in tensors
    density = Density(grid=Grid(bins=bins, low=low, high=high), tails=tails, nudge=NUDGE if tails else 0.0)
    try:
        network = SeparateNetwork(density, hidden=hidden, layers=layers)
        network.load_state_dict({_ours(name): value for name, value in tensors.items()})
    except (RuntimeError, ValueError) as error:
        raise ForescaleError(f"{path} does not hold the authors' network: {error}.") from None
    return network.eval()


def _load(path: Path) -> Mapping[str, Tensor]:
    import numpy as np

    try:
        with np.load(path) as file:
            stored: dict[str, Any] = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise ForescaleError(f"the checkpoint {path} cannot be read: {error}.") from None
    return {name: from_array(value) for name, value in stored.items()}


def _ours(name: str) -> str:
    """fine2_lstm.bias_ih_l0 -> lstms.2.bias_ih_l0, ex_mlp_low.0.bias -> tails.low.0.bias."""
    part, _, rest = name.partition(".")
    if part.startswith("ex_mlp_"):
        return f"tails.{part.removeprefix('ex_mlp_')}.{rest}"
    level, _, kind = part.partition("_")
    return f"{kind}s.{LEVELS.index(level)}.{rest}"
