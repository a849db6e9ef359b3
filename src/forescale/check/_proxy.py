"""The small models and runs that the checks make, where the caller brings none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from forescale.errors import ForescaleError

FFN_RATIO = 3


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A decoder on bytes of text and how long it is trained; sizes in tokens and sequences, `timescale` a share of the run."""

    seq_len: int = 64
    batch_sequences: int = 8
    steps: int = 200
    init_std: float | None = None  # at the base; None: base width^-1/2, with which matrices neither grow nor shrink x
    head_dim: int = 16  # the same at every width: the width grows by heads
    tied: bool = False
    timescale: float = 0.3  # AdamW's averaging timescale, which sets the weight decay
    schedule: str = "linear"  # a name of `forescale.schedules`, with its options: "wsd:decay=0.2"
    warmup: float = 0.1
    beta2: float = 0.95
    evaluated: int = 64  # sequences of held-out text
    data: tuple[str, ...] = ()  # files of text; none: the sources of Python's standard library

    def model(self, width: int, depth: int, density: float) -> Any:
        """A decoder of that size; its values are drawn anew by the rules."""
        from forescale.train import ModelOptions, build_model
        from forescale.workload import Shape

        if width % self.head_dim:
            raise ForescaleError(
                f"a width must be a multiple of the head size {self.head_dim}; got {width}: change it, or head_dim."
            )
        heads = width // self.head_dim
        # The FFN in the same proportion at every width: the usual rounding to 256 would change it from size to size.
        shape = Shape(layers=depth, width=width, heads=heads, vocab=256, tied=self.tied, ffn_width=FFN_RATIO * width)
        return build_model(shape, ModelOptions(density=density), seq_len=self.seq_len)

    def corpus(self) -> Any:
        """The text as tokens."""
        from forescale.train import open_corpus

        return open_corpus(list(self.data) or None, tokenizer="bytes")


def sequences_loss(model: Any, sequences: Any, *, objective: bool = True) -> Any:
    """Mean nats per token of (count, length + 1) sequences, for our decoder, Hugging Face's models, nanoGPT's and others'.

    With `objective` what training minimises, where a model tells the two apart.
    """
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    if hasattr(model, "config") and hasattr(model.config, "to_dict"):
        return _cross_entropy(model(input_ids=inputs).logits, targets)
    if not _takes_targets(model):
        return _cross_entropy(_logits_in(model(inputs)), targets)
    made = model(inputs, targets)
    if hasattr(made, "objective"):
        return made.objective if objective else made.loss
    if isinstance(made, tuple):
        return made[1]  # pyright: ignore[reportUnknownVariableType]
    return _cross_entropy(made, targets)


def _takes_targets(model: Any) -> bool:
    """Whether the second argument of a model's forward is called like the tokens to predict."""
    second = [*signature(getattr(model, "forward", model)).parameters, "", ""][1]
    return "target" in second or "label" in second or second in ("y", "yb", "tgt")


def logits_of(model: Any, sequences: Any) -> Any:
    """The logits of the same sequences."""
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    if hasattr(model, "config") and not hasattr(model.config, "to_dict") and _takes_targets(model):
        return model(inputs, targets)[0]  # nanoGPT's gives those of every position beside a loss only
    return _logits_in(model(inputs))


def _logits_in(made: Any) -> Any:
    if isinstance(made, tuple):
        return made[0]  # pyright: ignore[reportUnknownVariableType]
    return getattr(made, "logits", made)


def _cross_entropy(logits: Any, targets: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


MakeModel = Callable[[int, int, float], Any]
MakeRules = Callable[[int, int, float], Any]


def rules_of(scheme: Any, base_width: int, base_depth: int, alpha: float | None, init_std: float | None) -> MakeRules:
    """For each size its rules: those of a scheme's name around the base, or what the caller's function gives."""
    if callable(scheme):
        return scheme
    from forescale.parametrize import parametrization
    from forescale.workload import Shape

    def made(width: int, depth: int, density: float) -> Any:
        del width, depth
        options: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
        if scheme == "supar":
            options["density"] = density
        if scheme != "u-mup":  # which has initial values of its own
            options["init_std"] = base_width**-0.5 if init_std is None else init_std
        return parametrization(scheme, base=Shape(width=base_width, depth=base_depth), **options)

    return made
