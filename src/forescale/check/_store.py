"""Finished runs in a folder, so that none is made twice."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from forescale.check._transfer_values import Point


class Store:
    """Finished runs, a JSON line each: a line cut short by a crash is not one."""

    def __init__(self, folder: str | Path | None) -> None:
        self.file = None if folder is None else Path(folder) / "points.jsonl"
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Point]:
        """Key of a job -> its point."""
        if self.file is None or not self.file.exists():
            return {}
        found: dict[str, Point] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                loss = math.inf if row["loss"] is None else row["loss"]
                found[row["key"]] = Point(**{k: row[k] for k in ("size", "learning_rate", "seed")}, loss=loss)
            except (ValueError, KeyError):
                continue
        return found

    def add(self, key: str, point: Point) -> None:
        """Append one."""
        if self.file is None:
            return
        row = {"key": key, **asdict(point), "loss": point.loss if math.isfinite(point.loss) else None}
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
