"""The workload: what is trained, as the numbers that laws take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import as_float, humanize, positive
from forescale.workload._parts import Part
from forescale.workload._shape import Shape

# Least and most of each count: outside, a suffix or a unit was forgotten (`--params 7` for 7B).
BOUNDS = {
    "params": (1e3, 1e15),
    "active_params": (1e3, 1e15),
    "tokens": (1e4, 1e18),
    "seq_len": (2, 2**24),  # a token and the one before it that predicts it
    "max_seq_len": (1, 1e9),
}
DEFAULT_MAX_SEQ_LEN = 8192  # a config's maximum may be that of a later stage, with longer sequences than pretraining's


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
    max_seq_len: int | None = None  # the longest sequence that a config.json states
    shape: Shape | None = None
    source: str = "numbers"

    def __post_init__(self) -> None:
        required = ("params", "tokens", "seq_len")
        given: dict[str, Any] = {n: getattr(self, n) for n in BOUNDS if n in required or getattr(self, n) is not None}
        for name, value in given.items():
            _check_most(value, name)
        if self.tokens < self.seq_len:
            raise ForescaleError(
                f"tokens must cover at least one sequence of seq_len {self.seq_len}; got {humanize(self.tokens)} tokens."
            )
        for name, value in given.items():
            _check_least(value, name)
        self._check_relations()

    def _check_relations(self) -> None:
        for name in ("vocab_params", "head_params"):
            if (value := getattr(self, name)) is not None and not 0 <= as_float(value, name) < float("inf"):
                raise ForescaleError(f"{name} must be finite and not below 0; got {value:g}: leave it out if unknown.")
        if self.active_params is not None and self.active_params > self.params:
            raise ForescaleError(
                f"active_params must lie between {humanize(BOUNDS['active_params'][0])} and params ({humanize(self.params)}); "
                f"got {self.active_params:g}: active parameters are a part of all parameters."
            )
        least, unique = self.seq_len, self.unique_tokens
        if unique is not None and not least <= as_float(unique, "unique_tokens") <= self.tokens:
            raise ForescaleError(
                f"unique_tokens must lie between one sequence ({least}) and tokens ({humanize(self.tokens)}); "
                f"got {unique:g}: leave it out if no token repeats."
            )
        if not 0 <= as_float(self.sparsity, "sparsity") < 1:
            raise ForescaleError(
                f"sparsity is the share of weights that are zero, from 0 to below 1; got {self.sparsity:g}."
            )

    @classmethod
    def from_shape(cls, shape: Shape, *, tokens: float, seq_len: int, source: str = "shape") -> Workload:
        """Count the parameters of `shape` exactly (see `Shape.parts`)."""
        return cls(
            params=shape.params,
            active_params=shape.active_params,
            vocab_params=sum(p.params for p in shape.parts() if p.vocabulary),
            head_params=shape.vocab * shape.width,
            tokens=tokens,
            seq_len=seq_len,
            shape=shape,
            source=source,
        )

    @classmethod
    def from_config(cls, path: str | Path, *, tokens: float, seq_len: int | None = None) -> Workload:
        """Read a Hugging Face `config.json` (a path, never the network).

        `seq_len` None takes the config's maximum, at most 8192; the maximum itself is kept as `max_seq_len`.
        """
        from forescale.workload._config import read_config

        config = read_config(path)
        most = config.max_seq_len
        if seq_len is None and most is None:
            raise ForescaleError(f"{path} states no maximum sequence length: give --seq-len.")
        length = min(most or DEFAULT_MAX_SEQ_LEN, DEFAULT_MAX_SEQ_LEN) if seq_len is None else seq_len
        found = cls.from_shape(config.shape, tokens=tokens, seq_len=length, source=f"{config.architecture} ({path})")
        return replace(found, max_seq_len=most)

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
            "max_seq_len": self.max_seq_len,
            "sparsity": self.sparsity,
            "flops_per_token": self.flops_per_token,
            "flops_per_token_attention": self.flops_per_token_attention,
            "compute": self.compute,
            "source": self.source,
            "parts": [p.to_json() for p in self.parts],
        }


def _check_most(value: object, name: str) -> None:
    number = positive(as_float(value, name), name)
    most = BOUNDS[name][1]
    if number > most:
        raise ForescaleError(f"{name} must be at most {humanize(most)}; got {humanize(number)}: check the unit.")
    if name.endswith("seq_len") and number != int(number):
        raise ForescaleError(f"{name} must be a whole number of tokens; got {number:g}.")


def _check_least(value: float, name: str) -> None:
    least = BOUNDS[name][0]
    if value < least:
        raise ForescaleError(
            f"{name} must be at least {humanize(least)}; got {value:g}: check the unit (7B is seven billion)."
        )
