"""Tokenizers: bytes, byte-level BPE trained on the spot, and saved tokenizer.json files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from forescale.errors import ForescaleError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "tokenizer.json"
SEPARATOR = "<|endoftext|>"
# How saved tokenizers call the end of a document, in the order of preference.
SEPARATORS = (SEPARATOR, "<|end_of_text|>", "<|endofsequence|>", "</s>", "<eos>", "<|eos|>", "<|im_end|>", "[SEP]")
LEAST_BPE, MOST_BPE = 257, 2**20


@dataclass(frozen=True)
class ByteTokenizer:
    """A token a byte of UTF-8; the byte 0 separates documents. Tokens lie in [0, vocab)."""

    name: str = "bytes"
    vocab: int = 256
    separator: int = 0
    fingerprint: str = "bytes"

    def encode(self, pieces: Sequence[bytes]) -> list[NDArray[np.uint8]]:
        """The bytes themselves, as views."""
        import numpy as np

        return [np.frombuffer(piece, dtype=np.uint8) for piece in pieces]

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The bytes as text; separators become U+0000."""
        import numpy as np

        return np.asarray(tokens).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def count_bytes(self, tokens: NDArray[Any]) -> int:
        """All but the separators."""
        import numpy as np

        return int(np.count_nonzero(tokens))

    def to_json(self) -> str:
        """A marker that `load_tokenizer` knows."""
        return json.dumps({"forescale_tokenizer": "bytes"})


@dataclass(frozen=True)
class SavedTokenizer:
    """A tokenizer of the `tokenizers` package, as its JSON; no special token is added and none is read from text."""

    name: str
    json: str

    @cached_property
    def _engine(self) -> Any:
        engine = _tokenizers().Tokenizer.from_str(self.json)
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True  # `<|endoftext|>` in a text is text
        return engine

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "json": self.json}

    @cached_property
    def vocab(self) -> int:
        """One more than the largest token, added tokens included."""
        return max(self._engine.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def separator(self) -> int | None:
        """The end-of-document token, by the names that published tokenizers give it."""
        found = (self._engine.token_to_id(name) for name in SEPARATORS)
        return next((token for token in found if token is not None), None)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the JSON."""
        return sha256(self.json.encode()).hexdigest()[:16]

    def encode(self, pieces: Sequence[bytes]) -> list[NDArray[np.uint32]]:
        """The tokens of each piece; the pieces are shared out among the CPUs."""
        import numpy as np

        texts = [piece.decode() for piece in pieces]
        found = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.uint32) for one in found]

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The text, special tokens included."""
        return self._engine.decode([int(token) for token in tokens], skip_special_tokens=False)

    def count_bytes(self, tokens: NDArray[Any]) -> int:
        """By the length of each token where they are strings of bytes, else by decoding."""
        if self._lengths is not None:
            return int(self._lengths[tokens].sum())
        return len(self._engine.decode(tokens.tolist(), skip_special_tokens=True).encode())

    @cached_property
    def _lengths(self) -> NDArray[Any] | None:
        """Bytes of each token; None where the tokenizer is not byte-level, one character a byte."""
        import numpy as np

        decoder: Any = json.loads(self.json).get("decoder") or {}
        if decoder.get("type") != "ByteLevel":
            return None
        special = {token for token, one in self._engine.get_added_tokens_decoder().items() if one.special}
        lengths = np.zeros(self.vocab, dtype=np.int64)
        for text, token in self._engine.get_vocab(with_added_tokens=True).items():
            lengths[token] = 0 if token in special else len(text)
        return lengths

    def to_json(self) -> str:
        """The JSON as it was read."""
        return self.json


Tokenizer = ByteTokenizer | SavedTokenizer


def train_bpe(pieces: Iterable[bytes], vocab: int) -> SavedTokenizer:
    """A byte-level BPE of at most `vocab` tokens: the 256 bytes, a separator and the commonest merges.

    Few texts have fewer merges to give; the vocabulary is then smaller. Pretokenised as GPT-2 (Radford et al. 2019).
    """
    tokenizers = _tokenizers()
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator((piece.decode(errors="ignore") for piece in pieces), trainer)
    return SavedTokenizer(name=bpe_name(vocab), json=engine.to_str())


def bpe_name(vocab: int) -> str:
    """What a BPE tokenizer of `vocab` tokens is asked for by."""
    return f"bpe:{vocab}"


def bpe_vocab(name: str) -> int | None:
    """The vocabulary that `bpe:N` asks for; None for any other name."""
    kind, mark, size = name.partition(":")
    if kind != "bpe":
        return None
    if not mark or not size.isdecimal() or not LEAST_BPE <= int(size) <= MOST_BPE:
        raise ForescaleError(
            f"a BPE tokenizer is asked for as bpe:N with a vocabulary N from {LEAST_BPE} (the bytes and a separator) to "
            f"{MOST_BPE}; got {name!r}: such as bpe:4096."
        )
    return int(size)


def vocabulary(name: str) -> int:
    """The least vocabulary that a model of this tokenizer's tokens needs."""
    return 256 if name == "bytes" else bpe_vocab(name) or load_tokenizer(name).vocab


def load_tokenizer(path: str | Path) -> Tokenizer:
    """A tokenizer.json, or the one in a folder: of the `tokenizers` package, or as `to_json` says it."""
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    try:
        text = file.read_text("utf-8")
        content: Any = json.loads(text)
    except FileNotFoundError:
        raise ForescaleError(
            f"a tokenizer is 'bytes', 'bpe:N' or a tokenizer.json that exists; got {str(path)!r}: correct it."
        ) from None
    except (OSError, ValueError) as error:
        raise ForescaleError(f"a tokenizer.json must be JSON; {file} cannot be read ({error}): correct it.") from None
    if isinstance(content, dict) and cast("dict[str, Any]", content).get("forescale_tokenizer") == "bytes":
        return ByteTokenizer()
    return _loaded(file, text)


def _loaded(file: Path, text: str) -> SavedTokenizer:
    tokenizer = SavedTokenizer(name=file.name, json=text)
    try:
        vocab = tokenizer.vocab
    except MissingExtraError:
        raise
    except Exception as error:  # the package raises plain Exceptions
        raise ForescaleError(
            f"a tokenizer.json must be one of the tokenizers package; {file} is none ({error}): save it with save()."
        ) from None
    if vocab < 2:
        raise ForescaleError(f"a tokenizer must have 2 tokens or more; {file} has {vocab}: train it again.")
    return tokenizer


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MissingExtraError("BPE needs the tokenizers package: pip install 'forescale[train]'.") from None
    return tokenizers
