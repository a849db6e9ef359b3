"""Shapes given by hand: counts worked out on paper or published, defaults, and contradictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.workload._shape import Experts, LatentAttention, Shape

LLAMA_3_8B = Shape(layers=32, width=4096, heads=32, vocab=128256, kv_heads=8, ffn_width=14336)
SMALL = Shape(layers=2, width=8, heads=2, vocab=10, ffn_width=16)
LATENT = LatentAttention(kv_rank=3, nope_dim=4, rope_dim=2, v_dim=5, q_rank=6)


def counts(shape: Shape) -> dict[str, int]:
    return {part.name: part.params for part in shape.parts()}


def active(shape: Shape) -> dict[str, int]:
    return {part.name: part.active_params for part in shape.parts()}


def extra(**options: Any) -> dict[str, int]:
    """What `options` add to or take from the parts of the small shape."""
    plain, changed = counts(SMALL), counts(replace(SMALL, **options))
    names = plain.keys() | changed.keys()
    return {n: changed.get(n, 0) - plain.get(n, 0) for n in names if changed.get(n, 0) != plain.get(n, 0)}


def test_llama_3_8b_has_its_published_size() -> None:
    assert sum(counts(LLAMA_3_8B).values()) == 8_030_261_248
    assert [(p.name, p.vocabulary) for p in LLAMA_3_8B.parts()] == [
        ("embedding", True), ("head", True), ("attention", False), ("ffn", False), ("norms", False),
    ]  # fmt: skip


def test_small_shape_by_hand() -> None:
    assert counts(SMALL) == {"embedding": 80, "head": 80, "attention": 512, "ffn": 768, "norms": 40}
    assert active(SMALL) == counts(SMALL)


@pytest.mark.parametrize(
    ("width", "gated", "hidden"), [(4096, True, 11008), (768, True, 2048), (96, True, 256), (96, False, 384)]
)
def test_default_ffn_width(width: int, gated: bool, hidden: int) -> None:
    shape = Shape(layers=1, width=width, heads=2, vocab=9, gated=gated)
    assert shape.parts() == replace(shape, ffn_width=hidden).parts()


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"tied": True}, {"head": -80}),
        ({"positions": 7}, {"positions": 56}),
        ({"kv_heads": 1}, {"attention": -2 * 2 * 8 * 4}),
        ({"head_dim": 6}, {"attention": 2 * 4 * 8 * 4}),
        ({"qkv_bias": True}, {"attention": 2 * 24}),
        ({"o_bias": True}, {"attention": 2 * 8}),
        ({"sinks": True}, {"attention": 2 * 2}),
        ({"gated": False}, {"ffn": -2 * 8 * 16}),
        ({"ffn_bias": True}, {"ffn": 2 * (16 + 16 + 8)}),
        ({"ffn_bias": True, "gated": False}, {"ffn": 2 * (16 + 8) - 2 * 8 * 16}),
        ({"norm": "layer"}, {"norms": 40}),
        ({"norms_per_layer": 4}, {"norms": 2 * 2 * 8}),
        ({"norms_per_layer": 0}, {"norms": -2 * 2 * 8}),
        ({"qk_norm": "head"}, {"norms": 2 * 2 * 4}),
        ({"qk_norm": "full", "kv_heads": 1}, {"norms": 2 * (8 + 4), "attention": -128}),
        (
            {"experts": Experts(count=4, top_k=2, width=6)},
            {"ffn": -768, "experts": 2 * 4 * 3 * 8 * 6, "router": 2 * 4 * 8},
        ),
        (
            {"experts": Experts(count=4, top_k=2, width=6, dense_layers=1, shared_width=5, router_bias=True)},
            {"ffn": -384, "experts": 4 * 3 * 8 * 6, "shared experts": 3 * 8 * 5, "router": 4 * 9},
        ),
        (
            {"experts": Experts(count=4, top_k=2, width=6, shared_width=5, bias=True)},
            {
                "ffn": -768,
                "experts": 2 * 4 * (3 * 8 * 6 + 6 + 6 + 8),
                "shared experts": 2 * (3 * 8 * 5 + 5 + 5 + 8),
                "router": 64,
            },
        ),
        (
            {"latent": LATENT},
            {"attention": 2 * ((8 + 12) * 6 + 8 * 5 + 3 * 2 * 9 + 10 * 8) - 512, "norms": 2 * (3 + 6)},
        ),
        (
            {"latent": replace(LATENT, q_rank=None), "qkv_bias": True},
            {"attention": 2 * (8 * 12 + 8 * 5 + 3 * 2 * 9 + 10 * 8 + 5) - 512, "norms": 2 * 3},
        ),
    ],
    ids=str,
)
def test_each_option_by_hand(options: dict[str, Any], change: dict[str, int]) -> None:
    assert extra(**options) == change


def test_one_token_uses_top_k_experts_and_everything_else() -> None:
    shape = replace(SMALL, experts=Experts(count=4, top_k=3, width=6, shared_width=5))
    assert active(shape) == counts(shape) | {"experts": counts(shape)["experts"] * 3 // 4}


def test_attention_width_is_the_width_of_all_queries() -> None:
    assert LLAMA_3_8B.attention_width == 4096
    assert replace(LLAMA_3_8B, head_dim=256).attention_width == 32 * 256
    assert replace(SMALL, latent=LATENT).attention_width == 2 * (4 + 2)


def test_derived_sizes_follow_a_changed_width() -> None:
    assert counts(replace(Shape(layers=1, width=64, heads=4, vocab=9), width=128)) == counts(
        Shape(layers=1, width=128, heads=4, vocab=9)
    )


@given(
    kv=st.integers(1, 4), group=st.integers(1, 4), layers=st.integers(1, 4), width=st.integers(1, 64),
    head_dim=st.integers(1, 16), vocab=st.integers(1, 99), tied=st.booleans(), top_k=st.integers(1, 8),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_parts_are_positive_and_active_at_most_all(
    kv: int, group: int, layers: int, width: int, head_dim: int, vocab: int, tied: bool, top_k: int
) -> None:
    dense = Shape(layers=layers, width=width, heads=kv * group, kv_heads=kv, head_dim=head_dim, vocab=vocab, tied=tied)
    for shape in (dense, replace(dense, experts=Experts(count=8, top_k=top_k, width=3, dense_layers=layers - 1))):
        assert all(0 < part.active_params <= part.params for part in shape.parts())
        assert len({part.name for part in shape.parts()}) == len(shape.parts())
    assert sum(active(shape).values()) <= sum(counts(shape).values())


@pytest.mark.parametrize(
    "name", ["layers", "width", "heads", "vocab", "kv_heads", "head_dim", "ffn_width", "positions"]
)
@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True, 10**9 + 1, float("nan")], ids=repr)
def test_a_size_must_be_a_positive_whole_number(name: str, value: Any) -> None:
    with pytest.raises(ForescaleError, match=rf"^{name} must (be a whole number|lie between 1 and 1e9).*; got .*: "):
        replace(LLAMA_3_8B, **{name: value})


@pytest.mark.parametrize("name", ["layers", "width", "heads", "vocab"])
def test_required_sizes_cannot_be_none(name: str) -> None:
    with pytest.raises(ForescaleError, match=rf"^{name} must be a whole number.*got None"):
        replace(LLAMA_3_8B, **{name: None})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_heads": 5}, "heads must be a multiple of kv_heads; got heads 32 and kv_heads 5"),
        ({"kv_heads": 64}, "heads must be a multiple of kv_heads; got heads 32 and kv_heads 64"),
        ({"heads": 24}, "width must be a multiple of heads .* got width 4096 and heads 24.* give head_dim"),
        ({"norm": "batch"}, "norm must be one of 'rms', 'layer'; got 'batch'"),
        ({"qk_norm": True}, "qk_norm must be one of 'head', 'full', None; got True"),
        ({"norms_per_layer": -1}, "norms_per_layer must lie between 0 and 1e9; got -1"),
        ({"latent": LATENT}, "latent attention states its own head sizes .* leave them out"),
        (
            {"experts": Experts(count=8, top_k=2, width=5, dense_layers=32)},
            "dense_layers must be below layers; got 32 of 32 layers.* leave experts out",
        ),
    ],
    ids=str,
)
def test_contradictions_name_what_arrived(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        replace(LLAMA_3_8B, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 9}, "top_k .* must be at most count; got top_k 9 of 8 experts: lower top_k"),
        ({"count": 0}, "experts count must lie between 1 and 1e9; got 0"),
        ({"width": 1.5}, "experts width must be a whole number"),
        ({"shared_width": -1}, "experts shared_width must lie between 0"),
        ({"dense_layers": "1"}, "experts dense_layers must be a whole number, 0 or more; got '1'"),
    ],
    ids=str,
)
def test_impossible_experts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        Experts(**{"count": 8, "top_k": 2, "width": 5, **options})


@pytest.mark.parametrize("name", ["kv_rank", "nope_dim", "rope_dim", "v_dim", "q_rank"])
def test_impossible_latent_attention(name: str) -> None:
    with pytest.raises(ForescaleError, match=f"latent attention {name} must lie between 1 and 1e9; got 0"):
        replace(LATENT, **{name: 0})


def test_width_and_depth_alone_are_a_shape_that_counts_nothing() -> None:
    base = Shape(width=256, depth=4)
    assert (base.width, base.layers) == (256, 4)
    assert replace(base, layers=8).layers == 8
    for count in (base.parts, lambda: base.attention_width):
        with pytest.raises(ForescaleError, match="this shape states no heads"):
            count()
    with pytest.raises(ForescaleError, match=r"layers and depth are the same; got layers 2 and depth 4"):
        Shape(width=256, layers=2, depth=4)
    with pytest.raises(ForescaleError, match="layers must lie between 1 and 1e9; got unstated"):
        Shape(width=256)
