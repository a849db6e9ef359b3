"""What a report shows if it is handed it: the runs to do next, and what a calibration learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class SuggestedRun(Protocol):
    """A run worth doing: any value with these attributes; tokens, FLOPs, and why."""

    @property
    def params(self) -> float: ...
    @property
    def tokens(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_tokens(self) -> float: ...
    @property
    def compute(self) -> float: ...
    @property
    def reason(self) -> str: ...


class Interval(Protocol):
    """A coefficient: any value with these attributes; `low` and `high` are its 80 % interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


Coefficients = Mapping[str, Mapping[str, Interval]]  # quantity -> coefficient -> interval


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was believed before the runs and after them: quantity -> coefficient -> value with interval.

    `labs` maps a lab to its own coefficients, where the prior is made of several; `note` says how it was made.
    """

    prior: Coefficients
    posterior: Coefficients
    labs: Mapping[str, Coefficients]
    note: str = ""
