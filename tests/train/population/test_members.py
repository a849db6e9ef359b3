"""Members against separate runs of `train`: the second method for every number here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from loop_runs import TINY, tiny_config

from forescale.errors import ForescaleError
from forescale.train import ModelOptions, Result, TrainConfig, train
from forescale.train._progress import Progress
from forescale.train.population import _members, train_population
from forescale.workload import Shape

# Sums run in another order, and AdamW's division by the root of a small second moment lets early differences grow.
ROUNDING = 2e-5


def varied(**changes: Any) -> list[TrainConfig]:
    """Members that differ in all that they may differ in."""
    common = tiny_config(steps=20, **changes)
    return [
        replace(common, seed=3),
        replace(common, learning_rate=3e-3, weight_decay=0.0, seed=1),
        replace(common, learning_rate=2e-2, beta1=0.8, beta2=0.99, epsilon=1e-6, schedule="cosine", seed=2),
        replace(common, warmup_steps=5, final_lr_ratio=0.2, grad_clip=0.0, init_std=0.05, seed=3),
        replace(common, grad_clip=0.1, steps=15, seed=4),
    ]


def agree(alone: Sequence[Result], population: Sequence[Result], tolerance: float = ROUNDING) -> None:
    for one, member in zip(alone, population, strict=True):
        assert member.losses == pytest.approx(one.losses, rel=tolerance)
        assert member.loss == pytest.approx(one.loss, rel=tolerance)
        assert (member.steps, member.diverged_at, member.config) == (one.steps, one.diverged_at, one.config)
        assert (member.held_out_tokens, member.corpus) == (one.held_out_tokens, one.corpus)


def alone(configs: Sequence[TrainConfig], corpus: Any) -> list[Result]:
    return [train(config, corpus=corpus) for config in configs]


@pytest.fixture(scope="module")
def separate(corpus) -> list[Result]:
    """The members of `varied`, trained one by one."""
    return alone(varied(), corpus)


def test_members_that_differ_in_everything_equal_separate_runs(corpus, separate) -> None:
    agree(separate, train_population(varied(), corpus=corpus))


GPT = Shape(
    layers=2, width=16, heads=2, vocab=256, ffn_width=32, norm="layer", gated=False, positions=16, tied=True,
    qkv_bias=True, o_bias=True, ffn_bias=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (GPT, ModelOptions(position="learned")),
        (replace(TINY, kv_heads=1, qk_norm="head"), ModelOptions(position="alibi", z_loss=1e-3)),
        (TINY, ModelOptions(density=0.5, mask_seed=1)),
    ],
    ids=["gpt", "alibi", "masked"],
)
def test_other_models_do_too(corpus, shape: Shape, options: ModelOptions) -> None:
    configs = varied(shape=shape, options=options)
    agree(alone(configs, corpus), train_population(configs, corpus=corpus))


def test_members_of_other_parametrizations_have_their_own_groups(corpus) -> None:
    base = Shape(width=8, layers=1)
    common = tiny_config(steps=20, shape=replace(TINY, heads=4, width=32), seed=1)
    configs = [
        common,
        replace(common, weight_decay=0.0),
        replace(common, scheme="completep", base=replace(base, heads=1, vocab=256)),
        replace(common, scheme="mup", base=replace(base, heads=1, vocab=256), learning_rate=5e-3),
        replace(common, scheme="u-mup", learning_rate=0.1),
    ]
    agree(alone(configs, corpus), train_population(configs, corpus=corpus))


def test_a_batch_in_pieces_is_the_whole_batch(corpus) -> None:
    configs = [tiny_config(micro_batch=6, steps=20, seed=seed, batch_sequences=5) for seed in (0, 1, 2)]
    agree(alone(configs, corpus), train_population(configs, corpus=corpus))


def test_bfloat16_members_equal_separate_runs_as_far_as_bfloat16_goes(corpus) -> None:
    configs = [tiny_config(precision="bf16", steps=20, seed=seed) for seed in (0, 1)]
    agree(alone(configs, corpus), train_population(configs, corpus=corpus), 2e-2)


@pytest.mark.parametrize("fault", ["rate", "decay", "norm", "data"])
def test_a_member_that_takes_from_another_would_show(corpus, separate, monkeypatch, fault: str) -> None:
    if fault == "norm":
        monkeypatch.setattr(_members.Members, "_clip", clip_by_the_largest)
    elif fault == "data":
        monkeypatch.setattr(_members.Members, "_rows", rows_of_the_first)
    else:
        update, name, factor = _members.adamw_update, *{"rate": ("lr", 1.01), "decay": ("weight_decay", 1.5)}[fault]
        monkeypatch.setattr(_members, "adamw_update", lambda b, g: update(b, {**g, name: factor * g[name]}))
    with pytest.raises(AssertionError):
        agree(separate, train_population(varied(), corpus=corpus))


def clip_by_the_largest(self: Any) -> torch.Tensor:
    with torch.no_grad():
        norms = torch.stack([s.grads.norm(dim=1) for s in self.segments]).norm(dim=0)
        for segment in self.segments:
            segment.grads *= (1 / (norms.max() + 1e-6)).clamp(max=1.0)
    return norms


def rows_of_the_first(self: Any, taken: Sequence[int], piece: Any) -> torch.Tensor:
    first = self.steppers[0]
    rows = first.batches.at(taken[0] * first.config.batch_sequences + piece.start, piece.sequences)
    return rows.expand(len(self.steppers), *rows.shape)


def test_a_diverged_member_leaves_and_the_others_do_not_notice(corpus, separate) -> None:
    configs = [*varied(), tiny_config(learning_rate=1e6, seed=9), *varied()[:2]]
    seen: list[tuple[int, int]] = []
    results = train_population(configs, corpus=corpus, on_step=lambda place, step: seen.append((place, step.step)))
    wild = results[5]
    assert wild.diverged
    assert (wild.loss, wild.train_loss) == (math.inf, math.inf)
    assert wild.diverged_at == train(configs[5], corpus=corpus).diverged_at
    assert max(step for place, step in seen if place == 5) == (wild.diverged_at or 0) - 1  # no step after it
    agree([*separate, *separate[:2]], [*results[:5], *results[6:]])


def test_a_member_that_is_not_finite_at_once_harms_nobody(corpus, separate, monkeypatch) -> None:
    """Its weights are set to nan before the first step, so that its loss and all its gradients are."""
    configs = varied()
    made = _members.Segment.__init__

    def poisoned(self: Any, *arguments: Any) -> None:
        made(self, *arguments)
        if len(self.values) == len(configs):
            self.values[1] = math.nan

    monkeypatch.setattr(_members.Segment, "__init__", poisoned)
    results = train_population(configs, corpus=corpus)
    assert results[1].diverged_at == 1
    calm = [0, 2, 3, 4]
    agree([separate[i] for i in calm], [results[i] for i in calm])


def test_on_step_stops_single_members(corpus, separate) -> None:
    configs = varied()
    results = train_population(configs, corpus=corpus, on_step=lambda place, step: place == 2 and step.step == 7)
    cut = train(configs[2], corpus=corpus, on_step=lambda step: step.step == 7)
    agree([*separate[:2], cut, *separate[3:]], results)
    assert results[2].steps == 7


def size_of_a_weight(model: Any) -> float:
    return float(model.blocks[1].ffn.output.weight.detach().square().sum())


def test_on_step_sees_each_members_own_model(corpus) -> None:
    configs = [tiny_config(seed=seed, learning_rate=rate) for seed, rate in ((0, 1e-2), (1, 2e-2))]
    seen: dict[tuple[int, int], Any] = {}

    def look(place: int, step: Any) -> None:
        seen[place, step.step] = (step.learning_rate, size_of_a_weight(step.model))

    train_population(configs, corpus=corpus, on_step=look)
    for place, config in enumerate(configs):
        expected: dict[int, Any] = {}

        def alone_(step: Any, into: Any = expected) -> None:
            into[step.step] = (step.learning_rate, size_of_a_weight(step.model))

        train(config, corpus=corpus, on_step=alone_)
        for step, values in expected.items():
            assert seen[place, step] == pytest.approx(values, rel=ROUNDING)


def test_members_of_one_seed_read_their_data_once(corpus, monkeypatch) -> None:
    from forescale.train import Batches

    at, reads = Batches.at, []
    monkeypatch.setattr(Batches, "at", lambda self, *a: (reads.append(self.shuffle), at(self, *a))[1])
    train_population([tiny_config(learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3)], corpus=corpus)
    assert reads.count(True) == 12


def test_one_config_trains_as_by_itself(corpus) -> None:
    config = tiny_config()
    (result,) = train_population([config], corpus=corpus, on_step=lambda place, step: (place, step.step) == (0, 5))
    assert result.losses == train(config, corpus=corpus).losses[:5]


def test_seconds_are_a_share_of_the_time(corpus) -> None:
    import time

    began = time.perf_counter()
    results = train_population([tiny_config(seed=seed, steps=12 + seed) for seed in range(4)], corpus=corpus)
    assert 0 < sum(result.seconds for result in results) < time.perf_counter() - began
    assert "with 3 more" in results[0].notes[-1]


def test_progress_is_of_all_members_together(corpus, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Progress, "due", property(lambda _: True))
    train_population([tiny_config(seed=seed, steps=12 - seed) for seed in range(3)], corpus=corpus, progress=True)
    shown = capsys.readouterr().err
    assert "3 runs as one program" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("step")][-3:] == [
        "30/33",
        "32/33",
        "33/33",
    ]


def test_a_thread_count_that_is_not_used_is_said(corpus) -> None:
    results = train_population([tiny_config(threads=2, seed=seed, steps=3) for seed in range(2)], corpus=corpus)
    assert "a population takes one thread; threads 2 is not used" in results[1].notes
    assert results[1].threads == 1


def test_several_processes_share_no_population(corpus, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ForescaleError, match="torchrun started 2"):
        train_population([tiny_config(), tiny_config()], corpus=corpus)


@pytest.mark.slow
def test_a_compiled_population_equals_separate_runs(corpus, monkeypatch) -> None:
    """Traced as a compiler traces it, forward and backward; no code is generated, which would take minutes."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    configs = [tiny_config(seed=seed, compile=True) for seed in (0, 1)]
    expected = alone([replace(config, compile=False) for config in configs], corpus)
    for one, member in zip(expected, train_population(configs, corpus=corpus), strict=True):
        assert member.losses == pytest.approx(one.losses, rel=ROUNDING)
