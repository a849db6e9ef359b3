"""Figures to files and into pages, without pyplot and its global state."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
DPI = 120  # of a png


def picture_format(path: Path) -> str:
    """The format that a file's suffix names; `ForescaleError` for any but png, svg and pdf. Loads no matplotlib."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ForescaleError(f"a picture is a .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]} file; got {path}.")
    return suffix


def picture_bytes(drawn: Axes | Figure, path: str | Path) -> bytes:
    """A figure, or the axes' figure, in the format that the file's suffix names; `ForescaleError` for another suffix."""
    figure: Any = drawn.get_figure(root=True)
    content = BytesIO()
    figure.savefig(content, format=picture_format(Path(path)), dpi=DPI)
    return content.getvalue()


def save(drawn: Axes | Figure, path: str | Path) -> None:
    """Write a figure, or the axes' figure, to a .png, .svg or .pdf file; `ForescaleError` where it cannot."""
    path = Path(path)
    content = picture_bytes(drawn, path)  # drawn first, written after: an error leaves no half file behind
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ForescaleError(f"{path} cannot be written: {error.strerror or error}.") from None


def inline_svg(drawn: Axes | Figure, prefix: str) -> str:
    """A figure as an `<svg>` element to stand in a page of HTML beside others: text stays text, nothing is loaded.

    `prefix` (letters, digits, hyphens) starts every id, so that the figures of a page do not share any.
    """
    import matplotlib

    context: Any = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix})  # pyright: ignore
    figure: Any = drawn.get_figure(root=True)
    content = BytesIO()
    with context:
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = content.getvalue().decode("utf-8")
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="1.1"', "", svg)
    # Inside tags only: the same characters in a label are text.
    return re.sub(r"<[^>]*>", lambda tag: _prefixed(tag[0], prefix), svg).strip()


def _prefixed(tag: str, prefix: str) -> str:
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', tag)
    return re.sub(r' id="', f' id="{prefix}-', tag).replace("url(#", f"url(#{prefix}-")
