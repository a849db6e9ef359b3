"""What the runs of a design share, and the names of everything that a design may say of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import UnknownNameError
from forescale.recipe import Recipe
from forescale.sweep.command import Command

if TYPE_CHECKING:
    from forescale.runs import Runs

SIZE = ("params", "depth", "width", "heads")
FAMILY = ("kv_heads", "norm", "qk_norm", "gated", "tied", "bias", "experts", "top_k", "shared_experts", "dense_layers")
LENGTH = ("tokens", "tokens_per_param")
DATA = ("data", "tokenizer", "held_out", "eval_tokens", "key", "errors")
OPTIONS = ("position", "activation", "z_loss", "density")
WORKLOAD = (*SIZE, "active_params", *FAMILY, *LENGTH, "seq_len", "vocab", *DATA, *OPTIONS)
RECIPE = tuple(f.name for f in fields(Recipe))
TRAINER = ("optimizer", "scheme", "base", "scheme_options", "precision")
NAMES = frozenset({*WORKLOAD, *RECIPE, *TRAINER, "seed"})

# Nearly at no cost beside the run, and the same text for nearly all runs of a sweep, so that their losses compare.
EVAL_TOKENS, LEAST_EVAL_TOKENS = 2**16, 2**15
EVAL_SHARE = 0.3  # of the run's tokens: measuring costs a third of training on as many, so this is a tenth of the run


@dataclass(frozen=True, kw_only=True)
class Common:
    """What the runs of a design share; each puts its own values on top.

    `values` are those of the workload and the recipe by name: params, tokens, data, weight_decay, ...; what is not given
    is planned by `laws`, calibrated on `runs` where there are any. With a `command`, any other name is a field of its own.
    Raises `UnknownNameError` for a name that is none.
    """

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    command: Command | None = None  # None: forescale's own trainer
    laws: tuple[str, ...] = ()  # as `forescale.plan.Request` takes them
    runs: Runs | None = None
    execution: Mapping[str, Any] = field(default_factory=dict[str, Any])  # device, threads, checkpoint_every, ...
    time_limit: float | None = None  # seconds of a run

    def __post_init__(self) -> None:
        self.check_names(self.values)

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse a name that nothing reads."""
        known = NAMES | (self.command.fields if self.command else frozenset[str]())
        for name in names:
            if name not in known:
                raise unknown_name(name, known, "a run has no")


def unknown_name(name: str, known: Iterable[str], what: str) -> UnknownNameError:
    """The error for a name that is none: the nearest one, or all of them."""
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
    return UnknownNameError(f"{what} {name!r}; {hint}")


def eval_tokens(tokens: float) -> int:
    """How many held-out tokens a run of a sweep is measured on, where the design does not say.

    65,536, and 32,768 for a run so short that measuring would cost more than a tenth of it. The trainer's own 262,144
    cost a small run as much as its training.
    """
    return EVAL_TOKENS if EVAL_SHARE * tokens >= EVAL_TOKENS else LEAST_EVAL_TOKENS


def absolute_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values with paths of data and tokenizer made absolute: a run starts anywhere."""
    made = dict(values)
    if "data" in made:
        made["data"] = tuple(_absolute(item, folder) for item in made["data"])
    if isinstance(made.get("held_out"), tuple | list):
        made["held_out"] = tuple(_absolute(item, folder) for item in made["held_out"])
    tokenizer = made.get("tokenizer", "bytes")
    if tokenizer != "bytes" and not str(tokenizer).startswith("bpe:"):
        made["tokenizer"] = _absolute(tokenizer, folder)
    return made


def _absolute(item: str, folder: Path) -> str:
    return item if item.startswith("hf:") else str(folder.absolute() / item)
