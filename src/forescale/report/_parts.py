"""What a page is made of: tables, figures, and numbers that carry their full value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from forescale.laws import SYMBOLS
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_ROWS = 24  # beyond, a table scrolls in a box of its own
MANY_ALIKE = 3
QUANTITIES = {"learning_rate": "peak learning rate", "batch_tokens": "batch"}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number as the page prints it, and its value in full, which the page carries beside it."""

    value: float
    text: str


Row = tuple[str | Number, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: caption, headings, rows, and the rows that stand out."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Number]]
    strong: Sequence[int] = ()

    @property
    def long(self) -> bool:
        """Whether it gets a box that scrolls."""
        return len(self.rows) > MANY_ROWS


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture as an `<svg>` element, and what it shows in words."""

    svg: str
    caption: str = ""


def figure(drawn: Axes, prefix: str, alt: str, caption: str = "") -> Figure:
    """A picture for the page; `prefix` tells its ids from those of others."""
    from forescale.plots import inline_svg

    svg = inline_svg(drawn, prefix)
    opened, _, rest = svg.partition(">")
    title = f'<title id="{prefix}-title">{escape(alt)}</title>'
    return Figure(svg=f'{opened} role="img" aria-labelledby="{prefix}-title">{title}{rest}', caption=caption)


def number(value: float, text: str | Callable[[float], str] | None = None) -> Number:
    """A number in a format (four digits if none is given), with a real minus sign."""
    shown = _four_digits(value) if text is None else text.format(value) if isinstance(text, str) else text(value)
    return Number(value=value, text=f"\u2212{shown[1:]}" if shown.startswith("-") else shown)


def _four_digits(value: float) -> str:
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{float(f'{value:.4g}'):,.10g}"
    mantissa, _, power = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(power)}"


def exponent(value: float) -> Number:
    """With its sign; a law that has none shows 0."""
    return number(value, "{:+.3f}" if abs(value) > 1e-9 else "0")


def count(value: float) -> Number:
    """Parameters, tokens: 7B."""
    return number(value, humanize)


def percent(value: float, *, bound: bool = False) -> Number:
    """Per cent to three digits; `bound` marks a lower bound."""
    shown = number(value, "{:.3f}")
    return Number(value=value, text=f"≥ {shown.text}") if bound else shown


def symbol(coefficient: str) -> str:
    """`exponent of N`; other coefficients by their name."""
    return f"exponent of {SYMBOLS[coefficient]}" if coefficient in SYMBOLS else coefficient


def rare_first(lines: Sequence[str]) -> list[str]:
    """Lines in order, but what is said of many cells alike comes last, so that it hides nothing."""
    from collections import Counter

    said = Counter(line.rpartition(": ")[2] for line in lines)
    return sorted(lines, key=lambda line: said[line.rpartition(": ")[2]] > MANY_ALIKE)


def facts(caption: str, pairs: Iterable[tuple[str, str | Number]]) -> Table:
    """A table of names and values."""
    return Table(caption=caption, head=("what", "value"), rows=tuple(pairs))


def render(template: str, **context: Any) -> str:
    """The page; everything that is not markup of ours is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("forescale.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["number"] = lambda value: isinstance(value, Number)
    return environment.get_template(template).render(context)
