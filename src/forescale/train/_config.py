"""Everything that a training run is made of, as one value that is written down, compared and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from forescale.errors import ForescaleError
from forescale.optimizers import OPTIMIZERS
from forescale.parametrize import SCHEMES
from forescale.schedules import Schedule, by_name
from forescale.train._options import ModelOptions
from forescale.train._own import owned
from forescale.train._text import Errors
from forescale.workload import Shape

Precision = Literal["auto", "fp32", "bf16"]
Parallel = Literal["auto", "none", "ddp", "fsdp"]
Noise = Literal["off", "norm", "all"]
LOGS = ("tensorboard", "wandb", "trackio")
BASELESS = ("standard", "u-mup")  # schemes


# How a run is carried out: other values resume the same run.
EXECUTION = frozenset(
    {
        *("device", "compile", "parallel", "micro_batch", "threads", "eval_every", "checkpoint_every", "noise"),
        *("keep_checkpoints", "log_every", "log", "out"),
    }
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained, how, and on what; tokens, sequences, steps and ratios.

    The batch counts sequences of `seq_len` tokens. Learning rate, decay, betas and epsilon are those at the `base` of the
    parametrization `scheme`. The fields from `device` on say how the run is carried out: they may change when it is
    resumed, and change its numbers in the last bits at most. Raises `ForescaleError` for a value outside its range.
    """

    shape: Shape
    seq_len: int
    steps: int
    batch_sequences: int  # of an optimizer step, over all processes
    learning_rate: float  # peak
    weight_decay: float = 0.1  # PyTorch AdamW's
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    warmup_steps: int = 0  # as final_lr_ratio: where the schedule's text states it, it is what the text comes to
    schedule: str = "linear"  # a text of forescale.schedules
    final_lr_ratio: float = 0.0
    grad_clip: float = 1.0  # global gradient norm; 0: off
    init_std: float = 0.02
    optimizer: str = "adamw"
    scheme: str = "standard"
    base: Shape | None = None  # of the schemes that carry a recipe over from one; None: the shape itself
    scheme_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: ModelOptions = field(default_factory=ModelOptions)
    seed: int = 0  # of initial values and of the order of the data
    data: tuple[str, ...] = ()  # () and no corpus: the sources of Python's standard library
    tokenizer: str = "bytes"
    held_out: float | int | tuple[str, ...] | None = None
    key: str | None = None  # where the text stands in a record; None: `text`, or the only key that holds text
    errors: Errors = "strict"  # what is not UTF-8 ends the run, or is replaced by U+FFFD
    eval_tokens: int | None = 2**18  # of the held-out text, at most; None: all
    precision: Precision = "auto"  # bf16 where the accelerator has it; a run's folder says which it was
    device: str = "auto"
    compile: bool = False
    parallel: Parallel = "auto"  # ddp where there are several processes
    micro_batch: int | None = None  # sequences at once in a process; None: as memory allows
    threads: int | None = None  # None: what torch has
    eval_every: int | None = None  # steps; None: at the end alone
    checkpoint_every: int | None = None  # steps; None: every five minutes, and at the end
    keep_checkpoints: int = 2
    log_every: int = 10  # steps between writes
    noise: Noise = "off"  # log the gradient noise scale: from norm layers, or exactly of all
    log: tuple[str, ...] = ()
    out: str | None = None  # None: nothing is written

    def __post_init__(self) -> None:
        for name in ("steps", "batch_sequences", "seq_len"):
            _check_count(self, name, 1)
        for name in ("eval_every", "eval_tokens", "micro_batch", "threads", "checkpoint_every", "keep_checkpoints"):
            _check_count(self, name, 1)
        _check_count(self, "log_every", 1)
        for name in ("warmup_steps", "seed"):
            _check_count(self, name, 0)
        _check_ranges(self)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ForescaleError(
                    f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}: choose one."
                )
        if unknown := set(self.log) - set(LOGS):
            raise ForescaleError(f"log takes {', '.join(LOGS)}; got {', '.join(sorted(unknown))}: choose of these.")
        _check_base(self)
        self._fill_schedule()

    @property
    def batch_tokens(self) -> int:
        """Tokens of an optimizer step."""
        return self.batch_sequences * self.seq_len

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.batch_tokens

    @property
    def params(self) -> int:
        """Non-vocabulary parameters, those of all experts included."""
        return self.shape.params

    @property
    def active_params(self) -> int:
        """Non-vocabulary parameters that one token uses."""
        return self.shape.active_params

    @property
    def flops_per_token(self) -> int:
        """6 x the active parameters and the output matrix + 12 L d T: forward and backward, attention over all of T."""
        attention = 12 * self.shape.layers * self.shape.attention_width * self.seq_len
        return 6 * (self.active_params + self.shape.vocab * self.shape.width) + attention

    @property
    def recipe(self) -> dict[str, float]:
        """What a parametrization scales."""
        names = ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon")
        return {name: getattr(self, name) for name in names}

    def make_schedule(self) -> Schedule:
        """Progress to a factor on the peak, warmup included; what the schedule's own text states counts first."""
        if not self.warmup_steps < self.steps:
            raise ForescaleError(
                f"warmup_steps must be below the {self.steps} steps of the run; got {self.warmup_steps}: warm up for less."
            )
        given = {"warmup": self.warmup_steps / self.steps, "final": self.final_lr_ratio}
        own = owned(self.schedule)
        return by_name(self.schedule, **{key: value for key, value in given.items() if key not in own})

    def _fill_schedule(self) -> None:
        """State what the schedule decides itself, so that a record of the run is true; refuse anything else there."""
        schedule = self.make_schedule()
        own = owned(self.schedule)
        made: dict[str, float] = {}
        if "warmup" in own:
            made["warmup_steps"] = min(round((own["warmup"] or 0.0) * self.steps), self.steps - 1)
        if "final" in own:
            made["final_lr_ratio"] = schedule(1.0)
        for name, value in made.items():
            if getattr(self, name) not in (0, value):
                raise ForescaleError(
                    f"{name} is decided by the schedule {self.schedule} itself, which comes to {value:g}; got "
                    f"{getattr(self, name):g}: leave it out."
                )
            object.__setattr__(self, name, value)


