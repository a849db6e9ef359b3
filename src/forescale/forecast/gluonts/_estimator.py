"""Estimators of GluonTS that train C2FAR and SutraNet, with the arguments of its DeepAREstimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from forescale.errors import ForescaleError, MissingExtraError

try:
    from gluonts.model.estimator import Estimator  # pyright: ignore[reportMissingTypeStubs]
except ImportError as error:
    raise MissingExtraError("GluonTS is not installed: pip install 'forescale[gluonts]'.") from error

from forescale.forecast._c2far import C2FAR
from forescale.forecast._entries import frequency_step
from forescale.forecast._frames import read_panel
from forescale.forecast._options import whole
from forescale.forecast._train import Training
from forescale.forecast.gluonts._predictor import ForecasterPredictor
from forescale.forecast.sutra._sutranet import SutraNet

if TYPE_CHECKING:
    from forescale.forecast._forecaster import Forecaster

# Arguments of DeepAREstimator that nothing here answers to: name -> (the value that asks for nothing, what to do).
UNANSWERED: dict[str, tuple[Any, str]] = {
    "num_feat_dynamic_real": (0, "series are forecast from themselves and the calendar"),
    "num_feat_static_cat": (0, "series are forecast from themselves and the calendar"),
    "num_feat_static_real": (0, "series are forecast from themselves and the calendar"),
    "cardinality": (None, "there are no static features"),
    "embedding_dimension": (None, "there are no static features"),
    "distr_output": (None, "the law is that of nested bins, or law='normal' or 'student-t'"),
    "default_scale": (None, "a window is scaled by its own past"),
    "imputation_method": (None, "gaps take the value before them"),
    "patience": (None, "the learning rate falls by a fixed plan"),
    "train_sampler": (None, "training windows are drawn evenly"),
    "validation_sampler": (None, "the last prediction_length values of each series are held out"),
}
# Those of Lightning's Trainer that are met by doing nothing, if they have one of these values.
IDLE: dict[str, tuple[Any, ...]] = {
    "accelerator": ("cpu", "auto"), "devices": (1, "auto"), "callbacks": (None, []), "logger": (None, False, True),
    "enable_checkpointing": (False, True), "enable_model_summary": (False, True), "precision": (32, "32", "32-true"),
}  # fmt: skip
# Of loading training data, which are kept in memory here.
LOADING = {"num_workers", "shuffle_buffer_length", "cache_data", "prefetch_factor"}


class C2FAREstimator(Estimator):
    """C2FAR for a user of GluonTS: takes DeepAREstimator's place, with the same arguments where they mean something here.

    `train` returns a predictor of GluonTS. The defaults are C2FAR's: context_length a season, num_layers 1, hidden_size 64,
    lr 0.005, batch_size 128, at most 1000 steps; with trainer_kwargs={"max_epochs": E}, at most E x num_batches_per_epoch.
    Other options of C2FAR go by their own names (bins, span, backbone ...). `scaling` is "min-max" or "standard". Raises
    `ForescaleError` for arguments of DeepAREstimator that nothing here answers to, such as features.
    """

    forecaster: ClassVar[Any] = C2FAR  # the class that is trained, by keywords

    def __init__(
        self,
        freq: str,
        prediction_length: int,
        context_length: int | None = None,
        num_layers: int | None = None,
        hidden_size: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        dropout_rate: float | None = None,
        *,
        lags_seq: Sequence[int] | None = None,
        time_features: Sequence[Any] | None = None,
        scaling: bool | str = True,
        num_parallel_samples: int = 100,
        batch_size: int | None = None,
        num_batches_per_epoch: int = 50,
        trainer_kwargs: Mapping[str, Any] | None = None,
        nonnegative_pred_samples: bool | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(lead_time=0)  # pyright: ignore[reportUnknownMemberType]
        self.freq, self.step = freq, frequency_step(freq)
        self.prediction_length = whole(prediction_length, "prediction_length")
        self.num_parallel_samples, self.seed = whole(num_parallel_samples, "num_parallel_samples"), seed
        if time_features:
            raise ForescaleError(
                "time_features are chosen by the step of the series: leave them out, or take [] for none."
            )
        if scaling is False:
            raise ForescaleError("bins are those of a scaled window, so scaling cannot be off: leave it out.")
        given = {
            "context": context_length,
            "layers": num_layers,
            "hidden": hidden_size,
            "dropout": dropout_rate,
            "lags": None if lags_seq is None else tuple(lags_seq),
            "calendar": None if time_features is None else False,
            "scaling": None if scaling is True else scaling,
            "nonnegative": nonnegative_pred_samples,
        }
        self._options: dict[str, Any] = {name: value for name, value in given.items() if value is not None} | _answered(
            options
        )
        trainer, self._progress = _trainer(trainer_kwargs or {}, whole(num_batches_per_epoch, "num_batches_per_epoch"))
        wanted: dict[str, Any] = {"learning_rate": lr, "weight_decay": weight_decay, "batch": batch_size, **trainer}
        self._training = Training(seed=seed, **{name: value for name, value in wanted.items() if value is not None})
        self._forecaster()  # so that what cannot be is told before training

    def train(
        self,
        training_data: Iterable[Mapping[str, Any]],
        validation_data: Iterable[Mapping[str, Any]] | None = None,
        **loading: Any,
    ) -> ForecasterPredictor:
        """Train on a data set of GluonTS; the last prediction_length values of each series choose the weights."""
        if unknown := sorted(loading.keys() - LOADING):
            raise ForescaleError(f"train knows no {', '.join(unknown)}: leave it out.")
        if validation_data is not None:
            warnings.warn(
                "validation_data is not read: the last prediction_length values of each training series are held out.",
                stacklevel=2,
            )
        entries = list(training_data)
        panel, _ = read_panel(entries)
        if panel.step != self.step:
            raise ForescaleError(f"freq is {self.freq!r}, a step of {self.step}; got series of step {panel.step}.")
        model = self._forecaster().fit(entries, progress=self._progress)
        return ForecasterPredictor(model, self.prediction_length, self.num_parallel_samples, self.seed)

    def _forecaster(self) -> Forecaster:
        return self.forecaster(horizon=self.prediction_length, training=self._training, **self._options)


class SutraNetEstimator(C2FAREstimator):
    """SutraNet for a user of GluonTS; as `C2FAREstimator`, with subseries, order and alternating, without lags and calendar."""

    forecaster = SutraNet


def _answered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are C2FAR's own; `ForescaleError` for DeepAR's that ask for something."""
    refused = [
        f"{name} ({why})"
        for name, (idle, why) in UNANSWERED.items()
        if name in options and options[name] is not None and options[name] != idle
    ]
    if refused:
        raise ForescaleError(f"nothing here answers to {', '.join(refused)}: leave out what is named.")
    return {name: value for name, value in options.items() if name not in UNANSWERED}


def _trainer(wanted: Mapping[str, Any], batches: int) -> tuple[dict[str, Any], bool | None]:
    """Lightning's Trainer in the words of `Training`, and whether to draw a bar."""
    rest = dict(wanted)
    limits = [
        count for count in (_limit(rest, "max_epochs", batches), _limit(rest, "max_steps", 1)) if count is not None
    ]
    made = {"steps": min(limits) if limits else None, "clip": rest.pop("gradient_clip_val", None)}
    progress = rest.pop("enable_progress_bar", None)
    refused = [name for name, value in rest.items() if name not in IDLE or value not in IDLE[name]]
    if refused:
        raise ForescaleError(
            f"training here is no Lightning and runs on the CPU; it has nothing for trainer_kwargs "
            f"{', '.join(f'{name}={rest[name]!r}' for name in refused)}: leave out what is named. It knows max_epochs, "
            "max_steps, gradient_clip_val and enable_progress_bar."
        )
    return made, progress


def _limit(wanted: dict[str, Any], name: str, steps: int) -> int | None:
    """Steps that a limit comes to; -1 and None are Lightning's words for none."""
    value = wanted.pop(name, None)
    return None if value in (None, -1) else whole(value, name) * steps
