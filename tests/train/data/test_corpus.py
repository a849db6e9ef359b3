"""Corpora: all text becomes tokens once, held-out tokens are never trained on, and the tokens say what they are."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.train import _tokenise
from forescale.train._corpus import Corpus, open_corpus
from forescale.train._sources import Rows
from forescale.train._tokenise import default_cache
from forescale.train._tokenizer import ByteTokenizer, SavedTokenizer, load_tokenizer, train_bpe


@pytest.fixture
def shakespeare(data: Path) -> Path:
    return data / "text-corpora/tinyshakespeare/input.txt"


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bpe(shakespeare: Path, module_cache: Path) -> Corpus:
    return open_corpus(shakespeare, tokenizer="bpe:512", cache=module_cache)


def raw(corpus: Corpus) -> tuple[bytes, bytes]:
    """Training and held-out tokens of the byte tokenizer as bytes."""
    return corpus.train.array.astype("u1").tobytes(), corpus.held_out.array.astype("u1").tobytes()


def rows(count: int, pulled: list[int] | None = None, name: str = "rows") -> Rows:
    def each() -> Any:
        for i in range(count):
            if pulled is not None:
                pulled.append(i)
            yield {"text": f"{i:09d}"}

    return Rows(name=name, rows=each)


def assert_apart(corpus: Corpus) -> None:
    """Training and held-out tokens are of other files or of ranges that do not meet."""
    one, other = corpus.train, corpus.held_out
    assert one.path != other.path or one.stop <= other.start or other.stop <= one.start


def test_a_text_of_bytes_is_itself(shakespeare: Path, tmp_path: Path) -> None:
    corpus = open_corpus(shakespeare, cache=tmp_path)
    train, held_out = raw(corpus)
    assert train + held_out == shakespeare.read_bytes()
    assert len(held_out) == round(0.05 * 1115394)
    assert_apart(corpus)
    described = corpus.describe()
    assert json.loads(json.dumps(described)) == described
    expected = {"files": 1, "documents": 1, "bytes": 1115394, "tokens": 1115394, "vocab": 256, "tokenizer": "bytes"}
    assert described.items() >= expected.items()
    assert described["bytes_per_token"] == described["held_out_bytes_per_token"] == 1
    assert described["sources"] == [str(shakespeare)]


def test_documents_are_set_apart_by_a_zero(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": ""}\n{"text": "three"}\n')
    corpus = open_corpus(tmp_path / "a.jsonl", cache=tmp_path / "cache", held_out=5)
    assert b"".join(raw(corpus)) == b"one\0two\0three"
    described = corpus.describe()
    assert (described["documents"], described["bytes"], described["tokens"]) == (3, 11, 13)
    assert described["notes"] == ["1 documents without text are left out"]


def test_the_second_time_nothing_is_tokenised(
    shakespeare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(shakespeare.read_bytes()[:5000])
    first = open_corpus(copy, tokenizer="bpe:300", cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(_tokenise, "_build", None)
        again = open_corpus(copy, tokenizer="bpe:300", cache=tmp_path / "cache")
    assert again.describe() == first.describe()
    assert again.tokenizer == first.tokenizer


@pytest.mark.parametrize("change", ["content", "time", "errors", "tokenizer"])
def test_whatever_decides_the_tokens_has_shards_of_its_own(change: str, tmp_path: Path) -> None:
    path, options = tmp_path / "a.txt", {"cache": tmp_path / "cache", "tokenizer": "bytes"}
    path.write_text("some text " * 50)
    first = open_corpus(path, **options)
    if change == "content":
        path.write_text("other text " * 50)
    elif change == "time":
        os.utime(path, (1, 1))
    else:
        options[change] = {"errors": "replace", "tokenizer": "bpe:260"}[change]
    assert open_corpus(path, **options).train.path != first.train.path


def test_without_data_python_reads_its_own_sources(module_cache: Path) -> None:
    corpus = open_corpus(cache=module_cache)
    assert corpus.describe()["sources"] == ["python-stdlib"]
    assert len(corpus.train) > 3_000_000
    assert "import " in corpus.tokenizer.decode(corpus.train.array[:5000])
    assert b"\0" + Path(json.__file__).read_bytes() + b"\0" in raw(corpus)[0]


def test_text_of_dickens_is_kept_but_for_what_is_no_text(data: Path, module_cache: Path) -> None:
    path = data / "text-corpora/silesia-dickens/dickens.gz"
    with pytest.raises(ForescaleError, match="errors='replace'"):
        open_corpus(path, cache=module_cache)
    corpus = open_corpus(path, cache=module_cache, errors="replace")
    assert len(corpus.held_out) == round(0.05 * corpus.describe()["tokens"])
    assert corpus.notes == (
        "8 places that are not UTF-8 text became U+FFFD (errors='replace')",
        "lines end with CR LF in places; they are kept as they are",
    )


def test_held_out_data_of_its_own_is_not_trained_on(data: Path, module_cache: Path) -> None:
    folder = data / "text-corpora/wikitext-2"
    corpus = open_corpus(folder, cache=module_cache, held_out=folder / "test.txt")
    assert raw(corpus) == ((folder / "valid.txt").read_bytes(), (folder / "test.txt").read_bytes())
    assert corpus.notes == ("1 of the files are held out and not trained on",)
    with pytest.raises(ForescaleError, match="training and held-out data must differ; both are"):
        open_corpus(folder / "*.txt", cache=module_cache, held_out=folder)


@given(
    size=st.integers(1, 3000), seq_len=st.integers(1, 200), cut=st.none() | st.integers(1, 3000),
    held_out=st.none() | st.integers(1, 2000) | st.floats(0.01, 0.99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_held_out_tokens_are_apart_and_a_sequence_at_least(
    size: int, seq_len: int, cut: int | None, held_out: float | None, module_cache: Path
) -> None:
    path = module_cache / f"{size}.txt"
    if not path.exists():
        path.write_bytes(b"x" * size)
    options: Any = {"cache": module_cache, "seq_len": seq_len, "max_tokens": cut, "held_out": held_out}
    total = min(size, cut or size)
    out = held_out if isinstance(held_out, int) else max(round(total * (held_out or 0.05)), seq_len + 1)
    if min(out, total - out) <= seq_len:
        with pytest.raises(ForescaleError, match=f"; {total:,} arrived: give more data"):
            open_corpus(path, **options)
        return
    corpus = open_corpus(path, **options)
    assert_apart(corpus)
    assert len(corpus.train) + len(corpus.held_out) == total
    assert min(len(corpus.train), len(corpus.held_out)) > seq_len
    assert len(corpus.held_out) == out


def test_the_check_sees_tokens_that_are_in_both_parts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    corpus = open_corpus(tmp_path / "a.txt", cache=tmp_path / "cache", held_out=30)
    with pytest.raises(AssertionError):
        assert_apart(replace(corpus, held_out=replace(corpus.held_out, start=69)))


def test_held_out_tokens_are_a_million_at_most(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some text\n" * 2_100_000)
    assert len(open_corpus(tmp_path / "a.txt", cache=tmp_path / "cache").held_out) == 1_000_000


def test_of_a_stream_only_what_is_needed_is_taken(tmp_path: Path) -> None:
    pulled: list[int] = []
    corpus = open_corpus(rows(10**9, pulled), cache=tmp_path, need_tokens=1900, seq_len=9)
    assert (len(corpus.train), len(corpus.held_out)) == (1900, 100)
    assert len(pulled) < 2 * 2000 / 10
    assert b"".join(raw(corpus)[::-1]) == b"\0".join(b"%09d" % i for i in range(200)) + b"\0"


def test_more_of_a_stream_is_held_out_and_trained_on_in_the_same_order(tmp_path: Path) -> None:
    few, many = (
        open_corpus(rows(10**9), cache=tmp_path, need_tokens=need, held_out=500, seq_len=9) for need in (1000, 3000)
    )
    assert np.array_equal(few.held_out.array, many.held_out.array)
    assert np.array_equal(few.train.array, many.train.array[:1000])
    assert few.fingerprint != many.fingerprint


def test_a_tokenizer_of_a_stream_does_not_depend_on_the_tokens_needed(tmp_path: Path) -> None:
    few, many = (
        open_corpus(rows(5000), cache=tmp_path, need_tokens=need, tokenizer="bpe:300", held_out=500)
        for need in (1000, 3000)
    )
    assert few.tokenizer == many.tokenizer


def test_a_stream_that_ends_early_says_so(tmp_path: Path) -> None:
    corpus = open_corpus(rows(100), cache=tmp_path, need_tokens=1900, seq_len=9)
    assert len(corpus.train) + len(corpus.held_out) == 999
    assert corpus.notes == (
        "the stream ended after 999 of 2,000 tokens",
        "1,900 tokens are needed and 949 are there: the text is read 2.00 times",
    )


def test_rows_of_a_list_are_known_by_what_they_hold(tmp_path: Path) -> None:
    texts = [Rows(name="same", rows=[letter * 99]) for letter in "ab"]
    found = [open_corpus(one, cache=tmp_path, need_tokens=50) for one in texts]
    assert [raw(corpus)[0][:1] for corpus in found] == [b"a", b"b"]


def test_a_data_set_is_streamed_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(f'{{"text": "{i:09d}"}}\n' for i in range(300)))
    corpus = open_corpus(f"hf:{tmp_path / 'set'}:train", cache=tmp_path / "cache", need_tokens=1900, seq_len=9)
    assert raw(corpus) == raw(open_corpus(rows(300), cache=tmp_path / "cache", need_tokens=1900, seq_len=9))
    with pytest.raises(ForescaleError, match=r"set must be there to stream; ValueError: .*'nosuch'"):
        open_corpus(f"hf:{tmp_path / 'set'}:nosuch", cache=tmp_path / "cache", need_tokens=1900)


def test_a_trained_bpe_is_the_text_again(bpe: Corpus, shakespeare: Path) -> None:
    tokens = np.concatenate([bpe.train.array, bpe.held_out.array])
    assert bpe.tokenizer.decode(tokens) == shakespeare.read_text()
    assert bpe.vocab == 512 > tokens.max()
    described = bpe.describe()
    assert (described["tokenizer"], described["bytes"]) == ("bpe:512", 1115394)
    assert described["held_out_bytes"] == len(bpe.tokenizer.decode(bpe.held_out.array).encode())
    assert described["bytes_per_token"] == 1115394 / len(tokens) > 1.5


def test_a_saved_bpe_gives_the_same_tokens(bpe: Corpus, shakespeare: Path, module_cache: Path) -> None:
    folder = bpe.train.path.parent
    for path in (folder, folder / "tokenizer.json"):
        again = open_corpus(shakespeare, tokenizer=path, cache=module_cache)
        assert np.array_equal(again.train.array, bpe.train.array)
        assert again.tokenizer.fingerprint == bpe.tokenizer.fingerprint


def test_a_bpe_agrees_with_the_package_that_reads_it(bpe: Corpus, shakespeare: Path) -> None:
    """The first pieces of text as `tokenizers` encodes them from the file that lies beside the shards."""
    engine = tokenizers.Tokenizer.from_file(str(bpe.train.path.parent / "tokenizer.json"))
    text = shakespeare.read_text()[:10_000]
    ids = engine.encode(text).ids[:-5]
    assert bpe.train.array[: len(ids)].tolist() == ids


def test_documents_of_a_bpe_are_set_apart_by_a_token_that_text_cannot_make(tmp_path: Path) -> None:
    texts = ["one <|endoftext|> of them", "two", "été"]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = open_corpus(path, tokenizer="bpe:300", cache=tmp_path / "cache", held_out=5)
    tokens = np.concatenate([corpus.train.array, corpus.held_out.array])
    assert (tokens == corpus.tokenizer.separator).sum() == 2
    assert corpus.tokenizer.decode(tokens) == "<|endoftext|>".join(texts)
    assert corpus.tokenizer.count_bytes(tokens) == corpus.describe()["bytes"] == len("".join(texts).encode())


def test_a_text_with_few_merges_says_how_many(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc " * 100)
    corpus = open_corpus(tmp_path / "a.txt", tokenizer="bpe:1000", cache=tmp_path / "cache")
    assert 257 < corpus.vocab < 300
    assert corpus.notes[0].startswith(f"the text has merges for a vocabulary of {corpus.vocab}, not 1000")


def test_a_bpe_is_trained_on_an_even_share_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokenise, "BPE_BYTES", 2000)
    for name, word in (("a", "apple "), ("b", "berry ")):
        (tmp_path / f"{name}.txt").write_text(word * 2000)
    made = open_corpus(str(tmp_path / "*.txt"), tokenizer="bpe:280", cache=tmp_path / "cache").tokenizer
    assert [len(tokens) for tokens in made.encode([b" apple", b" berry"])] == [1, 1]


def words() -> tokenizers.Tokenizer:
    """A tokenizer of words, neither byte-level nor with an end of a document; it would pad and truncate."""
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 3, "?": 1}, unk_token="?"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    engine.enable_truncation(2)
    engine.enable_padding(length=9)
    return engine


def test_a_tokenizer_of_another_kind(tmp_path: Path) -> None:
    words().save(str(tmp_path / "words.json"))
    (tmp_path / "a.txt").write_text("a b b c " * 10)
    corpus = open_corpus(tmp_path / "a.txt", tokenizer=tmp_path / "words.json", cache=tmp_path / "cache", held_out=20)
    assert corpus.train.array.tolist() == [0, 3, 3, 1] * 5
    assert corpus.vocab == 4
    assert corpus.held_out_bytes == len("a b b ? " * 5) - 1  # what decoding gives
    assert corpus.notes == ("the tokenizer words.json has no end-of-document token: documents are joined without one",)


@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), max_size=5))
@settings(max_examples=50, deadline=None)
def test_decoding_is_the_inverse_of_encoding(texts: list[str]) -> None:
    for tokenizer in (ByteTokenizer(), TRAINED):
        for text, tokens in zip(texts, tokenizer.encode([text.encode() for text in texts]), strict=True):
            assert tokenizer.decode(tokens) == text
            assert tokenizer.count_bytes(tokens) == len(text.encode())


TRAINED = train_bpe([b"some text to train on, some more text"] * 9, 300)


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 70_000, "?": 1}, unk_token="?"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = SavedTokenizer(name="wide", json=engine.to_str())
    (tmp_path / "a.txt").write_text("a b " * 20)
    corpus = open_corpus(tmp_path / "a.txt", tokenizer=tokenizer, cache=tmp_path, held_out=0.5)
    assert corpus.train.dtype == "<u4"
    assert corpus.train.array.tolist() == [0, 70_000] * 10


def test_a_model_must_hold_every_token(bpe: Corpus) -> None:
    bpe.check_vocab(512)
    bpe.check_vocab(1024)
    with pytest.raises(ForescaleError, match="tokenizer bpe:512 has 512, the model 256: use the model's own"):
        bpe.check_vocab(256)


def test_a_byte_tokenizer_is_saved_and_loaded(shakespeare: Path, module_cache: Path) -> None:
    folder = open_corpus(shakespeare, cache=module_cache).train.path.parent
    assert load_tokenizer(folder) == ByteTokenizer()


def test_bits_per_byte_of_uniform_bytes_are_eight(shakespeare: Path, module_cache: Path) -> None:
    """A model that gives each of 256 tokens the same probability has a loss of ln 256 nats per token."""
    described = open_corpus(shakespeare, cache=module_cache).describe()
    assert math.log(256) / described["held_out_bytes_per_token"] / math.log(2) == pytest.approx(8)


def test_progress_counts_bytes_on_disk_and_tokens_of_a_stream(data: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    path = data / "text-corpora/silesia-dickens/dickens.gz"
    open_corpus(path, cache=tmp_path, errors="replace", progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) > 1
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)
    open_corpus(rows(10**9), cache=tmp_path, need_tokens=900, held_out=100, progress=lambda *call: calls.append(call))
    assert calls[-1] == (1000, 1000)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORESCALE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache() == Path("/caches/forescale/tokens")
    monkeypatch.setenv("FORESCALE_CACHE", "/mine")
    assert default_cache() == Path("/mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 128, "held_out": 60}, "to train on and one held out, .* 258 tokens; 100 arrived"),
        ({"held_out": 100}, "100 held out 102 tokens; 100 arrived"),
        ({"held_out": 0}, "held_out must be a share between 0 and 1, a whole number of tokens, or paths; got 0"),
        ({"held_out": 1.5}, "held_out must be a share .* got 1.5"),
        ({"held_out": True}, "held_out must be a share .* got True"),
        ({"held_out": float("nan")}, "held_out must be a share .* got nan"),
        ({"errors": "ignore"}, "errors must be 'strict' or 'replace'; got 'ignore'"),
        ({"need_tokens": 1e6}, "need_tokens must be a whole number, 1 or more; got 1000000.0"),
        ({"max_tokens": 0}, "max_tokens must be a whole number, 1 or more; got 0"),
        ({"tokenizer": "bpe:256"}, "vocabulary N from 257 .* got 'bpe:256'"),
        ({"tokenizer": "bpe"}, "asked for as bpe:N .* got 'bpe'"),
        ({"tokenizer": "gpt2"}, "a tokenizer is 'bytes', 'bpe:N' or a tokenizer.json that exists; got 'gpt2'"),
        ({"tokenizer": __file__}, "a tokenizer.json must be JSON; .* cannot be read"),
    ],
    ids=str,
)
def test_impossible_requests(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    with pytest.raises(ForescaleError, match=message):
        open_corpus(tmp_path / "a.txt", cache=tmp_path / "cache", **options)


def test_a_json_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ForescaleError, match=r"must be one of the tokenizers package; .* is none"):
        load_tokenizer(tmp_path)


def test_a_stream_needs_an_end(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="a stream has no known end; rows came without need_tokens"):
        open_corpus(rows(9), cache=tmp_path)


def test_data_without_text_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(ForescaleError, match=r"the data must hold text; .*a.jsonl holds none .* 1 empty documents"):
        open_corpus(tmp_path / "a.jsonl", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_key_that_plain_text_cannot_have_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    corpus = open_corpus(tmp_path / "a.txt", cache=tmp_path / "cache", key="body")
    assert corpus.notes == ("the key 'body' is not used: all files are plain text",)
