"""From the options of `forescale plan` to the sizes and the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import whole
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.plan import Request, Sizes
    from forescale.workload import Shape


def read_quantities(options: Mapping[str, Any]) -> dict[str, float | None]:
    """The options that are numbers, read; option -> number, None where it was not given."""
    names = ("params", "active_params", "tokens", "tokens_per_param", "compute", "unique_tokens", "batch")
    names = (*names, "learning_rate", "weight_decay")
    return {name: _quantity(options[name], f"--{name.replace('_', '-')}") for name in names}


def read_sizes(
    quantities: Mapping[str, float | None], seq_len: str | None, sparsity: float, config: Path | None, shape: str | None
) -> Sizes:
    """What was said about the model, the tokens and the compute."""
    from forescale.plan import Sizes

    names = ("params", "active_params", "tokens", "tokens_per_param", "compute", "unique_tokens")
    given: dict[str, Any] = {name: quantities[name] for name in names}
    return Sizes(
        **given,
        seq_len=None if seq_len is None else whole(seq_len, "--seq-len"),
        sparsity=sparsity,
        config=config,
        shape=None if shape is None else _shape(shape),
    )


def read_request(quantities: Mapping[str, float | None], **chosen: Any) -> Request:
    """What the user fixes; `chosen` is passed on as it is."""
    from forescale.plan import Request

    return Request(
        batch_tokens=quantities["batch"],
        learning_rate=quantities["learning_rate"],
        weight_decay=quantities["weight_decay"],
        **chosen,
    )


def _quantity(text: str | None, name: str) -> float | None:
    return None if text is None else parse_quantity(text, name)


def read_pairs(text: str, name: str) -> dict[str, float]:
    """`key=number,...` as a mapping; raise `ForescaleError` naming the option `name`."""
    return {key: parse_quantity(value, f"{name} {key}") for key, value in _split(text, name)}


def _split(text: str, name: str) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise ForescaleError(f"{name} takes key=value pairs with commas between them; got {item!r}.")
        if (key := key.strip()) in seen:
            raise ForescaleError(f"{name} gives {key} twice: give it once.")
        seen.add(key)
        yield key, value.strip()


def _shape(text: str) -> Shape:
    from dataclasses import fields

    from forescale.workload import Shape

    known = {f.name for f in fields(Shape)} - {"experts", "latent"}
    convert: dict[str, Callable[[str], Any]] = {"norm": str, "qk_norm": str}
    values: dict[str, Any] = {}
    for key, value in _split(text, "--shape"):
        if key not in known:
            raise ForescaleError(f"--shape knows {', '.join(sorted(known))}; got {key!r}.")
        flag = {"true": True, "false": False}.get(value.lower())
        values[key] = (
            convert[key](value) if key in convert else flag if flag is not None else whole(value, f"--shape {key}")
        )
    if missing := [k for k in ("layers", "width", "heads", "vocab") if k not in values]:
        raise ForescaleError(f"--shape needs layers, width, heads and vocab; missing are {', '.join(missing)}.")
    return Shape(**values)
