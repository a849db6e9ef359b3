"""What tells functions and data of a caller apart, so that kept runs are not taken for those of a changed model."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any


def name_of(value: Any) -> str:
    """A function by its name, its code and the file that it stands in: an edit of that file makes another one of it.

    What the file imports, and what a closure holds, is not seen.
    """
    own = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
    code = getattr(value, "__code__", None)
    if code is None:
        return own
    return f"{own}:{code.co_firstlineno}:{_digest(code.co_code)}:{_file_digest(code.co_filename)}"


def digest_of(batches: Any) -> str:
    """Batches by the first of training and the held-out sequences."""
    train, held_out = batches
    return _digest(*(part.detach().cpu().contiguous().numpy().tobytes() for part in (train(0), held_out)))


@lru_cache
def _file_digest(file: str) -> str:
    path = Path(file)
    return _digest(path.read_bytes()) if path.is_file() else ""


def _digest(*parts: bytes) -> str:
    made = blake2b(digest_size=8)
    for part in parts:
        made.update(part)
    return made.hexdigest()
