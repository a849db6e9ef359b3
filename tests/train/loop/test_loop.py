"""The loop in one process, without files."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from loop_runs import MIXED, TINY, ModelOptions, entropy, tiny_config

from forescale.errors import ForescaleError
from forescale.schedules import by_name, factor_at
from forescale.train import Batches, Result, Step, build_model, train
from forescale.workload import Shape


def reference(config: Any, corpus: Any) -> tuple[list[float], float]:
    """The losses of a plain loop of torch's own optimizer, clipping and schedule, and the held-out loss."""
    from forescale.parametrize import parametrization

    model = build_model(config.shape, config.options, seq_len=config.seq_len)
    base = Shape(width=config.shape.width, depth=config.shape.layers)
    parametrization("standard", base=base, init_std=config.init_std).initialize_(model, config.seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}]
    groups.append({"params": gains, "weight_decay": 0.0})
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon)
    schedule = by_name("linear", warmup=config.warmup_steps / config.steps, final=config.final_lr_ratio)
    batches = Batches(corpus.train, seq_len=config.seq_len, seed=config.seed)
    losses: list[float] = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * factor_at(schedule, step, config.steps)
        rows = batches.at(step * config.batch_sequences, config.batch_sequences)
        objective, loss = model(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad()
        objective.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        losses.append(float(loss))
    held_out = Batches(corpus.held_out, seq_len=config.seq_len, shuffle=False)
    with torch.no_grad():
        rows = held_out.at(0, config.eval_tokens // config.seq_len)
        return losses, float(model(rows[:, :-1], rows[:, 1:]).loss)


def test_agrees_with_a_plain_loop_of_torchs_own_parts(corpus) -> None:
    config = tiny_config(steps=25, final_lr_ratio=0.1)
    losses, held_out = reference(config, corpus)
    result = train(config, corpus=corpus)
    assert result.losses == pytest.approx(losses, rel=1e-5)
    assert result.loss == pytest.approx(held_out, rel=1e-5)


def test_learns_more_than_how_often_bytes_occur(corpus) -> None:
    result = train(tiny_config(steps=150, batch_sequences=8), corpus=corpus)
    assert result.losses[0] == pytest.approx(math.log(256), rel=0.01)
    assert result.loss < 0.9 * entropy(corpus.held_out.array)
    assert result.bits_per_byte == pytest.approx(result.loss / math.log(2))  # a token is a byte


def test_the_same_config_gives_the_same_bits(corpus) -> None:
    first, second = (train(tiny_config(), corpus=corpus) for _ in range(2))
    assert first.losses == second.losses
    assert first.loss == second.loss
    assert train(tiny_config(seed=1), corpus=corpus).losses != first.losses


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
@pytest.mark.parametrize("shape", [TINY, MIXED], ids=["dense", "experts"])
def test_accumulation_changes_nothing_but_rounding(corpus, micro_batch: int, shape: Shape) -> None:
    # The balance loss is a product of means over a micro-batch, so it is left out: it does depend on the cut.
    config = tiny_config(batch_sequences=5, shape=shape, options=ModelOptions(load_balance=0.0))
    whole = train(config, corpus=corpus)
    cut = train(replace(config, micro_batch=micro_batch), corpus=corpus)
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)
    assert cut.micro_batch == micro_batch


def test_checkpointing_changes_nothing(corpus) -> None:
    plain = train(tiny_config(), corpus=corpus)
    kept = train(tiny_config(options=ModelOptions(checkpointing=True)), corpus=corpus)
    assert kept.losses == pytest.approx(plain.losses, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "adam-atan2", "muon"])
@pytest.mark.parametrize("scheme", ["standard", "mup", "completep"])
def test_every_optimizer_under_a_scheme_lowers_the_loss(corpus, optimizer: str, scheme: str) -> None:
    base = None if scheme == "standard" else Shape(width=8, depth=1)
    result = train(tiny_config(steps=20, optimizer=optimizer, scheme=scheme, base=base), corpus=corpus)
    assert result.losses[-1] < result.losses[0] - 0.5


def test_bf16_stays_near_fp32(corpus) -> None:
    plain, rounded = (train(tiny_config(precision=p), corpus=corpus) for p in ("fp32", "bf16"))
    assert rounded.losses != plain.losses
    assert rounded.losses == pytest.approx(plain.losses, rel=0.02)  # bfloat16 has 8 bits of mantissa


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant", "cyclic", "inverse-sqrt", "wsd:decay=0.5"])
def test_the_rate_follows_the_schedule(corpus, schedule: str) -> None:
    seen: list[Step] = []
    config = tiny_config(schedule=schedule, final_lr_ratio=0.0)
    train(config, corpus=corpus, on_step=seen.append)
    made = config.make_schedule()
    expected = [config.learning_rate * factor_at(made, i, config.steps) for i in range(config.steps)]
    assert [step.learning_rate for step in seen] == pytest.approx(expected)
    assert [step.step for step in seen] == list(range(1, config.steps + 1))
    assert seen[0].learning_rate == pytest.approx(config.learning_rate / 2)  # two steps of warmup


def test_a_caller_can_stop_the_run(corpus) -> None:
    result = train(tiny_config(), corpus=corpus, on_step=lambda step: step.step == 5)
    assert (result.steps, len(result.losses), result.diverged) == (5, 5, False)
    assert result.tokens == 5 * 4 * 16


def test_a_run_that_explodes_says_when(corpus) -> None:
    result = train(tiny_config(steps=60, learning_rate=1e30, grad_clip=0.0, warmup_steps=0), corpus=corpus)
    assert result.diverged
    assert result.diverged_at == result.steps == len(result.losses)
    assert result.loss == math.inf
    assert result.to_json()["loss"] is None
    assert all(math.isfinite(loss) for loss in result.losses[:-1])


