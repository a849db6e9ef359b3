"""Sources tokenised once into a cache, under a key of what decides the tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.train._documents import Piece, Reading, read_pieces
from forescale.train._shards import (
    FORMAT,
    HEADER,
    TOKENS,
    Progress,
    TokenShards,
    build_once,
    dtype_for,
    read_header,
    write_text,
    write_tokens,
)
from forescale.train._sources import File, Found
from forescale.train._text import Tally
from forescale.train._tokenizer import (
    FILE,
    ByteTokenizer,
    Tokenizer,
    bpe_name,
    bpe_vocab,
    load_tokenizer,
    train_bpe,
)

BPE_BYTES = 1 << 24  # of text that a BPE is trained on


@dataclass(frozen=True, kw_only=True)
class Tokenised:
    """All tokens of some sources, the tokenizer that made them, and the counts of the header beside them."""

    tokens: TokenShards
    tokenizer: Tokenizer
    header: dict[str, Any]
    notes: tuple[str, ...]

    def part(self, start: int, stop: int) -> TokenShards:
        """The tokens from `start` to `stop`."""
        return TokenShards(path=self.tokens.path, dtype=self.tokens.dtype, start=start, stop=stop)


def default_cache() -> Path:
    """`FORESCALE_CACHE`, or forescale/tokens in the user's folder of caches."""
    if named := os.environ.get("FORESCALE_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "forescale" / "tokens"


def as_tokenizer(asked: str | Path | Tokenizer) -> Tokenizer | int:
    """The tokenizer that a name or a path means; for `bpe:N`, which is yet to be trained, its vocabulary."""
    if not isinstance(asked, (str, Path)):
        return asked
    if str(asked) == ByteTokenizer.name:
        return ByteTokenizer()
    return bpe_vocab(str(asked)) or load_tokenizer(Path(asked).expanduser())


def tokenise(
    found: Found,
    tokenizer: Tokenizer | int,
    cache: Path,
    reading: Reading,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Tokenised:
    """At most `limit` tokens of the sources, from the cache or written to it."""
    folder = cache / _key(found, tokenizer, reading, limit)
    build_once(folder, lambda partial: _build(partial, found, tokenizer, reading, limit, progress))
    header, made = read_header(folder)
    tokens = TokenShards(path=folder / TOKENS, dtype=header["dtype"], start=0, stop=header["tokens"])
    return Tokenised(tokens=tokens, tokenizer=made, header=header, notes=(*found.notes, *header["notes"]))


def _key(found: Found, tokenizer: Tokenizer | int, reading: Reading, limit: int | None) -> str:
    made = bpe_name(tokenizer) if isinstance(tokenizer, int) else tokenizer.fingerprint
    decisive = [FORMAT, [source.key for source in found.sources], made, reading.key, reading.errors, limit]
    return sha256(json.dumps(decisive).encode()).hexdigest()[:24]


def _build(
    folder: Path,
    found: Found,
    asked: Tokenizer | int,
    reading: Reading,
    limit: int | None,
    progress: Progress | None,
) -> None:
    tally = Tally()
    pieces: Iterator[Piece] = read_pieces(found.sources, reading, tally)
    tokenizer = asked
    if isinstance(tokenizer, int):
        tokenizer, pieces = _trained(found, tokenizer, reading, pieces)
    counted = write_tokens(folder, pieces, tokenizer, limit=limit, size=found.size, progress=progress)
    if not counted.tokens:
        raise ForescaleError(
            f"the data must hold text; {', '.join(found.given)} holds none ({len(found.sources)} files or streams, "
            f"{tally.empty} empty documents): name other data."
        )
    write_text(folder / FILE, tokenizer.to_json())
    header = {
        "format": FORMAT,
        "tokens": counted.tokens,
        "dtype": dtype_for(tokenizer.vocab),
        "fingerprint": counted.fingerprint,
        "bytes": counted.bytes,
        "files": tally.files,
        "documents": tally.documents,
        "vocab": tokenizer.vocab,
        "tokenizer": tokenizer.name,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "keys": [source.key for source in found.sources],
        "notes": [*tally.notes(), *_notes(asked, tokenizer, found, reading, limit, counted.tokens)],
    }
    write_text(folder / HEADER, json.dumps(header, indent=1))


def _notes(
    asked: Tokenizer | int, made: Tokenizer, found: Found, reading: Reading, limit: int | None, tokens: int
) -> Iterator[str]:
    if isinstance(asked, int) and made.vocab < asked:
        yield f"the text has merges for a vocabulary of {made.vocab}, not {asked}: the tokenizer has {made.vocab}"
    if made.separator is None:
        yield f"the tokenizer {made.name} has no end-of-document token: documents are joined without one"
    if limit is not None and tokens < limit and found.is_stream:
        yield f"the stream ended after {tokens:,} of {limit:,} tokens"
    if reading.key and all(isinstance(source, File) and source.kind == "text" for source in found.sources):
        yield f"the key {reading.key!r} is not used: all files are plain text"


def _trained(found: Found, vocab: int, reading: Reading, pieces: Iterator[Piece]) -> tuple[Tokenizer, Iterator[Piece]]:
    """A BPE trained on the first part of each file, or of a stream, which is then kept to be read again.

    How much of it does not depend on the tokens that a run needs, so that runs of one stream share a tokenizer.
    """
    if not found.is_stream:
        return train_bpe(_share(found, reading), vocab), pieces
    first = list(_first(pieces, BPE_BYTES))
    return train_bpe((piece.data for piece in first), vocab), chain(first, pieces)


def _share(found: Found, reading: Reading) -> Iterator[bytes]:
    share = min(1.0, BPE_BYTES / max(found.size or 1, 1))
    for source in found.sources:
        most = round(share * source.size) if isinstance(source, File) else BPE_BYTES
        for piece in _first(read_pieces([source], reading, Tally()), most):
            yield piece.data[:most] if share < 1 else piece.data


def _first(pieces: Iterable[Piece], most: int) -> Iterator[Piece]:
    size = 0
    for piece in pieces:
        yield piece
        size += len(piece.data)
        if size >= most:
            return
