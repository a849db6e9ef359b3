"""A model's shape from its size: width, depth, heads and FFN width for a number of parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from forescale.errors import ForescaleError
from forescale.quantities import humanize, positive
from forescale.train._options import Position
from forescale.workload import Experts, Shape
from forescale.workload._shape import check_size

Number = TypeVar("Number", int, float)

SMALLEST, LARGEST = 1e4, 1e12
TOLERANCE = 0.1  # a shape whose size is further from what was asked is refused
# Width over depth: 40, 50 and 62 were the best of CompleteP (arXiv 2505.01618) at 50M, 300M and 1.5B parameters.
RATIO, RATIO_PARAMS, RATIO_GROWTH = 40.0, 50e6, math.log(62 / 40) / math.log(1.5e9 / 50e6)
# What holds from so many parameters on, up to the next row.
HEAD_DIMS = ((0.0, 16), (1e5, 32), (3e6, 64), (1e9, 128))
FFN_MULTIPLES = ((0.0, 8), (1e5, 16), (1e6, 32), (1e7, 64), (1e9, 256))
FFN_SLACK = ((0.0, 2.0), (1e6, 1.25))  # how far the FFN may be from its usual width; small models have few widths
HEADS_MULTIPLES = ((0.0, 1), (1e9, 2), (1e10, 8))  # so that large models split over devices
HEAD_DIMS_OF_WIDTH = (64, 32, 16, 8, 4, 2)  # the largest that divides the width
PROXY_PARAMS, PROXY_SEQ_LEN, SEQ_LEN = 100e6, 256, 2048


def shape_for(
    params: float,
    *,
    vocab: int,
    seq_len: int,
    depth: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    position: Position = "rotary",
    norm: Literal["rms", "layer"] = "rms",
    qk_norm: Literal["head", "full"] | None = None,
    gated: bool = True,
    tied: bool = False,
    bias: bool = False,
    experts: int | None = None,
    top_k: int = 2,
    shared_experts: int = 0,
    dense_layers: int = 0,
) -> Shape:
    """The shape whose non-vocabulary parameters are closest to `params`, experts included, within sensible proportions.

    Width over depth follows CompleteP's best (40 at 50M parameters, growing slowly), head_dim is 16 to 128 and the FFN
    width about 8/3 width if gated, else 4, by size; what is given stays as given. The `top_k` and shared experts
    together are as wide as a dense FFN. `seq_len` is the number of learned positions, if those are asked for.
    Raises `ForescaleError` where no such shape comes within 10 % of `params`.
    """
    _check(params, seq_len, depth, width, heads, kv_heads)
    routed = None if experts is None else Experts(count=experts, top_k=top_k, width=1, dense_layers=dense_layers)
    options = {
        "vocab": vocab, "kv_heads": kv_heads, "positions": seq_len if position == "learned" else None, "norm": norm,
        "qk_norm": qk_norm, "gated": gated, "tied": tied, "qkv_bias": bias, "o_bias": bias, "ffn_bias": bias,
    }  # fmt: skip
    family = _Family(params=float(params), options=options, experts=routed, shared=shared_experts if routed else 0)
    shapes = list(_candidates(family, depth, width, heads, kv_heads or 1))
    best = min(shapes, key=family.badness, default=None)
    if best is None or abs(family.error(best)) > TOLERANCE:
        raise ForescaleError(_too_far(params, best, depth, width, heads, kv_heads))
    return best


def shape_of_sizes(
    depth: int, width: int, heads: int | None = None, *, vocab: int, positions: int | None = None
) -> Shape:
    """A gated decoder of that depth and width; its FFN is 8/3 as wide, and its heads at most 64 where none are given."""
    if heads is None:
        heads = next((width // size for size in HEAD_DIMS_OF_WIDTH if width % size == 0), 1)
    hidden = max(8, round(width / 3) * 8)
    return Shape(layers=depth, width=width, heads=heads, vocab=vocab, ffn_width=hidden, positions=positions)


def usual_seq_len(params: float) -> int:
    """Tokens per sequence where nobody says: short ones for proxies."""
    return PROXY_SEQ_LEN if params < PROXY_PARAMS else SEQ_LEN


def _check(params: float, seq_len: int, *sizes: int | None) -> None:
    positive(params, "params")
    if not SMALLEST <= params <= LARGEST:
        raise ForescaleError(
            f"params must lie between {SMALLEST:g} and {LARGEST:g} for a shape to be planned; got {params!r}: "
            "correct the number or give the shape by hand."
        )
    for name, size in zip(("seq_len", "depth", "width", "heads", "kv_heads"), (seq_len, *sizes), strict=True):
        if size is not None:
            check_size(size, name)


def _too_far(params: float, best: Shape | None, *sizes: int | None) -> str:
    given = [f"{n} {s}" for n, s in zip(("depth", "width", "heads", "kv_heads"), sizes, strict=True) if s is not None]
    asked = f"a shape of {humanize(params)} non-vocabulary parameters" + (f" with {', '.join(given)}" if given else "")
    found = f"the nearest has {humanize(best.params)}" if best else "no width is a whole number of heads"
    return f"{asked} is out of reach within {TOLERANCE:.0%}; {found}: change params or {' or '.join(given) or 'heads'}."


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Shapes that differ in width, depth, heads and FFN width alone, and what is wanted of them."""

    params: float
    options: dict[str, Any]
    experts: Experts | None
    shared: int
    size: float = field(init=False)  # parameters of a dense model of about the same width and depth

    def __post_init__(self) -> None:
        # The FFN is about two thirds of a dense layer.
        more = 1.0 if self.experts is None else 1 / 3 + 2 / 3 * (self.experts.count + self.shared) / self.used
        object.__setattr__(self, "size", self.params / more)

    @property
    def used(self) -> int:
        """The FFNs that one token uses: 1 if dense."""
        return 1 if self.experts is None else self.experts.top_k + self.shared

    @property
    def ratio(self) -> float:
        """The width over depth that is wanted."""
        return RATIO * (self.size / RATIO_PARAMS) ** RATIO_GROWTH

    def hidden(self, width: int) -> float:
        """The hidden width that is wanted of the dense FFN, or of one expert."""
        return width * (8 / 3 if self.options["gated"] else 4.0) / self.used

    def multiple(self) -> int:
        """What the hidden width is a multiple of."""
        multiple = _by_size(FFN_MULTIPLES, self.size)
        return multiple if self.experts is None else multiple // 4

    def make(self, width: int, depth: int, heads: int, hidden: int) -> Shape:
        """The member with these sizes."""
        experts = self.experts
        if experts is not None:
            experts = Experts(
                count=experts.count, top_k=experts.top_k, width=hidden, shared_width=hidden * self.shared,
                dense_layers=experts.dense_layers, bias=self.options["ffn_bias"],
            )  # fmt: skip
        sizes = {"layers": depth, "width": width, "heads": heads, "ffn_width": hidden * self.used}
        return Shape(**sizes, experts=experts, **self.options)

    def error(self, shape: Shape) -> float:
        """The natural logarithm of the size that it has over the size that is asked."""
        return math.log(shape.params / self.params)

    def badness(self, shape: Shape) -> float:
        """A missed size weighs ten times as much as a missed proportion."""
        hidden = (shape.ffn_width or 0) / self.used
        proportions = (shape.width / shape.layers / self.ratio, hidden / self.hidden(shape.width))
        return 10 * abs(self.error(shape)) + sum(abs(math.log(p)) for p in proportions)