def test_clipping_bounds_the_update_it_is_given(corpus) -> None:
    # With Adam's own scale removed by one step of plain momentum the effect shows in the norms alone.
    norms: dict[float, list[float]] = {0.0: [], 0.05: []}
    for clip, found in norms.items():
        train(
            tiny_config(grad_clip=clip, steps=3), corpus=corpus, on_step=lambda s, f=found: f.append(float(s.grad_norm))
        )
    assert norms[0.0][0] == norms[0.05][0] > 0.05  # the norm before clipping is reported
    assert norms[0.0][1:] != norms[0.05][1:]


def test_the_result_is_a_row_of_a_runs_table(corpus) -> None:
    config = tiny_config()
    row = train(config, corpus=corpus).to_json()
    parts = TINY.parts()
    assert row["params"] == sum(p.params for p in parts if not p.vocabulary)
    assert row["total_params"] == sum(p.params for p in parts)
    assert (row["tokens"], row["batch_tokens"], row["steps"]) == (12 * 64, 64, 12)
    assert (row["width"], row["depth"], row["optimizer"], row["scheme"]) == (16, 2, "adamw", "standard")
    assert row["loss"] > 0
    assert row["tokens_per_second"] > 0


def test_flops_count_the_head_and_all_of_the_attention() -> None:
    # nanoGPT's estimate, 6 N + 12 L d T, with N the parameters that multiply: norms are few and counted too.
    config = tiny_config()
    assert config.flops_per_token == 6 * (config.params + 256 * 16) + 12 * 2 * 16 * 16


def test_results_of_hundreds_of_runs_are_small(corpus) -> None:
    result = train(tiny_config(), corpus=corpus)
    assert isinstance(result, Result)
    assert not any(isinstance(value, torch.Tensor) for value in vars(result).values())


def test_data_below_one_batch_is_refused(corpus) -> None:
    with pytest.raises(ForescaleError, match="at least one batch"):
        train(tiny_config(batch_sequences=10_000), corpus=corpus)


def test_a_vocabulary_below_the_tokenizers_is_refused(corpus) -> None:
    with pytest.raises(ForescaleError, match="vocabulary"):
        train(tiny_config(shape=replace(TINY, vocab=100)), corpus=corpus)


def test_threads_are_the_callers_again_afterwards(corpus) -> None:
    before = torch.get_num_threads()
    train(tiny_config(threads=before + 1, steps=1, warmup_steps=0, eval_tokens=16), corpus=corpus)
    assert torch.get_num_threads() == before


def test_a_run_in_process_loads_no_compiler_and_writes_nothing(corpus, tmp_path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from loop_runs import tiny_config, tiny_corpus\n"
        "from forescale.train import train\n"
        "train(tiny_config(), corpus=tiny_corpus(Path(sys.argv[2])))\n"
        "print(sorted({'torch._dynamo', 'scipy', 'rich', 'polars'} & set(sys.modules)))"
    )
    folder = corpus.train.path.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, __file__.rpartition("/")[0], str(folder)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def as_on_an_accelerator(monkeypatch) -> None:
    """Numbers are fetched now and then, and clipping waits for none, as where fetching would stall the device."""
    from forescale.train._step import Stepper

    original = Stepper.__init__

    def init(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self.on_cpu = False

    monkeypatch.setattr(Stepper, "__init__", init)


def test_fetching_late_changes_nothing(corpus, tmp_path, request) -> None:
    config = tiny_config(steps=25, eval_every=7, grad_clip=0.5, checkpoint_every=6)
    expected = train(replace(config, out=str(tmp_path / "a")), corpus=corpus)
    request.getfixturevalue("as_on_an_accelerator")
    seen: list[Step] = []
    late = train(replace(config, out=str(tmp_path / "b")), corpus=corpus, on_step=seen.append)
    assert (late.losses, late.loss) == (expected.losses, expected.loss)
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert isinstance(seen[0].loss, torch.Tensor)


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_metrics_are_written_though_fetches_fall_beside_log_every(corpus, tmp_path) -> None:
    config = tiny_config(steps=40, checkpoint_every=17, out=str(tmp_path))
    written: dict[int, int] = {}
    file = tmp_path / "metrics.jsonl"
    train(
        config, corpus=corpus, on_step=lambda s: written.update({s.step: len(file.read_bytes().splitlines())}) and None
    )
    assert (written[17], written[26], written[27], written[34]) == (17, 17, 27, 34)


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_a_signal_before_a_bad_loss_is_fetched_saves_no_nan(corpus, tmp_path) -> None:
    config = tiny_config(steps=40, learning_rate=1e30, grad_clip=0.0, warmup_steps=0, out=str(tmp_path), log_every=30)
    made = train(
        config, corpus=corpus, on_step=lambda s: os.kill(os.getpid(), signal.SIGTERM) if s.step == 20 else None
    )
    assert made.diverged_at is not None
    assert made.diverged_at < 20
    assert not (tmp_path / "checkpoints").exists()


def test_a_wrapper_for_several_processes_is_not_used_in_one(corpus) -> None:
    assert any("parallel fsdp" in note for note in train(tiny_config(parallel="fsdp"), corpus=corpus).notes)


def test_a_run_that_explodes_between_two_fetches_names_the_step(corpus, request) -> None:
    config = tiny_config(steps=40, learning_rate=1e30, grad_clip=0.0, warmup_steps=0)
    expected = train(config, corpus=corpus).diverged_at
    request.getfixturevalue("as_on_an_accelerator")
    late = train(config, corpus=corpus)
    assert (late.diverged_at, late.steps) == (expected, expected)
