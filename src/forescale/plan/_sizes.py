"""From what the user gives (numbers, a shape, a config.json, a compute budget) to a workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forescale.errors import ForescaleError
from forescale.laws import Law, law
from forescale.plan._allocate import allocate
from forescale.plan._choose import default_loss_law
from forescale.quantities import positive
from forescale.workload import Shape, Workload

DEFAULT_SEQ_LEN = 4096


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What was said about the model, the tokens and the compute; `None` where nothing was. Counts, tokens, FLOPs."""

    params: float | None = None
    active_params: float | None = None
    tokens: float | None = None
    tokens_per_param: float | None = None
    compute: float | None = None
    unique_tokens: float | None = None
    seq_len: int | None = None
    sparsity: float = 0.0
    config: Path | None = None
    shape: Shape | None = None

    def workload(self, loss_law: Law | None = None) -> Workload:
        """The workload that the sizes determine; raise `ForescaleError` where they contradict or do not suffice.

        Any one of tokens, tokens_per_param and compute settles D for a known model; compute alone is split into N and D
        by `loss_law` (default: as for the loss). More unique tokens than the run takes are no repetition.
        """
        self._check()
        if self.config is None and self.shape is None and self.params is None:
            return self._from_compute(loss_law or law(default_loss_law(self.unique_tokens)))
        model = self._model()
        tokens = self._tokens(model.active)
        return replace(model, tokens=tokens, unique_tokens=self._unique(tokens), sparsity=self.sparsity)

    def _check(self) -> None:
        models = _given(self, ("config", "shape", "params"))
        if len(models) > 1:
            raise ForescaleError(f"{_flags(models)} each describe the model: give one of them.")
        if self.active_params is not None and self.params is None:
            raise ForescaleError(
                "--active-params belongs to --params: a config or a shape counts its own active parameters."
            )
        lengths = _given(self, ("tokens", "tokens_per_param", "compute"))
        if models and len(lengths) > 1:
            raise ForescaleError(f"{_flags(lengths)} each fix the tokens of a known model: give one of them.")
        if models and not lengths:
            raise ForescaleError("the length of the run is missing: give --tokens, --tokens-per-param or --compute.")
        if not models and self.compute is None:
            raise ForescaleError(
                "the model is missing: give --params, --config or --shape (with --tokens or --tokens-per-param), or "
                "--compute alone to have a loss law choose both."
            )
        for name in lengths:
            positive(getattr(self, name), f"--{name.replace('_', '-')}")

    def _model(self) -> Workload:
        """The model with a placeholder for its tokens, which `workload` replaces."""
        placeholder = 1e18
        if self.config is not None:
            return Workload.from_config(self.config, tokens=placeholder, seq_len=self.seq_len)
        seq_len = self.seq_len or DEFAULT_SEQ_LEN
        if self.shape is not None:
            return Workload.from_shape(self.shape, tokens=placeholder, seq_len=seq_len)
        assert self.params is not None
        return Workload(params=self.params, active_params=self.active_params, tokens=placeholder, seq_len=seq_len)

    def _tokens(self, active: float) -> float:
        if self.tokens is not None:
            return self.tokens
        if self.tokens_per_param is not None:
            return self.tokens_per_param * active
        assert self.compute is not None
        return self.compute / (6 * active)

    def _unique(self, tokens: float) -> float | None:
        if self.unique_tokens is not None:
            positive(self.unique_tokens, "--unique-tokens")
        return None if self.unique_tokens is None or self.unique_tokens >= tokens else self.unique_tokens

    def _from_compute(self, loss_law: Law) -> Workload:
        assert self.compute is not None
        if self.tokens is not None and self.tokens_per_param is not None:
            raise ForescaleError("--compute, --tokens and --tokens-per-param fix the model twice: give two of them.")
        source = "6 N D = compute"
        if self.tokens is not None:
            params, tokens = self.compute / (6 * self.tokens), self.tokens
        elif self.tokens_per_param is not None:
            params = (self.compute / (6 * self.tokens_per_param)) ** 0.5
            tokens = params * self.tokens_per_param
        else:
            params, tokens = allocate(self.compute, loss_law, sparsity=self.sparsity, unique_tokens=self.unique_tokens)
            counts = " (whose N counts the vocabulary too)" if loss_law.params_means == "all" else ""
            source = f"{loss_law.name} at {self.compute:.3g} FLOPs{counts}"
        return Workload(
            params=params,
            tokens=tokens,
            seq_len=self.seq_len or DEFAULT_SEQ_LEN,
            unique_tokens=self._unique(tokens),
            sparsity=self.sparsity,
            source=source,
        )


def _given(sizes: Sizes, names: Sequence[str]) -> list[str]:
    return [n for n in names if getattr(sizes, n) is not None]


def _flags(names: Sequence[str]) -> str:
    return " and ".join(f"--{n.replace('_', '-')}" for n in names)
