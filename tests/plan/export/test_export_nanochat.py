"""nanochat: its own rescaling stays on and is stated; what can arrive, arrives exactly."""

from __future__ import annotations

import math

import pytest
from export_fixtures import LR, build_plan, shell_flags

from forescale.errors import ForescaleError
from forescale.plan.export import export
from forescale.schedules import factor_at, linear


@pytest.mark.parametrize("warmup", [0, 1, 37, 396])
@pytest.mark.parametrize("steps", [397, 100_003])
def test_the_warmdown_share_rounds_to_every_step_after_the_warmup(warmup: int, steps: int) -> None:
    flags = shell_flags(export(build_plan(warmup_steps=warmup, steps=steps), "nanochat").text)
    assert round(float(flags["warmdown-ratio"]) * steps) == steps - warmup  # nanochat's own rounding


def test_batch_length_and_final_ratio_arrive() -> None:
    flags = shell_flags(export(build_plan(final_lr_ratio=0.1), "nanochat").text)
    assert int(flags["total-batch-size"]) == 64 * 2 * 4 * 8192
    assert int(flags["device-batch-size"]) == 2
    assert int(flags["max-seq-len"]) == 8192
    assert int(flags["num-iterations"]) == 397
    assert int(flags["warmup-steps"]) == 37
    assert float(flags["final-lr-frac"]) == 0.1


def test_it_feeds_reference_values_leaves_the_scaling_on_and_says_so() -> None:
    result = export(build_plan(), "nanochat")
    flags = shell_flags(result.text)
    assert float(flags["matrix-lr"]) == 0.02
    assert float(flags["weight-decay"]) == 0.28
    assert str(LR) not in flags.values()
    (message,) = [m for m in result.losses if m.startswith("learning_rate")]
    assert "reference" in message
    assert "scaling on" in message
    assert "Muon" in message
    assert repr(math.sqrt(64 * 2 * 4 * 8192 / 2**19)) in message


def test_everything_it_cannot_carry_is_a_loss_and_strict_refuses() -> None:
    messages = " ".join(export(build_plan(), "nanochat").losses)
    for name in ("learning_rate", "weight_decay", "betas", "epsilon", "grad_clip", "init_std", "parameters"):
        assert name in messages
    with pytest.raises(ForescaleError, match="Muon"):
        export(build_plan(), "nanochat", strict=True)


def test_a_cosine_plan_becomes_linear_with_a_loss() -> None:
    assert not any("cosine decay becomes" in m for m in export(build_plan(), "nanochat").losses)
    assert any("cosine decay becomes" in m for m in export(build_plan(schedule="cosine"), "nanochat").losses)


def test_the_script_asks_for_the_depth() -> None:
    assert "${DEPTH:?" in export(build_plan(), "nanochat").text


@pytest.mark.parametrize("ratio", [0.0, 0.1])
def test_its_schedule_with_these_flags_is_ours(ratio: float) -> None:
    flags = shell_flags(export(build_plan(final_lr_ratio=ratio), "nanochat").text)
    steps, warmup = int(flags["num-iterations"]), int(flags["warmup-steps"])
    down = round(float(flags["warmdown-ratio"]) * steps)
    ours = linear(warmup / steps, ratio)
    for step in range(steps):  # as documented: (k + 1) / W, then a line over the last `down` steps
        left = min(1.0, (steps - step) / down)
        theirs = (step + 1) / warmup if step < warmup else left + (1 - left) * float(flags["final-lr-frac"])
        assert theirs == pytest.approx(factor_at(ours, step, steps), rel=1e-12)
