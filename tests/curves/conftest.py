"""Shared fixture: the law of each size's curves, fitted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from curve_worlds import FITTED, load_sizes

from forescale.curves import Curve, CurveLaw, fit_curve_law


@pytest.fixture(scope="session")
def sizes(data: Path) -> Callable[[int], tuple[dict[str, Curve], CurveLaw]]:
    """Size -> its curves and the law of the fitted ones; each is fitted once."""
    kept: dict[int, tuple[dict[str, Curve], CurveLaw]] = {}

    def of(size: int) -> tuple[dict[str, Curve], CurveLaw]:
        if size not in kept:
            curves = load_sizes(data, size)
            kept[size] = curves, fit_curve_law([curves[name] for name in FITTED])
        return kept[size]

    return of
