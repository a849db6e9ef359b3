"""How squared norms leave a backward pass: as the gradient of a leaf that the forward pass was given.

Nothing is written in place and no Python runs in between, so compilers, recomputed activations and wrappers keep it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forescale.errors import ForescaleError

MOST_EXAMPLES = 4096  # of one backward pass in one process
COUNT, CALLS = -2, -1  # entries of a slot behind those of the examples


def make_slot(device: Any, dtype: Any = torch.float32) -> Tensor:
    """A leaf whose gradient is a record; it has an entry an example, their number, and how often the module was called."""
    return torch.zeros(MOST_EXAMPLES + 2, device=device, dtype=dtype, requires_grad=True)


def record(values: Tensor, slot: Tensor) -> Tensor:
    """What a backward pass hands to a slot: one value an example."""
    if values.shape[0] > MOST_EXAMPLES:
        raise ForescaleError(
            f"a noise meter holds {MOST_EXAMPLES} examples a backward pass; a module got {values.shape[0]}: accumulate smaller "
            "batches, or, if these are tokens, leave it out by `layers`."
        )
    made = slot.new_zeros(slot.shape)
    made[: values.shape[0]] = values
    made[COUNT] = values.shape[0]
    made[CALLS] = 1.0
    return made


def squared(x: Tensor) -> Tensor:
    """(examples, ...) to the squared norm of each, (examples,), in float32 or better."""
    rows = x.flatten(1)
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    return torch.einsum("bi,bi->b", rows, rows) if torch.compiler.is_compiling() else _norms(rows)


def _norms(rows: Tensor) -> Tensor:
    linalg: Any = torch.linalg
    return linalg.vector_norm(rows, dim=1).square()
