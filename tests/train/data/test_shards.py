"""Shards on disk: whole or not at all, built once by many processes, and checked when they are read."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forescale.errors import ForescaleError
from forescale.train import _shards
from forescale.train._corpus import open_corpus

# Opens argv[1] with the cache argv[2]; each build appends a line to argv[3] and then takes argv[4] seconds.
OPENING = """
import sys, time
from forescale.train._corpus import open_corpus
def progress(done, total):
    with open(sys.argv[3], "a") as log:
        log.write("built\\n")
    time.sleep(float(sys.argv[4]))
print(open_corpus(sys.argv[1], cache=sys.argv[2], progress=progress).fingerprint)
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("some text\n" * 1000)
    return tmp_path / "a.txt"


def start(text: Path, seconds: float) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-c",
        OPENING,
        str(text),
        str(text.parent / "cache"),
        str(text.parent / "log"),
        str(seconds),
    ]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.01)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_many_processes_build_once_and_leave_no_lock(text: Path) -> None:
    processes = [start(text, 0.5) for _ in range(3)]
    fingerprints = {process.communicate(timeout=120)[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(fingerprints) == 1
    assert (text.parent / "log").read_text() == "built\n"
    assert len(names(text.parent / "cache")) == 1
    assert not names(text.parent / "cache")[0].endswith(".partial")


def test_what_a_killed_process_left_is_cleared(text: Path) -> None:
    process = start(text, 600)
    wait_for(text.parent / "log")
    process.kill()
    process.communicate(timeout=60)
    assert names(text.parent / "cache")[0].endswith(".partial")
    corpus = open_corpus(text, cache=text.parent / "cache")
    assert names(text.parent / "cache") == [corpus.train.path.parent.name]
    assert names(corpus.train.path.parent) == ["header.json", "tokenizer.json", "tokens.bin"]


def test_where_folders_cannot_be_locked_the_first_to_finish_wins(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shards, "_can_lock", lambda _: False)
    inner: list[Any] = []

    def overtake(*_: Any) -> None:
        if not inner:
            inner.append(None)
            monkeypatch.setattr(_shards.os, "getpid", lambda: 0)
            inner.append(open_corpus(text, cache=text.parent / "cache"))

    outer = open_corpus(text, cache=text.parent / "cache", progress=overtake)
    assert outer.describe() == inner[1].describe()
    assert len(names(text.parent / "cache")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_leaves_nothing(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_shards, "TOKENS", "/dev/full")  # a path that takes the place of the folder's
        with pytest.raises(
            ForescaleError, match=r"cache of tokens must be writable; .*: No space left on device: free"
        ):
            open_corpus(text, cache=text.parent / "cache")
    assert not names(text.parent / "cache")
    assert len(open_corpus(text, cache=text.parent / "cache").train) == 9500


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_an_interruption_leaves_nothing(text: Path, error: BaseException) -> None:
    def progress(*_: Any) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, ForescaleError)):
        open_corpus(text, cache=text.parent / "cache", progress=progress)
    assert not names(text.parent / "cache")


def test_a_cache_that_is_a_file_is_an_error(text: Path) -> None:
    with pytest.raises(ForescaleError, match=r"cache of tokens must be writable; .*a\.txt: File exists"):
        open_corpus(text, cache=text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokens.bin", b"short", "must be 20,000 bytes as their header says; 5 are there: delete the folder"),
        ("header.json", b"{}", r"are damaged \(KeyError\('tokens'\)\): delete the folder"),
        ("header.json", b"[", "are damaged .* delete the folder"),
        ("tokenizer.json", b"", "a tokenizer.json must be JSON"),
    ],
)
def test_damage_is_seen_when_shards_are_opened(text: Path, name: str, content: bytes, message: str) -> None:
    corpus = open_corpus(text, cache=text.parent / "cache")
    (corpus.train.path.parent / name).write_bytes(content)
    with pytest.raises(ForescaleError, match=message):
        open_corpus(text, cache=text.parent / "cache")


def test_a_tokenizer_of_other_shards_is_seen(text: Path) -> None:
    corpora = [open_corpus(text, cache=text.parent / "cache", tokenizer=name) for name in ("bytes", "bpe:260")]
    one, other = (corpus.train.path.with_name("tokenizer.json") for corpus in corpora)
    one.write_bytes(other.read_bytes())
    with pytest.raises(
        ForescaleError, match=r"shards and tokenizer must belong together; .* the tokens are of bytes, "
    ):
        open_corpus(text, cache=text.parent / "cache")


def test_tokens_that_are_gone_say_so(text: Path) -> None:
    corpus = open_corpus(text, cache=text.parent / "cache")
    corpus.train.path.unlink()
    with pytest.raises(ForescaleError, match=r"tokens in .* cannot be read"):
        _ = corpus.train.array
