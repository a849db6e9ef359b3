"""What a run leaves on disk: config, metrics, checkpoints and result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.train._checkpoint import load_latest, restore, save_checkpoint, set_aside, steps_of
from forescale.train._config import TrainConfig
from forescale.train._config_json import config_hash, config_to_json
from forescale.train._files import why, write_json
from forescale.train._folder import CHECKPOINTS, METRICS, RESULT, check_free, claim, lock
from forescale.train._history import History
from forescale.train._metrics import Metrics
from forescale.train._sinks import make_sinks
from forescale.train._step import Stepper


class Keeper:
    """Keeps a run in its folder. Every process has one; the first writes, the others help to gather checkpoints."""

    def __init__(self, config: TrainConfig, stepper: Stepper, corpus: Mapping[str, Any], *, resume: bool) -> None:
        assert config.out is not None
        self.config, self.stepper = config, stepper
        self.folder = Path(config.out)
        self.checkpoints = self.folder / CHECKPOINTS
        self.notes: list[str] = []
        self.step, self.seconds, self.earlier = 0, 0.0, list[float]()
        self.written = 0  # the last step that has a line
        self._metrics: Metrics | None = None
        self._lock = None
        if stepper.world.main:
            try:
                self._lock = _claimed(self.folder, config, corpus, resume=resume)
            except OSError as error:
                raise self._unwritable(error) from None
        try:
            stepper.world.wait()
            if resume:
                self._resume()
            if stepper.world.main:
                self._start_metrics()
        except BaseException:
            self.close()
            raise

    def _resume(self) -> None:
        found, notes = load_latest(self.checkpoints)
        self.notes += [f"{note}; the one before it is used" for note in notes]
        if found is not None:
            restore(self.stepper, found)
            self.step, self.seconds = found.step, found.seconds
            if notes and self.stepper.world.main:
                self._set_aside(found.step)

    def _set_aside(self, step: int) -> None:
        """Checkpoints after `step` could not be read: they must not count as the newest when old ones are deleted."""
        try:
            set_aside(self.checkpoints, step)
        except OSError as error:
            raise self._unwritable(error) from None

    def _start_metrics(self) -> None:
        run = f"{self.folder.resolve().name}-{config_hash(self.config)}"
        sinks = make_sinks(self.config.log, self.folder, config_to_json(self.config), run, self.step)
        try:
            self._metrics = Metrics(self.folder / METRICS, self.step, sinks)
        except OSError as error:
            raise self._unwritable(error) from None
        self.earlier = [record["loss"] for record in self._metrics.kept]
        self.written = self.step

    def _unwritable(self, error: OSError) -> ForescaleError:
        return ForescaleError(
            f"the run's folder {self.folder} cannot be written: {why(error)}: free it, or name another."
        )

    def write(self, history: History, taken: int, *, sync: bool = False) -> None:
        """Write the lines of the steps that have none yet."""
        if self._metrics is None:
            return
        records = history.records(self.written, taken, self.config.batch_tokens, self.stepper.learning_rate)
        self._metrics.write(records, sync=sync)
        self.written = taken
        if self._metrics.problem:
            self._note(f"metrics could not be written after step {taken} ({self._metrics.problem}); they wait")

    def save(self, history: History, taken: int, seconds: float) -> bool:
        """Write metrics, then the checkpoint; False where it failed, and those before it are still there."""
        self.write(history, taken, sync=True)
        try:
            save_checkpoint(self.checkpoints, taken, self.stepper, seconds, self.config.keep_checkpoints)
        except OSError as error:
            left = steps_of(self.checkpoints)
            kept = f"that of step {left[-1]} is kept" if left else "there is none yet"
            self._note(f"the checkpoint of step {taken} could not be written ({why(error)}); {kept}")
            return False
        return True

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result; raises `ForescaleError` where it, or metrics before it, cannot be written."""
        if self._metrics is None:
            return
        try:
            if self._metrics.problem:
                raise OSError(0, self._metrics.problem)
            write_json(self.folder / RESULT, result)
        except OSError as error:
            raise self._unwritable(error) from None

    def last_checkpoint(self) -> int | None:
        """The step of the newest checkpoint."""
        steps = steps_of(self.checkpoints)
        return steps[-1] if steps else None

    def close(self) -> None:
        """Let the trackers finish, and others have the folder."""
        if self._metrics is not None:
            self._metrics.close()
        if self._lock is not None:
            self._lock.close()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _claimed(folder: Path, config: TrainConfig, corpus: Mapping[str, Any], *, resume: bool) -> Any:
    check_free(folder, resume=resume)
    held = lock(folder)
    try:
        claim(folder, config, corpus, resume=resume)
    except BaseException:
        held.close()
        raise
    for left in (folder, folder / CHECKPOINTS):
        for partial in left.glob("*.partial"):
            partial.unlink()
    return held
