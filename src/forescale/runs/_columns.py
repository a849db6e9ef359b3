"""The names of a runs table's columns, and what other people and their tools call them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from forescale.errors import ForescaleError, UnknownNameError

# The columns that readers of curves add.
SMOOTHED, LAST_STEP, PEAK = "smoothed_train_loss", "last_step", "peak_learning_rate"

# Our name -> the names it goes by, best first, as `_plain` writes them. Where a table has several, the first wins:
# a loss that is smoothed or measured on held-out text before one that is not, parameters without embeddings before
# those that count them.
ALIASES: dict[str, tuple[str, ...]] = {
    "params": (
        *("params", "non_vocab_params", "non_vocabulary_params", "n_no_emb", "n_no_embed", "n_non_embedding"),
        *("params_no_emb", "params_no_embed", "non_embedding_params", "num_non_embedding_params", "n"),
        *("n_params", "num_params", "nparams", "parameters", "num_parameters", "n_parameters", "model_params"),
        *("model_size_params", "total_params", "total_parameters", "parameter_count", "param_count", "model_size"),
    ),
    "active_params": (
        *("active_params", "na", "n_active", "n_act", "active_parameters", "activated_params", "num_active_params"),
    ),
    "tokens": (
        *("tokens", "d", "tokens_seen", "train_tokens", "training_tokens", "total_tokens", "n_tokens", "num_tokens"),
        *("total_train_tokens", "consumed_tokens", "num_train_tokens", "num_training_tokens", "token_budget"),
        *("num_input_tokens_seen", "num_tokens_seen", "total_tokens_seen", "n_tokens_seen", "tokens_trained"),
    ),
    "learning_rate": (
        *("learning_rate", "lr", "peak_lr", "peak_learning_rate", "max_lr", "max_learning_rate", "lr_peak", "base_lr"),
        *("lr_max", "learning_rate_peak", "learning_rate_max", "optimizer_lr", "optim_lr", "optimizer_learning_rate"),
    ),
    "batch_tokens": (
        *("batch_tokens", "tokens_per_step", "tokens_per_batch", "batch_size_tokens", "batch_size_in_tokens"),
        *("global_batch_tokens", "global_batch_size_tokens"),
    ),
    "batch_sequences": (
        *("batch_sequences", "bs", "batch_size", "global_batch_size", "train_batch_size", "gbs", "global_bs"),
        *("batch_sequences_per_step", "batch_size_sequences", "global_train_batch_size", "total_train_batch_size"),
        *("effective_batch_size", "train_global_batch_size", "batchsize"),
    ),
    "seq_len": (
        *("seq_len", "sequence_length", "seq_length", "seqlen", "context_length", "ctx_len", "max_seq_len"),
        *("block_size", "max_seq_length", "max_sequence_length", "context_len", "train_seq_len", "encoder_seq_length"),
    ),
    "loss": (
        *("smooth_loss", "smoothed_loss", "final_val_loss", "final_validation_loss", "val_loss", "validation_loss"),
        *("eval_loss", "loss_val", "loss_validation", "loss_eval", "valid_loss", "loss_valid", "dev_loss"),
        *("lm_loss_validation", "validation_lm_loss", "val_lm_loss", "test_loss", "loss_test", SMOOTHED, "final_loss"),
        *("loss", "lm_loss", "ce_loss", "cross_entropy_loss", "crossentropyloss", "cross_entropy"),
        *("final_train_loss", "train_loss", "training_loss", "loss_train", "loss_training", "train_lm_loss"),
        *("train_ce_loss", "train_cross_entropy_loss", "train_crossentropyloss", "train_loss_step", "train_loss_epoch"),
        *("last_val_loss", "min_loss"),
    ),
    "steps": (
        *("steps", "current_steps", "ti", "iterations", "num_train_steps", "train_steps", "num_steps", "n_steps"),
        *("total_steps", "max_steps", "iters", "train_iters", "max_iters", "num_iterations", "training_steps"),
        *("num_training_steps", "max_train_steps", "global_step", "step", "iteration", "iter"),
    ),
    "weight_decay": ("weight_decay", "wd", "optimizer_weight_decay"),
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
# Training losses, one noisy batch a point: a curve of one is smoothed. The others are evaluations.
_TRAINING = frozenset(ALIASES["loss"][ALIASES["loss"].index("loss") : ALIASES["loss"].index("last_val_loss")])

# What tools and people put before a name, with `.` or `/`: where settings come from, and where measurements do.
_SETTING_WORDS = (
    "config cfg conf params param hparams hparam_dict hp hyperparameters hyper_parameters hyperparams args arguments "
    "training_args train_args training_arguments options opts settings flags user_attrs attrs train training trainer "
    "optim optimizer optimizer_config opt data dataset dataloader datamodule model model_config model_args scheduler "
    "schedule lr_scheduler run init_args train_loop_config training_config train_config hydra wandb"
)
_SETTINGS = frozenset(_SETTING_WORDS.split())
_RESULTS = frozenset({"summary", "summary_metrics", "metrics", "metric", "values", "results", "hparam", "throughput"})
_LOGGED = frozenset({"train", "training", "trainer"})  # `train/lr` is what was logged last, `train.lr` a setting


class Origin(Enum):
    """What a column's prefix says about it."""

    SETTING = "settings"
    BARE = "no prefix"
    RESULT = "measured"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Which of a table's columns is which: our name -> theirs, and the others that would have fitted."""

    columns: Mapping[str, str]
    others: Mapping[str, tuple[str, ...]]

    def vague_params(self) -> bool:
        """Whether the parameter column's name leaves open if embeddings are counted."""
        return any(plain in _VAGUE_PARAMS for plain, _ in readings(self.columns.get("params", "")))


