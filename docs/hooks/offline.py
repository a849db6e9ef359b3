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


def remote_assets(html: str) -> list[str]:
    """The addresses on other hosts that a browser would load to show the page; links to follow are none."""
    assets = _Assets()
    assets.feed(html)
    return assets.remote


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Check each finished page."""
    from mkdocs.exceptions import PluginError

    if remote := remote_assets(output):
        raise PluginError(f"{page.file.src_uri} loads {', '.join(remote)}: the site must work offline.")
    return output