def _by_size(table: tuple[tuple[float, Number], ...], params: float) -> Number:
    return next(value for least, value in reversed(table) if params >= least)


def _candidates(
    family: _Family, depth: int | None, width: int | None, heads: int | None, kv_heads: int
) -> Iterator[Shape]:
    free = depth is None or width is None
    for w, h in _widths(family, depth, width, heads, kv_heads):
        for layers in _depths(family, w, h) if depth is None else (depth,):
            if family.experts is None or layers > family.experts.dense_layers:
                yield family.make(
                    w, layers, h, _hidden(family, w, layers, h, _by_size(FFN_SLACK, family.size) if free else 4.0)
                )


def _widths(
    family: _Family, depth: int | None, width: int | None, heads: int | None, kv_heads: int
) -> Iterator[tuple[int, int]]:
    """Widths to try, with their heads."""
    if width is not None:
        yield from ((width, h) for h in ([heads] if heads else _heads_of(family, width, kv_heads)))
        return
    centre = (family.size * family.ratio / 12) ** (1 / 3) if depth is None else (family.size / depth / 12) ** 0.5
    head_dim = _by_size(HEAD_DIMS, family.size)
    step = head_dim * math.lcm(kv_heads, _by_size(HEADS_MULTIPLES, family.size)) if heads is None else heads * 8
    for w in range(step, int(2 * centre) + step + 1, step):
        if w >= centre / 2:
            yield w, heads or w // head_dim


def _heads_of(family: _Family, width: int, kv_heads: int) -> Iterator[int]:
    """The heads of a given width: of the size that is usual, or of the next smaller one that divides it."""
    usual = _by_size(HEAD_DIMS, family.size)
    sizes = [dim for dim in (128, 64, 32, 16, 8, 4, 2) if dim <= usual and width % (dim * kv_heads) == 0]
    yield from (width // dim for dim in sizes[:1])


def _depths(family: _Family, width: int, heads: int) -> Iterator[int]:
    """The two depths around the one that has the size wanted, with the FFN as wide as wanted."""
    first = 1 + (family.experts.dense_layers if family.experts else 0)
    hidden = max(1, round(family.hidden(width)))
    less, more = (family.make(width, first + extra, heads, hidden).params for extra in (0, 1))
    depth = first + math.floor((family.params - less) / (more - less))
    yield from {max(first, depth), max(first, depth + 1)}


def _hidden(family: _Family, width: int, depth: int, heads: int, most: float) -> int:
    """The hidden width that has the size wanted, at most `most` times more or less than usual, as a multiple."""
    multiple, wanted = family.multiple(), family.hidden(width)
    less, more = (family.make(width, depth, heads, hidden).params for hidden in (1, 2))
    exact = 1 + (family.params - less) / (more - less)
    return max(1, round(min(max(exact, wanted / most), wanted * most) / multiple)) * multiple