def find_columns(
    header: Sequence[str], given: Mapping[str, str] | None = None, known: Mapping[str, str] | None = None
) -> Found:
    """Match a table's header with our names: as `given` says, as its reader `known`s, then by alias.

    Case, separators and the prefixes of tools do not matter. Raises `UnknownNameError` if `given` has a name of ours
    that does not exist or a column that the table lacks.
    """
    explicit = _checked(given or {}, header)
    taken = set(explicit.values())
    free = [column for column in header if column not in taken]
    matches = {name: _candidates(name, aliases, free) for name, aliases in ALIASES.items()}
    for name, column in (known or {}).items():
        if column in free:
            matches[name] = [column, *(other for other in matches[name] if other != column)]
    for name in explicit:
        matches[name] = [explicit[name]]
    _one_batch(matches, explicit)
    return Found(
        columns={name: found[0] for name, found in matches.items() if found},
        others={name: tuple(found[1:]) for name, found in matches.items() if len(found) > 1},
    )


def readings(column: str) -> Iterator[tuple[str, Origin]]:
    """The names that a column may stand for, as `_plain` writes them: whole, then without the prefixes of tools."""
    yield _plain(column), Origin.BARE
    origin = None
    while match := re.match(r"([^./]+)([./])(.+)", column, re.DOTALL):
        prefix, separator, column = match[1].strip().lower(), match[2], match[3]
        if prefix not in _SETTINGS | _RESULTS:
            return
        logged = prefix in _RESULTS or (prefix in _LOGGED and separator == "/")
        origin = origin or (Origin.RESULT if logged else Origin.SETTING)
        yield _plain(column), origin


@lru_cache(maxsize=4096)  # stores have the same few keys in every run
def is_called(column: str, name: str) -> bool:
    """Whether a column's name is one that `name` goes by."""
    return bool(_candidates(name, ALIASES[name], [column], strict=False))


@lru_cache(maxsize=4096)
def is_training_loss(column: str) -> bool:
    """Whether the name is that of a loss of training batches."""
    plains = [plain for plain, _ in readings(column)]
    return any(plain in _TRAINING for plain in plains) and not any(plain in _EVALUATED for plain in plains)


_EVALUATED = frozenset(ALIASES["loss"]) - _TRAINING


