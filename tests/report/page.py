"""A page as a browser would read it, for the tests of reports: with the standard library's parser, strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr", "source", "base"}


@dataclass
class Table:
    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)  # the numbers of each row, in full


class Page(HTMLParser):
    """Tags, ids, addresses and tables of a page; anything unbalanced is a problem."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: list[Table] = []
        self.numbers: list[tuple[float, str]] = []
        self._value: float | None = None
        self.feed(html)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if len(attrs) != len(dict(attrs)):
            self.problems.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
            self.tables[-1].values.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        elif tag == "data":
            self._value = float(dict(attrs)["value"] or "nan")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if "svg" not in self.open and tag not in VOID:
            self.problems.append(f"<{tag}/> closes itself outside a picture")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "caption" in self.open:
            self.tables[-1].caption += data
        if (self.open and self.open[-1] in ("td", "th")) or ("data" in self.open and "table" in self.open):
            self.tables[-1].rows[-1][-1] += data
        if self.open and self.open[-1] == "data" and self._value is not None:
            self.numbers.append((self._value, data))
            if "table" in self.open:
                self.tables[-1].values[-1].append(self._value)

    def table(self, start: str) -> Table:
        """The one whose caption starts like that."""
        (found,) = (t for t in self.tables if t.caption.startswith(start))
        return found

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def attributes(self, *names: str) -> list[str]:
        return [v for _, attrs in self.tags for k, v in attrs.items() if k in names and v is not None]
