"""Cores that each take a part of the batch: the same training as one thread, and the same bits every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from forescale.train import ModelOptions, Result, TrainConfig, open_corpus, train
from forescale.train._cores import Cores
from forescale.train._memory import keep_freed_memory
from forescale.workload import Experts, Shape

SHAPE = Shape(layers=2, width=32, heads=2, vocab=256, ffn_width=64)
CONFIG = TrainConfig(
    shape=SHAPE,
    options=ModelOptions(z_loss=1e-3),
    seq_len=32,
    steps=12,
    batch_sequences=5,
    learning_rate=0.01,
    warmup_steps=2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
    return open_corpus([folder / "a.txt"], cache=folder / "cache", seq_len=32)


def run(corpus: Any, threads: int, **changes: Any) -> Result:
    return train(replace(CONFIG, threads=threads, **changes), corpus=corpus)


def test_two_cores_train_as_one_thread_does(corpus: Any) -> None:
    one, two = run(corpus, 1), run(corpus, 2)
    assert two.losses == pytest.approx(one.losses, rel=2e-6)  # float32 sums in another order, over 12 steps
    assert two.loss == pytest.approx(one.loss, rel=2e-6)
    assert (one.threads, two.threads) == (1, 2)


def test_more_cores_than_sequences_and_several_pieces(corpus: Any) -> None:
    one = run(corpus, 1)
    assert run(corpus, 8).losses == pytest.approx(one.losses, rel=2e-6)
    assert run(corpus, 2, micro_batch=2).losses == pytest.approx(one.losses, rel=2e-6)


def test_the_same_cores_give_the_same_bits(corpus: Any) -> None:
    assert run(corpus, 2).losses == run(corpus, 2).losses


def test_threads_are_as_before_when_the_run_is_over(corpus: Any) -> None:
    before = torch.get_num_threads()
    run(corpus, 2)
    assert torch.get_num_threads() == before


def test_experts_keep_the_balance_of_the_whole_batch(corpus: Any) -> None:
    shape = replace(SHAPE, experts=Experts(count=4, top_k=2, width=32))
    one, two = run(corpus, 1, shape=shape), run(corpus, 2, shape=shape)
    assert two.losses == pytest.approx(one.losses, rel=2e-6)


def test_an_error_in_one_core_is_raised() -> None:
    before = torch.get_num_threads()
    cores = Cores(2)

    def work(part: int) -> int:
        if part:
            raise ValueError("part 1")
        return part

    with pytest.raises(ValueError, match="part 1"):
        cores.run(work, [0, 1])
    assert [len(p) for p in cores.split(torch.zeros(5, 1))] == [3, 2]
    cores.close()
    torch.set_num_threads(before)


def test_freed_memory_is_kept_where_the_library_can() -> None:
    assert keep_freed_memory() in (True, False)