def _candidates(name: str, aliases: Sequence[str], header: Sequence[str], *, strict: bool = True) -> list[str]:
    """The columns that may be `name`, best first: by where they come from, by alias, by the fewest prefixes dropped."""
    rank = {alias: i for i, alias in enumerate(aliases)}
    best: dict[str, tuple[int, int, int, int]] = {}
    for at, column in enumerate(header):
        for depth, (plain, origin) in enumerate(readings(column)):
            worth = _worth(name, origin) if strict else 0
            if plain not in rank or worth is None or (depth and _too_short(plain)):
                continue
            if name == "loss" and depth and _dropped_train(column, depth):
                plain = "train_loss" if plain in _TRAINING else plain
            key = (worth, rank[plain], depth, at)
            best[column] = min(best.get(column, key), key)
    return _first_of_each_name(sorted(best, key=lambda column: best[column]), header)


def _worth(name: str, origin: Origin) -> int | None:
    """Settings are read from settings and losses from measurements; None: not at all."""
    if name == "loss":
        return int(origin is Origin.SETTING)
    if name in ("learning_rate", "weight_decay") and origin is Origin.RESULT:
        return None  # the last value logged, after the decay
    return {Origin.SETTING: 0, Origin.BARE: 1, Origin.RESULT: 2}[origin]


def _too_short(plain: str) -> bool:
    """Behind a prefix one letter may mean anything: `model.d` is hardly a number of tokens."""
    return plain in ("n", "d", "c", "na", "ti")


def _dropped_train(column: str, depth: int) -> bool:
    return any(part.strip().lower() in _LOGGED for part in re.split(r"[./]", column)[:depth])


def _first_of_each_name(columns: Sequence[str], header: Sequence[str]) -> list[str]:
    """Of columns that differ only in case and separators, the first in the header."""
    first: dict[str, str] = {}
    for column in header:
        first.setdefault(_plain(column), column)
    return [column for column in columns if first[_plain(column)] == column]


def parse_columns(text: str) -> dict[str, str]:
    """Read `learning_rate=lr,tokens=D` as our name -> the table's column; raise `ForescaleError` for anything else."""
    return parse_pairs(text, "--columns takes our name = your column", "learning_rate=lr,tokens=D", "--columns")


def parse_pairs(text: str, takes: str, example: str, option: str) -> dict[str, str]:
    """Read `name=value,name=value`; raise `ForescaleError` naming `option` for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or any(not (name.strip() and value.strip()) for name, _, value in pairs):
        raise ForescaleError(f"{takes}, separated by commas, such as {example}; got {text!r}.")
    names = [name.strip() for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ForescaleError(f"{option} names {twice[0]} twice: name each of ours once.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _checked(given: Mapping[str, str], header: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, column in given.items():
        if name not in ALIASES:
            raise UnknownNameError(f"no column of ours is named {name!r}; ours are {', '.join(ALIASES)}.")
        found[name] = _exact(name, column, header)
    return found


def _exact(name: str, column: str, header: Sequence[str]) -> str:
    """The column of that name, or the only one that has it behind a tool's prefix."""
    if column in header:
        return column
    behind = [c for c in header if _plain(column) in (plain for plain, _ in readings(c))]
    if len(behind) == 1:
        return behind[0]
    which = f"several columns that may be {column!r} ({_list(behind)})" if behind else f"no column {column!r}"
    raise UnknownNameError(f"the runs have {which} to read {name} from; they have {_list(header)}.")


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


def missing_columns(names: Sequence[str], header: Sequence[str], hint: str = "") -> ForescaleError:
    """The error for a table in which nothing looks like `names`; `hint` is what its reader has to say."""
    sought = " and ".join(f"{name} (or {', '.join(_shortest(name))})" for name in names)
    example = ",".join(f"{name}=COLUMN" for name in names)
    constants = ",".join(f"{name}=VALUE" for name in names if name != "loss")
    alike = f", or give what is alike in every run with --set {constants}" if constants else ""
    return ForescaleError(
        f"the runs have no column for {sought}; they have {_list(header)}: say which with --columns {example}"
        f"{alike}{'; ' + hint if hint else ''}."
    )


def _shortest(name: str) -> list[str]:
    """A few of the names it is known by; for the batch, those in sequences as well."""
    known = (*ALIASES[name], *(ALIASES["batch_sequences"] if name == "batch_tokens" else ()))
    return sorted(known, key=len)[:4]