_CHOICES = {
    "optimizer": OPTIMIZERS,
    "precision": get_args(Precision),
    "parallel": get_args(Parallel),
    "noise": get_args(Noise),
    "errors": get_args(Errors),
}

# Name -> least, most, and whether the least itself is allowed; the most never is.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0, math.inf, False),
    "weight_decay": (0, math.inf, True),
    "beta1": (0, 1, True),
    "beta2": (0, 1, True),
    "epsilon": (0, math.inf, True),
    "grad_clip": (0, math.inf, True),
    "final_lr_ratio": (0, math.inf, True),
    "init_std": (0, math.inf, False),
}


def _check_base(config: TrainConfig) -> None:
    """A scheme without what it scales by is standard under another name."""
    scheme, options = config.scheme, config.scheme_options
    if scheme in BASELESS:
        if config.base is not None:
            raise ForescaleError(
                f"the scheme {scheme} has no base; one was given: leave it out, or choose another scheme."
            )
        return
    density = options.get("density", config.options.density)
    elsewhere = (scheme == "completed-p" and {"batch_ratio", "tokens_ratio"} & set(options)) or (
        scheme == "supar" and density != 1
    )
    if config.base is None and scheme in SCHEMES and not elsewhere:
        raise ForescaleError(
            f"the scheme {scheme} carries a recipe over from a base and is standard without one; got no base: give it "
            "(--base width=256,depth=4), or choose the scheme standard."
        )


def _check_count(config: TrainConfig, name: str, least: int) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ForescaleError(f"{name} must be a whole number, {least} or more; got {value!r}: correct it.")


def _check_ranges(config: TrainConfig) -> None:
    for name, (least, most, closed) in _RANGES.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ForescaleError(f"{name} must be a number; got {value!r}: write a plain number.")
        if not (least < value < most or (closed and value == least)):
            least_word = f"{least:g} or more" if closed else f"above {least:g}"
            most_word = "finite" if most == math.inf else f"below {most:g}"
            raise ForescaleError(f"{name} must be {least_word} and {most_word}; got {value:g}: correct it.")
