"""What is wanted of the run, and under which bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import as_float, positive

LEAST_PARAMS, MOST_PARAMS = 1e6, 1e15  # where runs are looked for
MOST = {"compute": 1e32, "deadline": 1e12, "inference_tokens": 1e20}  # FLOPs, seconds, tokens
DEFAULT_WEIGHT = 0.5
GIVE_ONE = "say what is wanted: --loss, --compute, or --deadline with --devices."


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A loss, a compute budget, a deadline, or several of them together. Nats per token, FLOPs, seconds, tokens.

    With a loss, time is traded against compute; with a deadline, compute against loss; with a compute budget alone, time
    against loss. What else is given is a bound. Raises `ForescaleError` for a goal that says nothing or contradicts itself.
    """

    loss: float | None = None  # to be reached
    compute: float | None = None  # FLOPs at most; with inference_tokens those of training and serving together
    deadline: float | None = None  # seconds at most
    weight: float | None = None  # of time, against compute (1 - weight), in the choice; None: 0.5
    inference_tokens: float | None = None  # that the model will read and write in its life
    seq_len: int = 4096
    params: float | None = None  # fixed, counted as the loss law counts them
    tokens_per_param: float | None = None  # fixed
    unique_tokens: float | None = None  # before repetition, for a loss law that knows what repetition costs
    laws: tuple[str, ...] = ()  # NAME or quantity=NAME, of loss and critical_batch_tokens

    def __post_init__(self) -> None:
        if self.loss is None and self.compute is None and self.deadline is None:
            raise ForescaleError(GIVE_ONE)
        for name in ("loss", "compute", "deadline", "inference_tokens", "params", "tokens_per_param", "unique_tokens"):
            if (value := getattr(self, name)) is not None:
                positive(value, name)
        for name, most in MOST.items():
            if (value := getattr(self, name)) is not None and value > most:
                raise ForescaleError(f"{name} must be at most {most:.0e}; got {value:.3g}: check the exponent.")
        length: Any = self.seq_len
        if isinstance(length, bool) or not isinstance(length, int) or not 2 <= length <= 2**24:
            raise ForescaleError(f"seq_len is the tokens of a sequence, a whole number from 2 to 2^24; got {length!r}.")
        if self.params is not None and not LEAST_PARAMS <= self.params <= MOST_PARAMS:
            raise ForescaleError(
                f"params must lie between {LEAST_PARAMS:.0e} and {MOST_PARAMS:.0e}; got {self.params:g}: was a suffix "
                "forgotten (7B)?"
            )
        self._check_weight()
        if self.params is not None and self.tokens_per_param is not None and self.loss is not None:
            raise ForescaleError(
                "a model and its tokens have one loss: give --loss, or --params with --tokens-per-param."
            )

    def _check_weight(self) -> None:
        if self.weight is None:
            return
        if not 0 <= as_float(self.weight, "weight") <= 1:
            raise ForescaleError(f"weight is the share of time against compute, from 0 to 1; got {self.weight:g}.")
        if self.trade == ("compute", "loss"):
            raise ForescaleError(
                "with a deadline the lowest loss is chosen, so --weight would be ignored: leave it out."
            )

    @property
    def trade(self) -> tuple[str, str]:
        """The two quantities that the frontier trades, the one it is sorted by first."""
        if self.loss is not None:
            return ("seconds", "compute")
        return ("seconds", "loss") if self.deadline is None else ("compute", "loss")

    @property
    def time_weight(self) -> float:
        """The weight of time against compute."""
        return DEFAULT_WEIGHT if self.weight is None else self.weight

    @property
    def served(self) -> float:
        """Tokens that the model will serve, 0 where none are stated."""
        return self.inference_tokens or 0.0
