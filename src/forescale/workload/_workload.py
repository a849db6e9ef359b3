"""The workload: what is trained, as the numbers that laws take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import humanize, positive
from forescale.workload._parts import Part
from forescale.workload._shape import Shape

MAX_PARAMS = 1e15
MAX_TOKENS = 1e18
MAX_SEQ_LEN = 2**24


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained. Parameters and tokens are counts; `compute` is FLOPs; a step's batch is not part of it.

    `params` and `active_params` are non-vocabulary parameters (everything but the embeddings, learned positions and
    the output head; norms included); `vocab_params` is the rest, counted once where tied. Raises `ForescaleError` for
    a size that is not finite, not positive, or absurd.
    """

    params: float
    tokens: float
    seq_len: int
    active_params: float | None = None  # non-vocabulary parameters that one token uses; None: all of them (dense)
    vocab_params: float | None = None  # None: not known (the workload was given as bare numbers)
    head_params: float | None = None  # the output matrix, also where it is tied to the embedding
    unique_tokens: float | None = None  # tokens before any repetition; None: every token is new
    sparsity: float = 0.0  # share of the non-vocabulary weights fixed at zero
    shape: Shape | None = None
    source: str = "numbers"

    def __post_init__(self) -> None:
        for name, value, most in (
            ("params", self.params, MAX_PARAMS),
            ("tokens", self.tokens, MAX_TOKENS),
            ("seq_len", self.seq_len, MAX_SEQ_LEN),
        ):
            if positive(value, name) > most:
                raise ForescaleError(f"{name} must be at most {humanize(most)}; got {humanize(value)}: check the unit.")
            if value < 1:
                raise ForescaleError(f"{name} counts things and must be at least 1; got {value:g}: check the unit.")
        if self.seq_len != int(self.seq_len):
            raise ForescaleError(f"seq_len must be a whole number of tokens; got {self.seq_len:g}.")
        if self.tokens < self.seq_len:
            raise ForescaleError(
                f"tokens must cover at least one sequence of seq_len {self.seq_len}; got {humanize(self.tokens)} tokens."
            )
        if self.active_params is not None and not 1 <= self.active_params <= self.params:
            raise ForescaleError(
                f"active_params must lie between 1 and params ({humanize(self.params)}); "
                f"got {self.active_params:g}: active parameters are a part of all parameters."
            )
        if self.unique_tokens is not None and not 1 <= self.unique_tokens <= self.tokens:
            raise ForescaleError(
                f"unique_tokens must lie between 1 and tokens ({humanize(self.tokens)}); got {self.unique_tokens:g}."
            )
        if not 0 <= self.sparsity < 1:
            raise ForescaleError(
                f"sparsity is the share of weights that are zero, from 0 to below 1; got {self.sparsity:g}."
            )

    @classmethod
    def from_shape(cls, shape: Shape, *, tokens: float, seq_len: int, source: str = "shape") -> Workload:
        """Count the parameters of `shape` exactly (see `Shape.parts`)."""
        parts = shape.parts()
        return cls(
            params=sum(p.params for p in parts if not p.vocabulary),
            active_params=sum(p.active_params for p in parts if not p.vocabulary),
            vocab_params=sum(p.params for p in parts if p.vocabulary),
            head_params=shape.vocab * shape.width,
            tokens=tokens,
            seq_len=seq_len,
            shape=shape,
            source=source,
        )

    @classmethod
    def from_config(cls, path: str | Path, *, tokens: float, seq_len: int | None = None) -> Workload:
        """Read a Hugging Face `config.json` (a path, never the network); `seq_len` None takes the config's maximum."""
        from forescale.workload._config import read_config

        config = read_config(path)
        length = config.max_seq_len if seq_len is None else seq_len
        if length is None:
            raise ForescaleError(f"{path} states no maximum sequence length: give --seq-len.")
        return cls.from_shape(config.shape, tokens=tokens, seq_len=length, source=f"{config.architecture} ({path})")

    @property
    def active(self) -> float:
        """Active non-vocabulary parameters; equal to `params` for a dense model."""
        return self.params if self.active_params is None else self.active_params

    @property
    def is_moe(self) -> bool:
        """Whether one token uses only a part of the parameters."""
        return self.active < self.params

    @property
    def total_params(self) -> float | None:
        """All parameters, vocabulary included; None where the vocabulary is not known."""
        return None if self.vocab_params is None else self.params + self.vocab_params

    @property
    def tokens_per_param(self) -> float:
        """D / N with N the active non-vocabulary parameters."""
        return self.tokens / self.active

    @property
    def flops_per_token(self) -> float:
        """6 N, forward and backward, N the active non-vocabulary parameters (Kaplan et al. 2020)."""
        return 6 * self.active

    @property
    def flops_per_token_attention(self) -> float | None:
        """6 N + 12 L d T: with attention scores over the full sequence (DeepSeek 2024, M); None without a shape."""
        if self.shape is None:
            return None
        return self.flops_per_token + 12 * self.shape.layers * self.shape.attention_width * self.seq_len

    @property
    def compute(self) -> float:
        """Training FLOPs, 6 N D."""
        return self.flops_per_token * self.tokens

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parameter counts by component; empty without a shape."""
        return () if self.shape is None else self.shape.parts()

    def to_json(self) -> dict[str, Any]:
        """The workload as plain JSON types."""
        return {
            "params": self.params,
            "active_params": self.active,
            "vocab_params": self.vocab_params,
            "total_params": self.total_params,
            "tokens": self.tokens,
            "unique_tokens": self.unique_tokens,
            "tokens_per_param": self.tokens_per_param,
            "seq_len": self.seq_len,
            "sparsity": self.sparsity,
            "flops_per_token": self.flops_per_token,
            "flops_per_token_attention": self.flops_per_token_attention,
            "compute": self.compute,
            "source": self.source,
            "parts": [p.to_json() for p in self.parts],
        }
