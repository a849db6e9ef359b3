"""The planner of shapes: how near it comes, its proportions, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.train import shape_for
from forescale.workload import Shape


def count(shape: Shape) -> int:
    return sum(part.params for part in shape.parts() if not part.vocabulary)


def plan(params: float, **options: Any) -> Shape:
    sizes: dict[str, Any] = {"vocab": 256, "seq_len": 128}
    return shape_for(params, **(sizes | options))


SIZES = st.floats(4, 11).map(lambda exponent: 10**exponent)


@given(params=SIZES, gated=st.booleans(), bias=st.booleans(), norm=st.sampled_from(["rms", "layer"]))
@settings(max_examples=150, deadline=None)
def test_any_size_is_met_within_five_per_cent(params: float, gated: bool, bias: bool, norm: Any) -> None:
    shape = plan(params, gated=gated, bias=bias, norm=norm)
    assert count(shape) == pytest.approx(params, rel=0.05 if params > 3e4 else 0.1)
    assert shape.width // shape.heads in (16, 32, 64, 128)
    assert shape.width % shape.heads == 0
    assert shape.ffn_width is not None
    assert 1 <= shape.ffn_width / shape.width <= 9


@given(params=SIZES.filter(lambda n: n > 1e6), count_=st.sampled_from([4, 8, 64]), shared=st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_experts_are_counted_and_share_the_width_of_a_dense_ffn(params: float, count_: int, shared: int) -> None:
    shape = plan(params, experts=count_, top_k=2, shared_experts=shared)
    assert count(shape) == pytest.approx(params, rel=0.1)  # what `shape_for` promises
    assert shape.experts is not None
    assert shape.experts.width * (2 + shared) == shape.ffn_width
    assert shape.experts.shared_width == shared * shape.experts.width


# CompleteP (arXiv 2505.01618): the best width over depth is about 40, 50 and 62 at these sizes.
@pytest.mark.parametrize(("params", "ratio"), [(50e6, 40), (300e6, 50), (1.5e9, 62)])
def test_proportions_follow_completep(params: float, ratio: float) -> None:
    shape = plan(params)
    assert shape.width / shape.layers == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize(
    ("params", "head_dim", "multiple"), [(2e4, 16, 8), (5e5, 32, 16), (2e7, 64, 64), (2e9, 128, 256)]
)
def test_heads_and_the_ffn_grow_in_steps(params: float, head_dim: int, multiple: int) -> None:
    shape = plan(params)
    assert shape.width // shape.heads == head_dim
    assert shape.ffn_width is not None
    assert shape.ffn_width % multiple == 0


@pytest.mark.parametrize(
    "given",
    [{"depth": 4}, {"width": 256}, {"depth": 4, "width": 256}, {"heads": 4}, {"heads": 6, "width": 384}, {"depth": 20}],
    ids=str,
)
def test_what_is_given_stays(given: dict[str, int]) -> None:
    shape = plan(1e7, **given)
    names = {"depth": "layers", "width": "width", "heads": "heads"}
    assert {name: getattr(shape, names[name]) for name in given} == given
    assert count(shape) == pytest.approx(1e7, rel=0.1)


def test_options_reach_the_shape() -> None:
    shape = plan(1e7, kv_heads=2, position="learned", qk_norm="head", tied=True, bias=True, norm="layer", gated=False)
    assert (shape.kv_heads, shape.positions, shape.qk_norm, shape.tied) == (2, 128, "head", True)
    assert (shape.qkv_bias, shape.o_bias, shape.ffn_bias, shape.norm, shape.gated) == (True, True, True, "layer", False)
    assert shape.heads % 2 == 0
    assert count(shape) == pytest.approx(1e7, rel=0.05)


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        (
            1e7,
            {"depth": 100},
            r"with depth 100 is out of reach within 10%; the nearest has 16.*M: change params or depth",
        ),
        (1e7, {"depth": 4, "width": 2048}, "with depth 4, width 2048 is out of reach"),
        (1e7, {"width": 255}, "no width is a whole number of heads"),
        (7, {}, r"params must lie between 10000 and 1e\+12 .* got 7: "),
        (1e14, {}, "params must lie between"),
        (float("nan"), {}, "params must be"),
        (1e7, {"depth": 0}, "depth must lie between 1 and 1e9; got 0"),
        (1e7, {"width": 250, "heads": 4}, "width must be a multiple of heads"),
        (1e7, {"experts": 2, "top_k": 3}, "top_k .* must be at most count"),
        (1e7, {"vocab": 0}, "vocab must lie between 1 and 1e9; got 0"),
    ],
    ids=str,
)
def test_the_impossible_is_refused(params: float, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        plan(params, **options)
