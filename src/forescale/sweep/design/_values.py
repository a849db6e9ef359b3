"""Values of a run as people write them in a file: `1M`, `0.001`, `linear`; each name says what it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity
from forescale.workload import Shape

COUNTS = frozenset({"params", "active_params", "tokens", "tokens_per_param", "batch_tokens"})
WHOLE = frozenset(
    {
        *(
            "depth",
            "width",
            "heads",
            "kv_heads",
            "experts",
            "top_k",
            "shared_experts",
            "dense_layers",
            "seq_len",
            "vocab",
        ),
        *("steps", "batch_sequences", "warmup_steps", "seed", "eval_tokens", "threads"),
    }
)
RATIOS = frozenset(
    {
        *("learning_rate", "weight_decay", "timescale", "beta1", "beta2", "epsilon", "final_lr_ratio", "grad_clip"),
        *("init_std", "z_loss", "density"),
    }
)
FLAGS = frozenset({"gated", "tied", "bias"})
WORDS = frozenset(
    {"norm", "qk_norm", "position", "activation", "tokenizer", "key", "errors", "schedule", "optimizer", "scheme"}
) | {"precision"}
LISTS = frozenset({"data"})


def read_value(name: str, value: Any) -> Any:
    """The value of that name: a number from `1M`, a word, a list. Raises `ForescaleError` that names it.

    A name that is none of ours is a command's own field: a number stays one, a text too.
    """
    for names, read in _READERS.items():
        if name in names:
            return read(name, value)
    if isinstance(value, bool | int | float | str):
        return value
    raise ForescaleError(f"{name} must be a number or a word; got {value!r}: correct it.")


def read_number(name: str, value: Any) -> float:
    """A number, 0 or more, written as people do."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ForescaleError(f"{name} must be a number such as 0.001 or 1M; got {value!r}: correct it.")
    if value == 0 or str(value).strip() in ("0", "0.0"):
        return 0.0
    return float(parse_quantity(value, name))


def read_whole(name: str, value: Any) -> int:
    """A whole number, 0 or more."""
    number = read_number(name, value)
    if number != int(number):
        raise ForescaleError(f"{name} must be a whole number; got {value!r}: correct it.")
    return int(number)


def read_share(name: str, value: Any) -> float:
    """A share: 0.01, or 1%."""
    text = str(value).strip()
    return read_number(name, text[:-1].strip()) / 100 if text.endswith("%") else read_number(name, value)


def read_texts(name: str, value: Any) -> tuple[str, ...]:
    """A text, or a list of texts."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ForescaleError(f'{name} must be a list of texts; got {value!r}: write ["..."].')
    return tuple(_word(name, item) for item in cast("list[Any]", items))


def _flag(name: str, value: Any) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ForescaleError(f"{name} is true or false; got {value!r}: correct it.")
    return found


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ForescaleError(f"{name} must be a word; got {value!r}: write it in quotes.")
    return value.strip()


def _held_out(name: str, value: Any) -> float | int | tuple[str, ...]:
    """A share, a number of tokens, or files."""
    if isinstance(value, list | tuple):
        return read_texts(name, value)
    try:
        number = read_share(name, value)
    except ForescaleError:
        return read_texts(name, value)
    return number if number < 1 else int(number)


def _base(name: str, value: Any) -> Shape:
    if not isinstance(value, Mapping) or not {"width", "depth"} <= set(cast("Mapping[str, Any]", value)):
        raise ForescaleError(
            f"{name} must be a table with width and depth; got {value!r}: {{ width = 256, depth = 4 }}."
        )
    sizes = {key: read_whole(f"{name}.{key}", each) for key, each in cast("Mapping[str, Any]", value).items()}
    return Shape(**cast("dict[str, Any]", sizes))


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ForescaleError(f"{name} must be a table; got {value!r}: write {{ name = value }}.")
    return dict(cast("Mapping[str, Any]", value))


_READERS: Mapping[frozenset[str], Callable[[str, Any], Any]] = {
    COUNTS | RATIOS: read_number,
    WHOLE: read_whole,
    FLAGS: _flag,
    WORDS: _word,
    LISTS: read_texts,
    frozenset({"held_out"}): _held_out,
    frozenset({"base"}): _base,
    frozenset({"scheme_options"}): _table,
}
