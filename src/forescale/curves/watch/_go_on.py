"""Learning rates of the rest of a run, from those logged so far: what they look like, and what may follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# What may follow a rate that has stayed at its peak: nothing, or a decay over the last tenth, fifth or two fifths.
AFTER_FLAT = {"constant": 0.35, "wsd:decay=0.1": 0.2, "wsd:decay=0.2": 0.3, "wsd:decay=0.4": 0.15}
FLAT, LEFT = 0.005, 2e-5  # of the peak: what counts as no change, and as having left it (rates have no noise)
ALIKE, BETTER = 0.01, 3.0  # of the peak, within which a shape fits, and how much worse than the best one at most
EXACT = 5e-4  # of the peak: fits within it are equally good
Ways = Mapping[str, tuple[float, "Array"]]  # by name: its share of belief, and the rates over the peak


def ways_on(at: Array, height: Array, future: Array) -> tuple[Ways, str, bool]:
    """Rates over the peak at `future` that go on from those at `at`; both are shares of the steps after the warmup.

    Also what is said of it, and whether only one is left.
    """
    import numpy as np

    if float(at[-1]) >= 0.999:
        return {"logged": (1.0, np.full(len(future), height[-1]))}, "the learning rates were logged", True
    if float(height.min()) > 1 - FLAT:
        from forescale.schedules import by_name

        made = {name: by_name(name, warmup=0.0) for name in AFTER_FLAT}
        flat = {name: (AFTER_FLAT[name], np.array([go(float(x)) for x in future])) for name, go in made.items()}
        return flat, f"the rate has not left its peak: {', '.join(flat)} are weighed", False
    if fits := _fitting(at, height, future):
        ways = {name: (1 / len(fits), np.maximum(later, 0.0)) for name, later in fits.items()}
        return ways, f"the rates so far are those of {' or '.join(fits)}", len(fits) == 1
    said = "the rates so far are those of no usual schedule: going on as of late, to zero and staying are weighed"
    return _of_no_shape(at, height, future), said, False


def _fitting(at: Array, height: Array, future: Array) -> Mapping[str, Array]:
    """The shapes that hold the rates so far about as well as the best of them."""
    import numpy as np

    found: dict[str, tuple[float, Array]] = {}
    for name, (shape, later) in _falls(at, height, future).items():
        final = float(np.clip((shape @ (height - (1 - shape))) / max(shape @ shape, 1e-12), 0.0, 1.0))
        off = float(np.abs(1 - (1 - final) * shape - height).max())
        found[f"{name} to {final:.2g}" if final > 0.005 else f"{name} to zero"] = (off, 1 - (1 - final) * later)
    for name, (now, later) in _others(at, height, future).items():
        found[name] = (float(np.abs(now - height).max()), later)
    most = min(ALIKE, max(BETTER * min(off for off, _ in found.values()), EXACT))
    return {name: later for name, (off, later) in found.items() if off <= most}


def _falls(at: Array, height: Array, future: Array) -> Mapping[str, tuple[Array, Array]]:
    """Shares of the way down, now and later: of a line, a cosine, and falls that began where the peak was left."""
    import numpy as np

    left = float(at[max(int(np.argmax(height < 1 - LEFT)) - 1, 0)])
    made = {"a line": (at, future), "a cosine": (_cosine(at), _cosine(future))}
    if 0.02 < left < 1:
        now, later = (np.clip((x - left) / (1 - left), 0.0, 1.0) for x in (at, future))
        made["a line from the peak's end"] = (now, later)
        made["a root from the peak's end"] = (np.sqrt(now), np.sqrt(later))
        made["a cosine from the peak's end"] = (_cosine(now), _cosine(later))
    return made


def _cosine(x: Array) -> Array:
    import numpy as np

    return (1 - np.cos(math.pi * x)) / 2


def _others(at: Array, height: Array, future: Array) -> Mapping[str, tuple[Array, Array]]:
    """The rates of 1 / sqrt(1 + c x) and of (1 - x)^p, with the c and the p that fit best, now and later."""
    import numpy as np

    some = (at > 0) & (at < 0.99) & (height > 0.01)
    if some.sum() < 4:
        return {}
    x, y = at[some], height[some]
    c = max(float(x @ (y**-2.0 - 1)) / float(x @ x), 0.0)
    left = np.log1p(-x)
    power = float(left @ np.log(y)) / float(left @ left)
    made = {"an inverse root": ((1 + c * at) ** -0.5, (1 + c * future) ** -0.5)}
    if abs(power - 1) > 0.03:  # of a line it is 1
        made[f"a power {power:.2g} of what is left"] = ((1 - at) ** power, (1 - future) ** power)
    return made


def _of_no_shape(at: Array, height: Array, future: Array) -> Ways:
    import numpy as np

    back = max(len(height) // 10, min(2, len(height)))
    slope = max(float(height[-back] - height[-1]), 0.0) / max(float(at[-1] - at[-back]), 1e-9)
    gone = future - float(at[-1])
    goes_on = np.maximum(height[-1] - slope * gone, 0.0)
    to_zero = height[-1] * np.clip(1 - gone / max(1 - float(at[-1]), 1e-9), 0.0, 1.0)
    return {
        "as of late": (0.4, goes_on),
        "line to zero": (0.4, to_zero),
        "as it is": (0.2, np.full(len(future), height[-1])),
    }
