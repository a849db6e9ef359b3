"""A landscape as a valley: its floor runs along the ridge, where each batch has its best learning rate.

gap(u, v) = across(u - ridge v) + floor(v), u and v in octaves of learning rate and batch from the optimum. Both parts come
from the two measured slices: across is the slice along the learning rate at the best batch, and floor the slice along the
batch at the best rate less what is lost there by not following the ridge. A plan moves its rate along the same ridge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from forescale.laws import Landscape, Slice, law

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

OCTAVE = math.log(2)
WILD = 0.2  # gap (share) from which a run counts as diverged


def landscape_of(is_moe: bool) -> Landscape:
    """Step Law's measured landscape for the kind of model."""
    found = law("step-law-moe" if is_moe else "step-law").landscape
    assert found is not None
    return found


def across(landscape: Landscape, octaves: Array) -> Array:
    """The gap at rates off the best one of their batch."""
    return _read(landscape.learning_rate, octaves)


def floor(landscape: Landscape, octaves: Array) -> Array:
    """The gap at batches off the best one, each at its best rate."""
    import numpy as np

    missed = _read(landscape.learning_rate, -landscape.ridge * octaves)
    return np.maximum(_read(landscape.batch_tokens, octaves) - missed, 0.0)


def _read(measured: Slice, octaves: Array) -> Array:
    """A slice's gap at offsets of any size: linear in the signed root, and on beyond the ends."""
    import numpy as np

    at = np.array(measured.octaves)
    roots = np.copysign(np.sqrt(measured.loss_gap), at)
    found = np.interp(octaves, at, roots)
    for end, inner in ((0, 1), (-1, -2)):
        slope = (roots[end] - roots[inner]) / (at[end] - at[inner])
        outside = octaves < at[0] if end == 0 else octaves > at[-1]
        found = np.where(outside, roots[end] + slope * (octaves - at[end]), found)
    return found**2
