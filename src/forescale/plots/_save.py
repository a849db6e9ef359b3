"""Figures to files, without pyplot and its global state."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
DPI = 120  # of a png


def picture_format(path: Path) -> str:
    """The format that a file's suffix names; `ForescaleError` for any but png, svg and pdf. Loads no matplotlib."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ForescaleError(f"a picture is a .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]} file; got {path}.")
    return suffix


def picture_bytes(axes: Axes, path: str | Path) -> bytes:
    """The axes' figure in the format that the file's suffix names; `ForescaleError` for another suffix."""
    figure: Any = axes.get_figure(root=True)
    content = BytesIO()
    figure.savefig(content, format=picture_format(Path(path)), dpi=DPI)
    return content.getvalue()


def save(axes: Axes, path: str | Path) -> None:
    """Write the axes' figure to a .png, .svg or .pdf file; `ForescaleError` for another suffix or where it cannot."""
    path = Path(path)
    content = picture_bytes(axes, path)  # drawn first, written after: an error leaves no half file behind
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ForescaleError(f"{path} cannot be written: {error.strerror or error}.") from None
