"""What is to be trained in the end, and runs of it and of its proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plan import Request
from forescale.sweep._job import Job, train_job
from forescale.sweep.design._common import eval_tokens
from forescale.train import PlannedRun, plan_run, shape_for
from forescale.workload import Shape, Workload

if TYPE_CHECKING:
    from forescale.runs import Runs

LEAST_PARAMS = 1.5e4  # of a proxy: a residual stream of 24 in two layers
LEAST_STEPS = 100  # of a proxy
FAMILY = ("norm", "qk_norm", "gated", "tied")  # of the target's shape, which proxies share


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be trained in the end; its proxies share `settings`, `chosen` and the family of its shape.

    `settings` are fields of `TrainConfig` (data, tokenizer, held_out, optimizer, ...), `chosen` those of the recipe that
    are decided already (beta2, schedule, ...). Raises `ForescaleError` for a workload without a shape.
    """

    workload: Workload
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    chosen: Mapping[str, float | int | str] = field(default_factory=dict[str, "float | int | str"])

    def __post_init__(self) -> None:
        if self.workload.shape is None:
            raise ForescaleError("a target to tune for needs a shape: use Workload.from_shape.")
        if decided := {"learning_rate", "batch_tokens", "batch_sequences", "steps"} & set(self.chosen):
            raise ForescaleError(
                f"tune finds learning rate and batch, and steps follow; {', '.join(sorted(decided))} was given: leave it out."
            )

    @property
    def shape(self) -> Shape:
        """The target's shape."""
        assert self.workload.shape is not None
        return self.workload.shape

    @property
    def compute(self) -> float:
        """FLOPs of one run of the target, attention and output matrix included, as those of its proxies are."""
        return self.job().compute

    def plan(
        self,
        workload: Workload | None = None,
        *,
        learning_rate: float | None = None,
        batch_tokens: float | None = None,
        seed: int = 0,
        runs: Runs | None = None,
        laws: tuple[str, ...] = (),
    ) -> PlannedRun:
        """A run of the target, or of a proxy; what is not given follows from laws, calibrated on `runs`."""
        workload = workload or self.workload
        request = Request(learning_rate=learning_rate, batch_tokens=batch_tokens, laws=laws)
        settings = {"eval_tokens": eval_tokens(workload.tokens), **self.settings}
        return plan_run(workload, request, chosen=self.chosen, runs=runs, seed=seed, **settings)

    def job(self, workload: Workload | None = None, **given: Any) -> Job:
        """`plan` as a job."""
        return train_job(self.plan(workload, **given).config)

    def proxy(self, params: float, tokens: float) -> Workload:
        """A smaller workload of the same family, with a real shape near `params`."""
        shape, seq_len = self.shape, int(self.workload.seq_len)
        options: dict[str, Any] = {name: getattr(shape, name) for name in FAMILY}
        options["position"] = "learned" if shape.positions else self._position
        if shape.experts is not None:
            options |= {"experts": shape.experts.count, "top_k": shape.experts.top_k}
        made = shape_for(params, vocab=shape.vocab, seq_len=seq_len, **options)
        return replace(Workload.from_shape(made, tokens=tokens, seq_len=seq_len), source="a proxy")

    @property
    def _position(self) -> str:
        options = self.settings.get("options")
        return "rotary" if options is None else options.position
