"""Tokens on disk: written once under a key, whole or not at all, and read by memory map."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from forescale.errors import ForescaleError
from forescale.train._tokenizer import FILE as TOKENIZER
from forescale.train._tokenizer import SavedTokenizer, Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENS, HEADER = "tokens.bin", "header.json"
FORMAT = 1
BATCH = 1 << 22  # bytes of text that are tokenised at once

Progress = Callable[[int, int | None], None]


class Part(Protocol):
    """A part of a document, as `_documents.Piece`."""

    @property
    def data(self) -> bytes:
        """UTF-8 text."""
        ...

    @property
    def ends(self) -> bool:
        """Whether the document ends with it."""
        ...

    @property
    def read(self) -> int:
        """Bytes on disk that it took."""
        ...


@dataclass(frozen=True, kw_only=True)
class TokenShards:
    """Tokens `start` to `stop` of a file of little-endian integers, memory-mapped; it pickles as its place on disk."""

    path: Path
    dtype: str  # "<u2" or "<u4"
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "array"}

    @cached_property
    def array(self) -> NDArray[Any]:
        """The tokens, read-only."""
        import numpy as np

        try:
            every: Any = np.memmap(self.path, dtype=self.dtype, mode="r")
        except (OSError, ValueError) as error:
            raise ForescaleError(f"the tokens in {self.path} cannot be read ({error}): delete its folder.") from None
        return every.view(np.ndarray)[self.start : self.stop]


def dtype_for(vocab: int) -> str:
    """The smallest of the two types on disk that holds every token."""
    return "<u2" if vocab <= 2**16 else "<u4"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written: tokens, the bytes of text that they stand for, and a hash of them."""

    tokens: int
    bytes: int
    fingerprint: str


def write_tokens(
    folder: Path,
    pieces: Iterable[Part],
    tokenizer: Tokenizer,
    *,
    limit: int | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write `tokens.bin` of at most `limit` tokens; `size` is the bytes on disk of all sources."""
    dtype, written, read, text, content = dtype_for(tokenizer.vocab), 0, 0, 0, sha256()
    with (folder / TOKENS).open("wb") as file:
        for tokens, bytes_read, bytes_of_text in _encoded(pieces, tokenizer, dtype, min(BATCH, limit or BATCH)):
            if limit is not None and len(tokens) > limit - written:
                tokens = tokens[: limit - written]
                bytes_of_text = tokenizer.count_bytes(tokens)
            data = tokens.data.cast("B")
            file.write(data)
            content.update(data)
            written, read, text = written + len(tokens), read + bytes_read, text + bytes_of_text
            if progress is not None:
                progress(*((written, limit) if size is None else (read, size)))
            if written == limit:
                break
        _sync(file)
    return Written(tokens=written, bytes=text, fingerprint=content.hexdigest()[:16])


def _encoded(
    pieces: Iterable[Part], tokenizer: Tokenizer, dtype: str, at_once: int
) -> Iterator[tuple[NDArray[Any], int, int]]:
    """Tokens of about `at_once` bytes of text at a time, with a separator between documents; bytes on disk and of text."""
    import numpy as np

    between = [] if tokenizer.separator is None else [np.array([tokenizer.separator], dtype)]
    ended = False
    for batch in _batched(pieces, at_once):
        arrays: list[NDArray[Any]] = []
        for piece, tokens in zip(batch, tokenizer.encode([piece.data for piece in batch]), strict=True):
            arrays += [*between, tokens] if ended else [tokens]
            ended = piece.ends
        sizes = sum(piece.read for piece in batch), sum(len(piece.data) for piece in batch)
        yield np.concatenate(arrays).astype(dtype, copy=False), *sizes


def _batched(pieces: Iterable[Part], at_once: int) -> Iterator[list[Part]]:
    batch: list[Part] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.data)
        if size >= at_once:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def write_text(path: Path, text: str) -> None:
    """Write and sync a file."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        _sync(file)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def read_header(folder: Path) -> tuple[dict[str, Any], Tokenizer]:
    """The header of finished shards and the tokenizer beside them, checked against each other and the tokens."""
    try:
        header = cast("dict[str, Any]", json.loads((folder / HEADER).read_text("utf-8")))
        expected = header["tokens"] * int(header["dtype"][-1])
        size = (folder / TOKENS).stat().st_size
        fingerprint: str = header["tokenizer_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForescaleError(f"the tokens in {folder} are damaged ({error!r}): delete the folder.") from None
    if size != expected:
        raise ForescaleError(
            f"the tokens in {folder} must be {expected:,} bytes as their header says; {size:,} are there: delete the "
            "folder."
        )
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if tokenizer.fingerprint != fingerprint:
        raise ForescaleError(
            f"shards and tokenizer must belong together; in {folder} the tokens are of {fingerprint}, {TOKENIZER} is "
            f"{tokenizer.fingerprint}: delete the folder."
        )
    if isinstance(tokenizer, SavedTokenizer):
        tokenizer = replace(tokenizer, name=header["tokenizer"])
    return header, tokenizer


def build_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Have `build` fill `folder`, unless it is there: whole or not at all, and once where several processes ask.

    It is filled under another name, which is locked, and then renamed; who finds it locked waits. The lock is of the
    operating system and ends with its process; what a killed process left is cleared by the next one. Where folders
    cannot be locked, each process fills one of its own and the first to rename it wins.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock if _can_lock(folder.parent) else _no_lock
        while not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial{'' if lock is _lock else os.getpid()}")
            partial.mkdir(exist_ok=True)
            with lock(partial) as locked:
                if locked and not folder.is_dir():
                    _fill(partial, folder, build)
                elif locked:
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ForescaleError(
            f"the cache of tokens must be writable; {folder.parent}: {error.strerror or error}: free space or name "
            "another cache."
        ) from error


def _fill(partial: Path, folder: Path, build: Callable[[Path], None]) -> None:
    try:
        for left in partial.iterdir():
            left.unlink()
        build(partial)
        _rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(partial, ignore_errors=True)  # another process was first
    _sync_folder(folder.parent)


def _can_lock(folder: Path) -> bool:
    try:
        import fcntl

        with _handle(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
    except (ImportError, OSError):
        return False
    return True


@contextmanager
def _lock(folder: Path) -> Generator[bool]:
    """Hold the lock of a folder; False where it was renamed or removed while waiting."""
    import fcntl

    try:
        with _handle(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield folder.is_dir() and os.path.samestat(os.fstat(handle), folder.stat())
    except _GoneError:
        yield False


@contextmanager
def _no_lock(_: Path) -> Generator[bool]:
    yield True


class _GoneError(Exception):
    """A folder is not there any more."""


@contextmanager
def _handle(folder: Path) -> Generator[int]:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise _GoneError from None
    try:
        yield handle
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere folders cannot be opened
        with _handle(folder) as handle:
            os.fsync(handle)
