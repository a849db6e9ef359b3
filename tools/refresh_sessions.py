"""Run the sessions of README and tutorial again and write what they print; a test compares the two."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "docs"))

from test_sessions import PAGES, shell  # noqa: E402  (the test's own runner, so that the two cannot differ)


def main() -> None:
    """Rewrite every console block in place."""
    fence = re.compile(r"^```console\n\$ (.*?)\n.*?^```$", re.M | re.S)
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        path.write_text(fence.sub(lambda m: f"```console\n$ {m[1]}\n{shell(m[1])}\n```", text), encoding="utf-8")


if __name__ == "__main__":
    main()
