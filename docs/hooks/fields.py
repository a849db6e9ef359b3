"""Griffe extension: document a dataclass by a table of its fields, described by the comments behind them."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import griffe

SPEAKS_FOR_ITSELF = "\N{ZERO WIDTH SPACE}"  # griffe warns about a field without any description


class DataclassFields(griffe.Extension):
    """Append a `Parameters` section to every dataclass's docstring, so that the source states each field once."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called for each class once griffe has read its body."""
        fields = [m for m in cls.members.values() if isinstance(m, griffe.Attribute) and m.annotation is not None]
        fields = [f for f in fields if not f.has_docstring and "property" not in f.labels]
        if cls.docstring and fields and any("dataclass" in str(d.value) for d in cls.decorators):
            rows = "\n".join(f"    {f.name}: {_comment(f) or SPEAKS_FOR_ITSELF}" for f in fields)
            cls.docstring.value += f"\n\nParameters:\n{rows}"


def _comment(field: griffe.Attribute) -> str:
    """The comment on the field's last line."""
    source = field.lines_collection[field.filepath][(field.lineno or 1) - 1 : field.endlineno]
    tokens = tokenize.generate_tokens(io.StringIO("\n".join(line.strip() for line in source)).readline)
    comments = [t.string for t in tokens if t.type == tokenize.COMMENT]
    return comments[-1].removeprefix("#").strip() if comments else ""
