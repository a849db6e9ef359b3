"""Sources to documents: every format holds the same text, and what is no text is named by file and place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.train import _documents
from forescale.train._documents import Reading, read_pieces
from forescale.train._sources import Hub, Rows, find_sources, hub_address
from forescale.train._text import Tally

TEXTS = ["One line.\nAnother — with a dash.", "été", "\r\nthree\r\n"]


def documents(given: Any, **reading: Any) -> list[str]:
    """The texts of a source, pieces joined."""
    pieces = list(read_pieces(find_sources(given).sources, Reading(**reading), Tally()))
    found = [b""]
    for piece in pieces:
        found[-1] += piece.data
        if piece.ends:
            found.append(b"")
    assert found.pop() == b""
    return [one.decode() for one in found]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("key", ["text", "body"])
def test_json_lines_called_json_are_known_by_their_first_line(tmp_path, pack: Any, key: str) -> None:
    long = ["word " * 300_000, *TEXTS]  # C4's names, with a first line longer than what is read at once
    (tmp_path / "c4-train.00000-of-01024.json").write_bytes(pack(as_lines(long, key)))
    (tmp_path / "settings.json").write_text('{\n "text": "an object over several lines"\n}\n')
    found = find_sources(tmp_path, key)
    assert [source.path.name for source in found.sources] == ["c4-train.00000-of-01024.json"]
    assert any("1 files called .json hold JSON lines" in note for note in found.notes)
    pieces = read_pieces(found.sources, Reading(key=key), Tally())
    assert [piece.data.decode() for piece in pieces] == long
    if key == "body":  # no text under the key that counts unless told otherwise
        assert [source.kind for source in find_sources(tmp_path).sources] == ["text", "text"]


@pytest.mark.parametrize("content", ["", "[1, 2]\n", '{"text": 3}\n', '{"text": "cut', "\u00e9\n", "[" * 100_000])
def test_other_json_is_text(tmp_path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert [source.kind for source in find_sources(tmp_path / "a.json").sources] == ["text"]


def tally_of(given: Any, **reading: Any) -> Tally:
    tally = Tally()
    list(read_pieces(find_sources(given).sources, Reading(**reading), tally))
    return tally


def as_lines(texts: list[str], key: str = "text") -> bytes:
    return "".join(json.dumps({"id": i, key: text}) + "\n" for i, text in enumerate(texts)).encode()


def write_texts(folder: Path) -> str:
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_bytes(text.encode())
    return str(folder / "*.txt")


def write_bytes(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def write_parquet(folder: Path) -> Path:
    pl.DataFrame({"id": [1, 2, 3], "text": TEXTS}).write_parquet(folder / "a.parquet", row_group_size=2)
    return folder / "a.parquet"


FORMATS: dict[str, Callable[[Path], Any]] = {
    "glob": write_texts,
    "folder": lambda folder: Path(write_texts(folder)).parent,
    "lines": write_bytes("a.jsonl", as_lines(TEXTS)),
    "lines without an end": write_bytes("a.ndjson", b"\n\n" + as_lines(TEXTS).rstrip()),
    "the only text": write_bytes("a.jsonl", as_lines(TEXTS, "content")),
    "gz": write_bytes("a.jsonl.gz", gzip.compress(as_lines(TEXTS))),
    "two members of gz": write_bytes("a.jsonl.gz", gzip.compress(as_lines(TEXTS[:1])) + gzip.compress(as_lines(TEXTS[1:]))),
    "padded gz": write_bytes("a.jsonl.gz", gzip.compress(as_lines(TEXTS)) + bytes(512)),
    "zst": write_bytes("a.jsonl.zst", zstandard.compress(as_lines(TEXTS))),
    "frames of zst": write_bytes("a.jsonl.zst", b"".join(zstandard.compress(as_lines([one])) for one in TEXTS)),
    "parquet": write_parquet,
    "rows": lambda _: Rows(name="rows", rows=[{"text": text} for text in TEXTS]),
    "texts": lambda _: Rows(name="rows", rows=lambda: iter(TEXTS)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_documents(name: str, tmp_path: Path) -> None:
    assert documents(FORMATS[name](tmp_path)) == TEXTS


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress, lambda data: data], ids=["gz", "zst", "plain"])
def test_a_file_of_text_is_one_document_of_many_pieces(
    packed: Callable[[bytes], bytes], tmp_path: Path, data: Path
) -> None:
    text = (data / "text-corpora/tinyshakespeare/input.txt").read_bytes() * 3
    path = tmp_path / "text"  # told by its first bytes, not by its name
    path.write_bytes(packed(text))
    pieces = list(read_pieces(find_sources(path).sources, Reading(), Tally()))
    assert b"".join(piece.data for piece in pieces) == text
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) > 3
    assert all(piece.data.endswith(b"\n") for piece in pieces)
    assert sum(piece.read for piece in pieces) == path.stat().st_size


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80), size=st.integers(5, 9))
@settings(max_examples=100, deadline=None)
def test_pieces_break_between_characters(text: str, size: int) -> None:
    parts = [(text.encode()[i : i + 7], 1) for i in range(0, len(text.encode()), 7)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_documents, "PIECE", size)
        pieces = [piece for piece, _ in _documents._cut(parts)]
    assert "".join(piece.decode() for piece in pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


def test_line_ends_are_kept_and_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\ntwo".encode())
    assert documents(tmp_path / "a.txt") == ["one\r\ntwo"]
    notes = tally_of(tmp_path / "a.txt").notes()
    assert notes == ("1 byte order marks were dropped", "lines end with CR LF in places; they are kept as they are")


def test_documents_without_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_lines(["", "a", ""]))
    pl.DataFrame({"text": ["b", None]}).write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_bytes(b"")
    every = [tmp_path / name for name in ("a.jsonl", "b.parquet", "c.txt")]
    assert documents(every) == ["a", "b"]
    assert tally_of(every).empty == 4


def test_a_folder_is_read_in_order_without_what_is_hidden_or_binary(tmp_path: Path) -> None:
    for name, text in {"b/z": "3", "a.md": "1", "b/a.py": "2", ".git/config": "no", "b/.hidden": "no"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    assert documents(tmp_path) == ["1", "2", "3"]
    assert find_sources(tmp_path).notes == (f"{tmp_path.name}: 1 binary files are left out",)


def test_a_folder_with_records_is_these_records(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about the data")
    (tmp_path / "part.jsonl").write_bytes(as_lines(["one"]))
    assert documents(tmp_path) == ["one"]
    assert "1 other files beside JSON lines and Parquet are left out" in find_sources(tmp_path).notes[0]


def test_a_file_named_twice_is_read_once_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(as_lines(["one"]))
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "blob")
    assert documents([tmp_path / "a.jsonl", tmp_path / "a.jsonl", tmp_path / "blob"]) == ["one"]


def test_the_standard_library_leaves_out_tests_and_what_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.py", "a/c.py", "test/x.py", "a/tests/x.py", "site-packages/x.py", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9\n")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    assert documents(None) == ["a/c.py", "b.py"]
    assert tally_of(None).notes() == ("1 files are not UTF-8 text and left out: latin.py",)
    assert "no data was named" in find_sources(None).notes[0]


@pytest.mark.parametrize(
    ("address", "hub"),
    [
        ("hf:a/b", Hub(name="a/b", config=None, split="train")),
        ("hf:a/b:test", Hub(name="a/b", config=None, split="test")),
        ("hf:a/b:en", Hub(name="a/b", config="en", split="train")),
        ("hf:a/b:en:validation", Hub(name="a/b", config="en", split="validation")),
        ("hf:", None),
        ("hf:a::b", None),
        ("hf:a:b:c:d", None),
    ],
)
def test_addresses_of_data_sets(address: str, hub: Hub | None) -> None:
    if hub is not None:
        assert hub_address(address) == hub
        return
    with pytest.raises(ForescaleError, match="address is hf:NAME"):
        hub_address(address)


def broken(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 0xFF]) + data[21:]


GZ, ZST = (
    gzip.compress(b"some text\n" * 99),
    zstandard.ZstdCompressor(write_checksum=True).compress(b"some text\n" * 99),
)
BAD: dict[str, tuple[str, bytes, str]] = {
    "binary": ("a.bin", b"text\0\1\2", r"a.bin is binary data: a NUL byte at offset 4 .* errors='replace'"),
    "utf-16": ("a.txt", "text".encode("utf-16"), r"a.txt is UTF-16: a NUL byte .* iconv -f UTF-16 -t UTF-8\."),
    "latin-1": ("a.txt", b"caf\xe9 au lait" * 2, r"a.txt is not: byte 0xe9 at offset 3, 2 of 24 .* iconv .*errors='replace'"),
    "other encoding": ("a.txt", "привет".encode("koi8-r") * 99, r"text of another encoding.* offset 0, 594 of 594 bytes: [^']*$"),
    "short gz": ("a.gz", GZ[:-9], r"a.gz is damaged \(it ends in the middle\)"),
    "broken gz": ("a.gz", broken(GZ), r"a \.gz file must be whole; .*a.gz is damaged"),
    "short zst": ("a.zst", ZST[:-9], r"a.zst is damaged \(it ends in the middle\)"),
    "broken zst": ("a.zst", broken(ZST), r"a \.zst file must be whole; .*a.zst is damaged"),
    "not json": ("a.jsonl", as_lines(["a"]) + b"{'text': 1}", r"a.jsonl, line 2 does not"),
    "no object": ("a.jsonl", b'["text"]', r"a.jsonl, line 1 holds b'\[\"text\"\]'"),
    "no key": ("a.jsonl", as_lines(["a"]) + b'{"body": "b"}', r"under the key 'text'; in .*a.jsonl, line 2 it is missing"),
    "not text": ("a.jsonl", b'{"text": 3}', r"a.jsonl, line 1 it is int"),
    "two texts": ("a.jsonl", b'{"a": "x", "b": "y"}', r"a.jsonl, line 1 has a, b: name the key"),
    "nul in json": ("a.jsonl", rb'{"text": "a\u0000b"}', r"a.jsonl, line 1 is binary data"),
    "half a pair": ("a.jsonl", rb'{"text": "a\ud800b"}', r"a.jsonl, line 1 holds half a surrogate pair at character 1"),
    "latin-1 in json": ("a.jsonl", as_lines(["a"]) + b'{"text": "\xe9"}', r"a.jsonl, line 2 is .*byte 0xe9 at offset 10"),
    "no parquet": ("a.parquet", b"PAR1nonsense", r"a Parquet file must hold a column of text; .*a.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_is_named_by_file_and_place(name: str, tmp_path: Path) -> None:
    file, content, message = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ForescaleError, match=message):
        documents(tmp_path / file)


def test_replacing_does_as_python_does(tmp_path: Path) -> None:
    content = b"caf\xe9 au lait, 3 \x80 a cup\0" * 9
    (tmp_path / "a.txt").write_bytes(content)
    expected = content.decode("utf-8", "replace").replace("\0", "\ufffd")
    assert documents(tmp_path / "a.txt", errors="replace") == [expected]
    assert tally_of(tmp_path / "a.txt", errors="replace").replaced == 27
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "a\\ud800\xe9"}')
    assert documents(tmp_path / "b.jsonl", errors="replace")[0].startswith("a\ufffd")


def test_what_is_mostly_no_text_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ForescaleError, match=r"must be UTF-8 text.*of another encoding"):
        documents(tmp_path / "a.bin", errors="replace")
    (tmp_path / "b.bin").write_bytes(b"ab\0\0" * 20)
    with pytest.raises(ForescaleError, match=r"is binary data.*leave it out\.$"):
        documents(tmp_path / "b.bin", errors="replace")


def test_the_first_bad_byte_of_dickens_is_where_python_finds_it(data: Path) -> None:
    path = data / "text-corpora/silesia-dickens/dickens.gz"
    content = gzip.decompress(path.read_bytes())
    with pytest.raises(UnicodeDecodeError) as found:
        content.decode()
    with pytest.raises(ForescaleError, match=f"dickens.gz is not: byte 0x88 at offset {found.value.start}, "):
        documents(path)
    assert documents(path, errors="replace") == [content.decode("utf-8", "replace")]


@pytest.mark.parametrize(
    ("given_paths", "message"),
    [
        ("no/such/file", "no/such/file does not exist"),
        ("no/such/*.txt", r"no/such/\*.txt matches no file"),
        ([], "an empty list arrived"),
        (Rows(name="r", rows=[3]), "r, row 1 is int: convert it"),
        (Rows(name="r", rows=[{"a": 1}]), "r, row 1 has a: name the key"),
    ],
)
def test_no_data(given_paths: Any, message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        documents(given_paths)


def test_an_empty_folder_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"at least one file of text; the folder .* holds none"):
        documents(tmp_path)


def test_a_stream_that_breaks_names_the_data_set() -> None:
    def rows() -> Any:
        yield {"text": "a"}
        raise ConnectionError("reset by peer")

    with pytest.raises(ForescaleError, match="data set web must be there to stream; ConnectionError: reset by peer"):
        documents(Rows(name="web", rows=rows))
