"""Values that no law predicts, with their sources (`conventions.toml`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What published recipes use for one hyperparameter, and the range seen."""

    value: float
    reason: str
    source: str
    evidence: str
    low: float | None = None
    high: float | None = None


@lru_cache
def conventions() -> dict[str, Convention]:
    """Name -> convention."""
    table = tomllib.loads((Path(__file__).parent / "conventions.toml").read_text(encoding="utf-8"))
    return {name: Convention(**fields) for name, fields in table.items()}
