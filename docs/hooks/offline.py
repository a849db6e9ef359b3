"""MkDocs hook: fail the build if a page would load anything from another host."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


class _Assets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        url = found.get(LOADS.get(tag, "")) or ""
        if url.startswith(("http:", "https:", "//")) and found.get("rel") != "canonical":
            self.remote.append(url)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Read the finished page for assets that are not the site's own."""
    from mkdocs.exceptions import PluginError

    assets = _Assets()
    assets.feed(output)
    if assets.remote:
        raise PluginError(f"{page.file.src_uri} loads {', '.join(assets.remote)}: the site must work offline.")
    return output
