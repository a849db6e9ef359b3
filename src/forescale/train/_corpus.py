"""A corpus: text found, tokenised once into a cache, and split into training and held-out tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.train._documents import Reading
from forescale.train._shards import Progress, TokenShards
from forescale.train._sources import Found, Given, find_sources, without
from forescale.train._text import Errors
from forescale.train._tokenise import Tokenised, as_tokenizer, default_cache, tokenise
from forescale.train._tokenizer import Tokenizer

HELD_OUT = 0.05
MOST_HELD_OUT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Tokens to train on and tokens to measure the loss on, without overlap, and the tokenizer that made them."""

    train: TokenShards
    held_out: TokenShards
    tokenizer: Tokenizer
    header: dict[str, Any]  # of the shards with the training tokens
    sources: tuple[str, ...]  # as the user named them
    notes: tuple[str, ...]

    @property
    def vocab(self) -> int:
        """The least vocabulary of a model for these tokens."""
        return self.tokenizer.vocab

    @property
    def fingerprint(self) -> str:
        """A hash of the training shards' tokens, the same on every machine."""
        return self.header["fingerprint"]

    @cached_property
    def held_out_bytes(self) -> int:
        """Bytes of UTF-8 text that the held-out tokens stand for."""
        return self.tokenizer.count_bytes(self.held_out.array)

    def check_vocab(self, vocab: int) -> None:
        """Raise `ForescaleError` where a model of `vocab` tokens cannot read these."""
        if vocab < self.vocab:
            raise ForescaleError(
                f"a model's vocabulary must hold every token; the tokenizer {self.tokenizer.name} has {self.vocab}, the "
                f"model {vocab}: use the model's own tokenizer.json or a larger vocabulary."
            )

    def describe(self) -> dict[str, Any]:
        """Plain values for a run's record.

        Loss in nats per token, over `held_out_bytes_per_token` and over ln 2, is bits per byte of the held-out text.
        """
        return {
            "sources": list(self.sources),
            **{name: self.header[name] for name in ("files", "documents", "bytes", "tokens", "fingerprint")},
            "train_tokens": len(self.train),
            "held_out_tokens": len(self.held_out),
            "held_out_bytes": self.held_out_bytes,
            "vocab": self.vocab,
            "tokenizer": self.tokenizer.name,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "bytes_per_token": self.header["bytes"] / self.header["tokens"],
            "held_out_bytes_per_token": self.held_out_bytes / len(self.held_out),
            "shards": str(self.train.path.parent),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class _Options:
    cache: Path
    reading: Reading
    need_tokens: int | None
    max_tokens: int | None
    seq_len: int
    progress: Progress | None

    def tokenise(self, found: Found, tokenizer: Tokenizer | int, limit: int | None) -> Tokenised:
        return tokenise(found, tokenizer, self.cache, self.reading, limit=limit, progress=self.progress)


def open_corpus(
    paths: Given | Sequence[Given] | None = None,
    *,
    tokenizer: str | Path | Tokenizer = "bytes",
    cache: str | Path | None = None,
    need_tokens: int | None = None,
    held_out: Given | Sequence[Given] | float | None = None,
    seq_len: int = 1,
    key: str | None = None,
    errors: Errors = "strict",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Tokenise text into memory-mapped shards, or find them in `cache`, and split them.

    `paths`: files, folders and globs of text, JSON lines (text under `key`; a .json may be such) and Parquet
    (column `key`), also packed as .gz or .zst; `hf:NAME[:CONFIG][:SPLIT]` streams; `Rows`. None: the sources of Python's
    standard library.
    `tokenizer`: "bytes", "bpe:N" (trained on the text, held-out text included), or a tokenizer.json. Of a stream the
    `need_tokens` to train on and the held-out ones are taken, of files everything up to `max_tokens`. `held_out`: a
    share or a count of tokens, or paths of their own; else 5 % of the tokens, at least one sequence of `seq_len` + 1
    and at most a million: the last ones, or the first ones of a stream and under `max_tokens`, where more may be taken
    another time. `errors="replace"` turns what is not UTF-8 into U+FFFD. `progress(done, total)` counts bytes on disk,
    of a stream tokens.

    Raises `ForescaleError` for too little data, data that is damaged or no text, and a cache that cannot be written.
    """
    options = _Options(
        cache=Path(cache).expanduser() if cache else default_cache(),
        reading=Reading(key=key, errors=errors),
        need_tokens=need_tokens,
        max_tokens=max_tokens,
        seq_len=seq_len,
        progress=progress,
    )
    _check(options)
    found, made = find_sources(paths, key), as_tokenizer(tokenizer)
    if held_out is None or isinstance(held_out, (int, float)):
        return _one(found, _amount(held_out), made, options)
    return _two(found, find_sources(held_out, key), made, options)


def _check(options: _Options) -> None:
    if options.reading.errors not in ("strict", "replace"):
        raise ForescaleError(f"errors must be 'strict' or 'replace'; got {options.reading.errors!r}: choose one.")
    for name in ("need_tokens", "max_tokens", "seq_len"):
        value: Any = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ForescaleError(f"{name} must be a whole number, 1 or more; got {value!r}: correct it.")


def _amount(held_out: float | None) -> float | None:
    if held_out is not None and (
        isinstance(held_out, bool) or not held_out > 0 or (isinstance(held_out, float) and not held_out < 1)
    ):
        raise ForescaleError(
            f"held_out must be a share between 0 and 1, a whole number of tokens, or paths; got {held_out}: correct it."
        )
    return held_out


def _one(found: Found, amount: float | None, tokenizer: Tokenizer | int, options: _Options) -> Corpus:
    """Both parts from the same tokens."""
    limit = _limit(found, amount, options)
    every = options.tokenise(found, tokenizer, limit)
    total = len(every.tokens)
    size = _held_out_size(total, amount, options.seq_len)
    _check_room(total, size, options.seq_len)
    first = size if limit is not None else total - size
    head, tail = every.part(0, first), every.part(first, total)
    train, held_out = (tail, head) if limit is not None else (head, tail)
    return _corpus(found, every, train, held_out, every.notes, options)


def _limit(found: Found, amount: float | None, options: _Options) -> int | None:
    """How many tokens are taken at most, held-out ones included; `amount` is 0 where those come from elsewhere."""
    if not found.is_stream:
        return options.max_tokens
    if options.need_tokens is None:
        raise ForescaleError(
            f"a stream has no known end; {', '.join(found.given)} came without need_tokens: say how many to take."
        )
    share = HELD_OUT if amount is None else 0.0 if isinstance(amount, int) else amount
    held_out = 0 if amount == 0 else _held_out_size(round(options.need_tokens / (1 - share)), amount, options.seq_len)
    limit = options.need_tokens + held_out
    return min(limit, options.max_tokens or limit)


def _held_out_size(total: int, amount: float | None, seq_len: int) -> int:
    if isinstance(amount, int):
        return amount
    size = round(total * (amount or HELD_OUT))
    return max(size if amount else min(size, MOST_HELD_OUT), seq_len + 1)


def _check_room(total: int, held_out: int, seq_len: int) -> None:
    if total - held_out <= seq_len or held_out <= seq_len:
        needed = max(held_out, seq_len + 1) + seq_len + 1
        raise ForescaleError(
            f"the data must hold a sequence of {seq_len + 1} tokens to train on and one held out, with {held_out:,} held "
            f"out {needed:,} tokens; {total:,} arrived: give more data, hold out another amount or shorten seq_len."
        )


def _two(found: Found, separate: Found, tokenizer: Tokenizer | int, options: _Options) -> Corpus:
    """Training and held-out tokens from sources of their own; what is in both is held out."""
    kept = without(found, separate)
    if not kept.sources:
        raise ForescaleError(
            f"training and held-out data must differ; both are {', '.join(found.given)}: name other files for one."
        )
    train = options.tokenise(kept, tokenizer, _limit(kept, 0, options))
    held_out = options.tokenise(separate, train.tokenizer, MOST_HELD_OUT if separate.is_stream else None)
    for part, name in ((train, "training"), (held_out, "held-out")):
        if len(part.tokens) <= options.seq_len:
            raise ForescaleError(
                f"the {name} data must hold a sequence of {options.seq_len + 1} tokens; {len(part.tokens)} arrived: give "
                "more data or shorten seq_len."
            )
    notes = (*train.notes, *(f"held out: {note}" for note in held_out.notes))
    return _corpus(kept, train, train.tokens, held_out.tokens, notes, options)


def _corpus(
    found: Found,
    every: Tokenised,
    train: TokenShards,
    held_out: TokenShards,
    notes: tuple[str, ...],
    options: _Options,
) -> Corpus:
    need, have = options.need_tokens, len(train)
    if need is not None and need > have:
        notes = (*notes, f"{need:,} tokens are needed and {have:,} are there: the text is read {need / have:.2f} times")
    return Corpus(
        train=train, held_out=held_out, tokenizer=every.tokenizer, header=every.header, sources=found.given, notes=notes
    )
