"""The names of a runs table's columns, and what other people call them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forescale.errors import ForescaleError, UnknownNameError

# Our name -> the names it goes by, best first, as `_plain` writes them. Where a table has several, the first wins:
# a loss that is smoothed or measured on held-out text before one that is not, parameters without embeddings before
# those that count them.
ALIASES: dict[str, tuple[str, ...]] = {
    "params": (
        *("params", "non_vocab_params", "non_vocabulary_params", "n_no_emb", "n_no_embed", "n_non_embedding"),
        *("params_no_emb", "params_no_embed", "non_embedding_params", "num_non_embedding_params", "n"),
        *("n_params", "num_params", "nparams", "parameters", "num_parameters", "n_parameters", "model_params"),
        *("model_size_params", "total_params", "model_size"),
    ),
    "active_params": (
        *("active_params", "na", "n_active", "n_act", "active_parameters", "activated_params", "num_active_params"),
    ),
    "tokens": (
        *("tokens", "d", "tokens_seen", "train_tokens", "training_tokens", "total_tokens", "n_tokens", "num_tokens"),
        *("total_train_tokens", "consumed_tokens"),
    ),
    "learning_rate": (
        *("learning_rate", "lr", "peak_lr", "peak_learning_rate", "max_lr", "max_learning_rate", "lr_peak", "base_lr"),
    ),
    "batch_tokens": (
        *("batch_tokens", "tokens_per_step", "tokens_per_batch", "batch_size_tokens", "batch_size_in_tokens"),
        *("global_batch_tokens", "global_batch_size_tokens"),
    ),
    "batch_sequences": (
        *("batch_sequences", "bs", "batch_size", "global_batch_size", "train_batch_size", "gbs", "global_bs"),
        *("batch_sequences_per_step", "batch_size_sequences"),
    ),
    "seq_len": (*("seq_len", "sequence_length", "seq_length", "seqlen", "context_length", "ctx_len", "max_seq_len"),),
    "loss": (
        *("smooth_loss", "smoothed_loss", "final_val_loss", "final_validation_loss", "val_loss", "validation_loss"),
        *("eval_loss", "test_loss", "final_loss", "loss", "final_train_loss", "train_loss", "training_loss"),
        *("last_val_loss", "min_loss"),
    ),
    "steps": (
        *("steps", "current_steps", "ti", "iterations", "num_train_steps", "train_steps", "num_steps", "n_steps"),
        *("total_steps", "max_steps", "iters", "step"),
    ),
    "weight_decay": ("weight_decay", "wd"),
    "compute": (
        "compute",
        "training_flop",
        "train_flops",
        "training_flops",
        "total_flops",
        "flops",
        "flop",
        "budget",
        "c",
    ),
    "unique_tokens": ("unique_tokens", "tokens_unique", "data_budget"),
    "sparsity": ("sparsity",),
    "nonzero_params": ("nonzero_params", "non_zero_params", "nnz_params", "nnz"),
}
# Names of a parameter count that leave open whether embeddings are in it (in practice they mostly are).
_VAGUE_PARAMS = frozenset(ALIASES["params"][ALIASES["params"].index("n_params") :])


@dataclass(frozen=True, kw_only=True)
class Found:
    """Which of a table's columns is which: our name -> theirs, and the others that would have fitted."""

    columns: Mapping[str, str]
    others: Mapping[str, tuple[str, ...]]

    def vague_params(self) -> bool:
        """Whether the parameter column's name leaves open if embeddings are counted."""
        return _plain(self.columns.get("params", "")) in _VAGUE_PARAMS


def find_columns(header: Sequence[str], given: Mapping[str, str] | None = None) -> Found:
    """Match a table's header with our names: first as `given` says, then by alias, ignoring case and separators.

    Raises `UnknownNameError` if `given` has a name of ours that does not exist or a column that the table lacks.
    """
    explicit = _checked(given or {}, header)
    taken = set(explicit.values())
    free: dict[str, str] = {}
    for column in header:
        if column not in taken:
            free.setdefault(_plain(column), column)
    matches = {name: [free[a] for a in aliases if a in free] for name, aliases in ALIASES.items()}
    for name in explicit:
        matches[name] = [explicit[name]]
    _one_batch(matches, explicit)
    return Found(
        columns={name: found[0] for name, found in matches.items() if found},
        others={name: tuple(found[1:]) for name, found in matches.items() if len(found) > 1},
    )


def parse_columns(text: str) -> dict[str, str]:
    """Read `learning_rate=lr,tokens=D` as our name -> the table's column; raise `ForescaleError` for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or any(not (name.strip() and column.strip()) for name, _, column in pairs):
        raise ForescaleError(
            f"--columns takes our name = your column, separated by commas, such as learning_rate=lr,tokens=D; "
            f"got {text!r}."
        )
    names = [name.strip() for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ForescaleError(f"--columns names {twice[0]} twice: give each of our names one column.")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _checked(given: Mapping[str, str], header: Sequence[str]) -> dict[str, str]:
    for name, column in given.items():
        if name not in ALIASES:
            raise UnknownNameError(f"no column of ours is named {name!r}; ours are {', '.join(ALIASES)}.")
        if column not in header:
            raise UnknownNameError(
                f"the runs have no column {column!r} to read {name} from; they have {_list(header)}."
            )
    return dict(given)


def _one_batch(matches: dict[str, list[str]], explicit: Mapping[str, str]) -> None:
    """A batch that was named outranks one that was recognised, in whichever unit."""
    for name, rival in (("batch_tokens", "batch_sequences"), ("batch_sequences", "batch_tokens")):
        if name in explicit and rival not in explicit:
            matches[rival] = []


def _plain(column: str) -> str:
    return re.sub(r"[\s\-_/.]+", "_", column.strip().lower())


def _list(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"


def missing_columns(names: Sequence[str], header: Sequence[str]) -> ForescaleError:
    """The error for a table in which nothing looks like `names`."""
    sought = " and ".join(f"{name} (or {', '.join(_shortest(name))})" for name in names)
    example = ",".join(f"{name}=COLUMN" for name in names)
    return ForescaleError(
        f"the runs have no column for {sought}; they have {_list(header)}: say which with --columns {example}."
    )


def _shortest(name: str) -> list[str]:
    """A few of the names it is known by; for the batch, those in sequences as well."""
    known = (*ALIASES[name], *(ALIASES["batch_sequences"] if name == "batch_tokens" else ()))
    return sorted(known, key=len)[:4]
