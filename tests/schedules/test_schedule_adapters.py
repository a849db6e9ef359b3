"""Schedules in other libraries: PyTorch's LambdaLR, Hugging Face's Trainer, optax's form."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.schedules import SCHEDULES, by_name, factors, linear_to_zero, lr_lambda, optax_schedule, tenth

STEPS = 12
NAMES = [name for name in SCHEDULES if name != "points"]


def rates(optimizer: Any) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def optimizer_and_scheduler(name: str, steps: int = STEPS):
    torch = pytest.importorskip("torch")
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.AdamW([{"params": [first], "lr": 1e-2}, {"params": [second], "lr": 3e-4}])
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda(by_name(name), steps))


@pytest.mark.parametrize("name", NAMES)
def test_lambda_lr_scales_every_group_by_the_factor_of_its_step(name: str) -> None:
    optimizer, scheduler = optimizer_and_scheduler(name)
    for factor in factors(by_name(name), STEPS):
        assert rates(optimizer) == pytest.approx([1e-2 * factor, 3e-4 * factor], rel=1e-15)
        optimizer.step()
        scheduler.step()
    assert rates(optimizer) == pytest.approx([1e-2 * factor, 3e-4 * factor], rel=1e-15)  # beyond: the last one


def test_lambda_lr_resumes_where_it_was_saved() -> None:
    optimizer, scheduler = optimizer_and_scheduler("linear")
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    saved = pickle.loads(pickle.dumps((optimizer.state_dict(), scheduler.state_dict())))
    resumed, again = optimizer_and_scheduler("linear")
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for factor in factors(by_name("linear"), STEPS)[5:]:
        assert rates(resumed) == rates(optimizer) == pytest.approx([1e-2 * factor, 3e-4 * factor], rel=1e-15)
        for each in (optimizer, scheduler, resumed, again):
            each.step()


def test_the_lambda_is_a_plain_function() -> None:
    # LambdaLR saves the attributes of callables that are objects; of a function it saves nothing.
    assert type(lr_lambda(tenth(), 4)) is type(lambda: None)
    factor = lr_lambda(tenth(0), 4)
    assert [factor(i) for i in range(6)] == pytest.approx([1, 0.775, 0.55, 0.325, 0.325, 0.325])
    with pytest.raises(ForescaleError, match="whole number from 0"):
        factor(-1)
    with pytest.raises(ForescaleError, match="steps must be"):
        lr_lambda(tenth(), 0)


@pytest.fixture(scope="module")
def model_and_data():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    torch = pytest.importorskip("torch")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.LlamaConfig(vocab_size=16, max_position_embeddings=8, **sizes)
    rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(64)]
    return lambda: transformers.LlamaForCausalLM(config), rows


def trained(model_and_data, folder: Path, *, stop: int | None = None, resume: bool = False) -> list[float]:
    """The learning rate that a real Trainer's optimizer holds when each of its steps begins."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    make, rows = model_and_data
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda(linear_to_zero(0.25), STEPS))
    seen: list[float] = []

    class Record(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            seen.extend(rates(optimizer))

        def on_step_end(self, _args: Any, state: Any, control: Any, **__: Any) -> None:
            control.should_training_stop = control.should_training_stop or state.global_step == stop

    arguments = TrainingArguments(
        str(folder), max_steps=STEPS, use_cpu=True, report_to="none", save_strategy="steps", save_steps=5,
        per_device_train_batch_size=2, gradient_accumulation_steps=2, disable_tqdm=True, logging_strategy="no",
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, scheduler), callbacks=[Record()]
    )
    trainer.train(resume_from_checkpoint=resume)
    return seen


@pytest.mark.filterwarnings("default")  # those of other packages are theirs
def test_a_real_trainer_trains_and_resumes_at_these_rates(model_and_data, tmp_path: Path) -> None:
    expected = (1e-3 * factors(linear_to_zero(0.25), STEPS)).tolist()
    begun = trained(model_and_data, tmp_path, stop=5)
    assert begun == pytest.approx(expected[:5], rel=1e-12)
    resumed = trained(model_and_data, tmp_path, resume=True)
    assert resumed == pytest.approx(expected[5:], rel=1e-12)


class Traced:
    """An integer array as JAX shows it while tracing: only its own library may touch it, and it is no number."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __array_namespace__(self) -> Any:
        return TracedLibrary

    def __getitem__(self, index: Traced) -> Traced:
        assert isinstance(index, Traced)
        return Traced(self.values[index.values])

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a traced array has no values")

    __index__ = __int__ = __float__ = __bool__ = __array__


class TracedLibrary:
    @staticmethod
    def asarray(values: list[float]) -> Traced:
        return Traced(np.asarray(values, dtype=np.float32))  # JAX's default precision

    @staticmethod
    def clip(values: Traced, low: int, high: int) -> Traced:
        return Traced(np.clip(values.values, low, high))

    @staticmethod
    def isdtype(dtype: Any, kind: str) -> bool:
        return np.isdtype(dtype, kind)


@pytest.mark.parametrize("name", NAMES)
def test_optax_counts_of_every_kind(name: str) -> None:
    rate = optax_schedule(by_name(name), STEPS, 3e-4)
    expected = 3e-4 * factors(by_name(name), STEPS)
    counts = np.arange(STEPS)
    assert [rate(i) for i in range(STEPS)] == pytest.approx(expected.tolist(), rel=1e-15)
    assert [rate(i) for i in counts] == [rate(i) for i in range(STEPS)]  # NumPy's scalars
    assert all(isinstance(rate(i), float) for i in (0, np.int32(3)))
    np.testing.assert_allclose(rate(counts), expected, rtol=1e-15)
    np.testing.assert_allclose(rate(counts.reshape(3, 4)), expected.reshape(3, 4), rtol=1e-15)
    np.testing.assert_allclose(rate(Traced(counts.astype(np.int32))).values, expected, rtol=1e-6)
    np.testing.assert_allclose(rate(Traced(np.int32(3))).values, expected[3], rtol=1e-6)


@given(st.integers(0, 10**9))
def test_optax_counts_beyond_the_run_keep_the_last_rate(count: int) -> None:
    rate = optax_schedule(tenth(), STEPS, 1.0)
    assert rate(count) == rate(min(count, STEPS - 1))
    assert rate(np.array(count)) == rate(count)


@pytest.mark.parametrize("count", [-1, 1.5, np.float64(1), np.array([1.0, 2.0]), Traced(np.array([1.0])), None])
def test_counts_are_whole_numbers(count: Any) -> None:
    with pytest.raises(ForescaleError, match="whole number"):
        optax_schedule(tenth(), STEPS, 1.0)(count)


def test_a_peak_is_above_zero() -> None:
    with pytest.raises(ForescaleError, match="peak must be finite and above zero"):
        optax_schedule(tenth(), STEPS, 0.0)


def test_optax_takes_it() -> None:
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    rate = optax_schedule(linear_to_zero(0.25), STEPS, 0.1)
    expected = 0.1 * factors(linear_to_zero(0.25), STEPS)
    np.testing.assert_allclose(jax.jit(jax.vmap(rate))(jax.numpy.arange(STEPS)), expected, rtol=1e-6)
    sgd = optax.sgd(rate)
    state, weight, update = sgd.init(jax.numpy.zeros(())), 0.0, jax.jit(sgd.update)
    for factor in expected:
        change, state = update(jax.numpy.ones(()), state)
        weight += float(change)
        assert float(change) == pytest.approx(-factor, rel=1e-6)
