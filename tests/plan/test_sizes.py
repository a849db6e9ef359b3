"""From numbers, a shape, a config or a budget to a workload."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.laws import law
from forescale.plan import Sizes, allocate
from forescale.workload import Shape

LLAMA = Path(__file__).resolve().parents[2] / "examples" / "llama-3-8b" / "config.json"


@given(st.floats(1e18, 1e26))
def test_allocation_equals_chinchillas_closed_form(compute: float) -> None:
    # Hoffmann et al. 2022, Eq. 4: N = G (C/6)^(b/(a+b)), G = (aA / bB)^(1/(a+b)).
    c = law("epoch").formula("loss").constants
    a, b = c["alpha"], c["beta"]
    best = (a * c["A"] / (b * c["B"])) ** (1 / (a + b)) * (compute / 6) ** (b / (a + b))
    params, tokens = allocate(compute, law("epoch"))
    assert params == pytest.approx(best, rel=1e-5)
    assert 6 * params * tokens == pytest.approx(compute, rel=1e-9)


def test_a_law_without_an_optimum_says_so() -> None:
    with pytest.raises(ForescaleError, match="no compute-optimal split"):
        allocate(1e21, law("cerebras-gpt"))


def test_llama_3_8b_config() -> None:
    made = Sizes(config=LLAMA, tokens_per_param=20).workload()
    assert made.total_params == 8_030_261_248  # Meta's released checkpoint
    assert made.params == 8_030_261_248 - 2 * 128_256 * 4096
    assert made.seq_len == 8192
    assert made.tokens == 20 * made.params


def test_numbers_shape_and_config_agree() -> None:
    shape = Shape(layers=32, width=4096, heads=32, vocab=128_256, kv_heads=8, ffn_width=14_336)
    by_shape = Sizes(shape=shape, tokens=1e12, seq_len=8192).workload()
    by_config = Sizes(config=LLAMA, tokens=1e12).workload()
    assert by_shape.params == by_config.params
    assert by_shape.flops_per_token_attention == by_config.flops_per_token_attention
    # DeepSeek 2024: M = 72 L d^2 + 12 L d T for standard shapes; here 6 N + 12 L d T.
    assert by_shape.flops_per_token_attention == 6 * by_shape.params + 12 * 32 * 4096 * 8192


@given(st.floats(1e19, 1e25), st.floats(1, 500))
def test_compute_with_a_ratio_or_tokens_settles_both(compute: float, ratio: float) -> None:
    first = Sizes(compute=compute, tokens_per_param=ratio).workload()
    assert first.compute == pytest.approx(compute, rel=1e-9)
    second = Sizes(compute=compute, tokens=first.tokens).workload()
    assert second.params == pytest.approx(first.params, rel=1e-9)


def test_compute_with_a_model_gives_the_tokens() -> None:
    assert Sizes(params=7e9, compute=6 * 7e9 * 1e12).workload().tokens == pytest.approx(1e12)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({}, "the model is missing"),
        ({"tokens": 1e12}, "the model is missing"),
        ({"params": 7e9}, "the length of the run is missing"),
        ({"params": 7e9, "tokens": 1e12, "tokens_per_param": 20.0}, "each fix the tokens"),
        ({"params": 7e9, "tokens": 1e12, "compute": 1e22}, "each fix the tokens"),
        ({"params": 7e9, "config": LLAMA, "tokens": 1e12}, "each describe the model"),
        ({"config": LLAMA, "active_params": 1e9, "tokens": 1e12}, "belongs to --params"),
        ({"params": 7e9, "active_params": 8e9, "tokens": 1e12}, "active_params must lie"),
        ({"params": 7e9, "tokens": 100.0}, "at least one sequence"),
        ({"params": 7e16, "tokens": 1e12}, "params must be at most"),
        ({"params": 7e9, "tokens": 1e30}, "tokens must be at most"),
        ({"params": math.nan, "tokens": 1e12}, "finite and above zero"),
        ({"params": -1.0, "tokens": 1e12}, "finite and above zero"),
        ({"params": 0.5, "tokens": 1e12}, "at least 1"),
        ({"params": 7e9, "tokens": 1e12, "seq_len": 10**9}, "seq_len must be at most"),
        ({"params": 7e9, "tokens": 1e12, "sparsity": 1.0}, "share of weights"),
        ({"compute": 1e22, "tokens": 1e12, "tokens_per_param": 20.0}, "fix the model twice"),
    ],
)
def test_contradictions_and_nonsense(sizes: dict, message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        Sizes(**sizes).workload()
