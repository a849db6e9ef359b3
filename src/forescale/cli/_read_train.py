"""From the options of `forescale train` to a shape, a length, and the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import whole
from forescale.cli._read_plan import read_pairs, read_sizes
from forescale.errors import ForescaleError
from forescale.quantities import humanize, parse_quantity
from forescale.train._shapes import PROXY_PARAMS, PROXY_SEQ_LEN, shape_of_sizes, usual_seq_len
from forescale.train._tokenizer import vocabulary as vocabulary

if TYPE_CHECKING:
    from forescale.train import ModelOptions
    from forescale.workload import Shape


def read_number(text: str | None, option: str) -> float | None:
    """A quantity above 0, or 0 itself, which switches off; None where the option was not given."""
    if text is None:
        return None
    return 0.0 if text.strip() in ("0", "0.0") else parse_quantity(text, option)


def read_shape(options: Mapping[str, Any], vocab: int, seq_len: int) -> Shape:
    """The shape that --shape, --params or --depth and --width describe, with the tokenizer's vocabulary."""
    from forescale.train import shape_for

    shape, params = options["shape"], options["params"]
    sizes: dict[str, Any] = {name: options[name] for name in ("depth", "width", "heads", "experts")}
    kinds = _stated(options, ("kv_heads", "norm", "qk_norm", "tied"))
    mixture = _stated(options, ("top_k", "shared_experts"))
    given = _flags(_stated(options, (*sizes, "params")) | kinds)
    if mixture and sizes["experts"] is None:
        raise ForescaleError(f"{' and '.join(_flags(mixture))} needs experts; there are none: give --experts as well.")
    if shape is not None:
        if given:
            raise ForescaleError(f"--shape says it all; got {' and '.join(given)} too: put them into it.")
        return _shape_of_text(shape, vocab)
    position = options["position"]
    if params is not None:
        number = parse_quantity(params, "--params")
        return shape_for(number, vocab=vocab, seq_len=seq_len, position=position, **sizes, **kinds, **mixture)
    if sizes["depth"] is None or sizes["width"] is None:
        raise ForescaleError("the model is missing: give --params, or --depth and --width, or --shape.")
    if sizes["experts"] is not None:
        raise ForescaleError("--experts shares out the parameters that --params counts: give --params as well.")
    positions = seq_len if position == "learned" else None
    shape = shape_of_sizes(sizes["depth"], sizes["width"], sizes["heads"], vocab=vocab, positions=positions)
    return replace(shape, **kinds)


def _stated(options: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None and options[name] is not False}


def _flags(options: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in options]


def _shape_of_text(text: str, vocab: int) -> Shape:
    stated = text if "vocab" in text else f"{text.rstrip(',')},vocab={vocab}"
    nothing: dict[str, float | None] = dict.fromkeys(
        ("params", "active_params", "tokens", "tokens_per_param", "compute", "unique_tokens")
    )
    shape = read_sizes(nothing, None, 0.0, None, stated).shape
    assert shape is not None
    return shape


def read_model(options: Mapping[str, Any], vocab: int) -> tuple[Shape, int, str | None]:
    """The shape, the tokens of a sequence, and what to say where those are the default."""
    if options["seq_len"] is not None:
        seq_len = whole(options["seq_len"], "--seq-len")
        return read_shape(options, vocab, seq_len), seq_len, None
    params = read_shape(options, vocab, PROXY_SEQ_LEN).params
    seq_len = usual_seq_len(params)
    where = f"{'below' if params < PROXY_PARAMS else 'from'} {humanize(PROXY_PARAMS)} parameters"
    return read_shape(options, vocab, seq_len), seq_len, f"sequences have {seq_len} tokens, the default {where}"


def read_length(options: Mapping[str, Any], active: float, seq_len: int) -> tuple[float, float | None]:
    """Tokens of the run and of a batch, None where the plan is to choose it, from whichever were given."""
    batch = read_number(options["batch_tokens"], "--batch-tokens")
    if options["batch_sequences"] is not None:
        if batch is not None:
            raise ForescaleError("--batch-tokens and --batch-sequences say the same: give one of them.")
        batch = float(options["batch_sequences"] * seq_len)
    lengths = [name for name in ("tokens", "tokens_per_param") if options[name] is not None]
    if len(lengths) == 2:
        raise ForescaleError("--tokens and --tokens-per-param both fix the length of the run: give one of them.")
    steps = options["steps"]
    if not lengths:
        return _from_steps(steps, batch, seq_len), batch
    number = parse_quantity(options[lengths[0]], f"--{lengths[0].replace('_', '-')}")
    tokens = number * active if lengths[0] == "tokens_per_param" else number
    if steps is None:
        return tokens, batch
    if batch is not None:
        raise ForescaleError("tokens, batch and --steps fix the run twice: give two of the three.")
    if not 1 <= steps <= tokens / seq_len:
        raise ForescaleError(
            f"--steps must lie between 1 and the {int(tokens / seq_len):,} sequences of the run; got {steps}: correct it."
        )
    sequences = max(1, round(tokens / steps / seq_len))
    return float(steps * sequences * seq_len), float(sequences * seq_len)


def _from_steps(steps: int | None, batch: float | None, seq_len: int) -> float:
    if steps is None or batch is None:
        raise ForescaleError(
            "the length of the run is missing: give --tokens or --tokens-per-param, or --steps with --batch-tokens or "
            "--batch-sequences."
        )
    if steps < 1:
        raise ForescaleError(f"--steps must be 1 or more; got {steps}: correct it.")
    return float(steps * max(1, round(batch / seq_len)) * seq_len)


def read_model_options(options: Mapping[str, Any]) -> ModelOptions:
    """What a shape does not say."""
    from forescale.train import ModelOptions

    names = ("position", "activation", "z_loss", "density")
    return ModelOptions(**{name: options[name] for name in names}, checkpointing=options["activation_checkpointing"])


def read_base(text: str | None) -> Shape | None:
    """`width=256,depth=4` as a shape."""
    from forescale.workload import Shape

    if text is None:
        return None
    pairs = read_pairs(text, "--base")
    if unknown := set(pairs) - {"width", "depth", "heads"}:
        raise ForescaleError(f"--base takes width, depth and heads; got {', '.join(sorted(unknown))}: leave it out.")
    if not {"width", "depth"} <= set(pairs):
        raise ForescaleError(f"--base needs width and depth; got {text!r}: write --base width=256,depth=4.")
    sizes: dict[str, Any] = {name: whole(f"{value:g}", f"--base {name}") for name, value in pairs.items()}
    return Shape(**sizes)


def read_scheme_options(text: str | None) -> dict[str, Any]:
    """`alpha=0.5,form=ntk` as numbers and words."""
    made: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, equals, value = (word.strip() for word in item.partition("="))
        if not equals or key in made:
            raise ForescaleError(f"--scheme-options takes key=value pairs, each key once; got {item!r}.")
        try:
            made[key] = float(value)
        except ValueError:
            made[key] = {"true": True, "false": False}.get(value.lower(), value)
    return made


def read_held_out(text: str | None) -> float | int | tuple[str, ...] | None:
    """A share, a number of tokens, or a path."""
    if text is None:
        return None
    if Path(text).exists():
        return (text,)
    try:
        number = parse_quantity(text, "--held-out")
    except ForescaleError:
        return (text,)
    return number if number < 1 else int(number)
