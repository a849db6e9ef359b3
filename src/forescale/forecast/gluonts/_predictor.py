"""A trained forecaster as a predictor of GluonTS: data set in, sample forecasts out, saved as a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, MissingExtraError

try:
    from gluonts.model.forecast import SampleForecast  # pyright: ignore[reportMissingTypeStubs]
    from gluonts.model.predictor import Predictor  # pyright: ignore[reportMissingTypeStubs]
except ImportError as error:
    raise MissingExtraError("GluonTS is not installed: pip install 'forescale[gluonts]'.") from error

from forescale.forecast._options import whole

if TYPE_CHECKING:
    from forescale.forecast._forecaster import Forecaster

ENTRIES = 256  # that are read from the data set at a time
WEIGHTS, ABOUT = "forecaster.pt", "forecaster.json"


class ForecasterPredictor(Predictor):
    """Forecasts of the values after each entry's target, as GluonTS's `SampleForecast`; the order is the data set's.

    `num_parallel_samples` is how many paths an entry gets where `predict` is not told another number of them. Paths depend
    on `seed`, on the entry's item_id and on its length, not on the other entries.
    """

    def __init__(
        self, forecaster: Forecaster, prediction_length: int, num_parallel_samples: int = 100, seed: int = 0
    ) -> None:
        super().__init__(prediction_length=whole(prediction_length, "prediction_length"))
        self.forecaster = forecaster
        self.num_parallel_samples = whole(num_parallel_samples, "num_parallel_samples")
        self.seed = seed

    def predict(self, dataset: Iterable[Mapping[str, Any]], num_samples: int | None = None, **_: Any) -> Iterator[Any]:
        """A forecast for each entry; `num_samples` paths each. What else GluonTS passes on is for networks of its own."""
        entries, count = iter(dataset), 0
        paths = self.num_parallel_samples if num_samples is None else whole(num_samples, "num_samples")
        while part := list(islice(entries, ENTRIES)):
            yield from self._forecasts(_named(part, count), paths)
            count += len(part)

    def _forecasts(self, entries: list[dict[str, Any]], paths: int) -> Iterator[Any]:
        drawn = self.forecaster.paths(entries, self.prediction_length, paths, seed=self.seed)
        for entry, samples in zip(entries, drawn, strict=True):
            start: Any = entry["start"] + len(entry["target"])
            yield SampleForecast(samples=samples, start_date=start, item_id=str(entry["item_id"]))

    def serialize(self, path: Path) -> None:
        """Write the forecaster into an existing folder; `Predictor.deserialize` of GluonTS reads it."""
        path = Path(path)
        try:
            super().serialize(path)
        except OSError as error:
            raise ForescaleError(
                f"{path} cannot be written: {error.strerror or error}; make the folder first."
            ) from None
        self.forecaster.save(path / WEIGHTS)
        about = {
            "class": self.forecaster.name,
            "prediction_length": self.prediction_length,
            "num_parallel_samples": self.num_parallel_samples,
            "seed": self.seed,
        }
        (path / ABOUT).write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def deserialize(cls, path: Path, **_: Any) -> ForecasterPredictor:
        """Read what `serialize` wrote."""
        from forescale import forecast

        try:
            about = json.loads((Path(path) / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ForescaleError(f"{path} holds no forecaster that serialize wrote: {error}.") from None
        kind = {"C2FAR": forecast.C2FAR, "SutraNet": forecast.SutraNet}[about.pop("class")]
        return cls(kind.load(Path(path) / WEIGHTS), **about)


def _named(entries: list[Mapping[str, Any]], first: int) -> list[dict[str, Any]]:
    """Entries with an item_id each: their number in the data set where they have none."""
    return [{**entry, "item_id": entry.get("item_id", first + k)} for k, entry in enumerate(entries)]
