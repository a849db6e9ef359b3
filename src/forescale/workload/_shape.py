"""The shape of a decoder-only language model, from which its parameters are counted exactly."""

from __future__ import annotations

import reprlib
from dataclasses import InitVar, dataclass
from typing import Literal

from forescale.errors import ForescaleError
from forescale.workload._parts import Part

MAX_SIZE = 10**9


class _Unstated(int):
    """A size that nobody stated: false where a size is asked for, and told from a 0 that somebody wrote."""

    def __repr__(self) -> str:
        return "unstated"


UNSTATED = _Unstated(0)


def check_size(value: object, name: str, least: int = 1) -> int:
    """Return `value` if it is a whole number from `least` to 1e9, else raise `ForescaleError` naming `name`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ForescaleError(
            f"{name} must be a whole number, {least} or more; got {reprlib.repr(value)}: write it as a plain integer."
        )
    if not least <= value <= MAX_SIZE:
        raise ForescaleError(f"{name} must lie between {least} and 1e9; got {reprlib.repr(value)}: correct the number.")
    return value


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture-of-experts FFN with a linear router; each expert is gated (or not) as the dense FFN of the `Shape`."""

    count: int
    top_k: int  # experts that one token uses, shared ones not included
    width: int  # hidden width of one expert
    shared_width: int = 0  # hidden width of all shared experts together; every token uses them
    dense_layers: int = 0  # layers that keep the dense FFN, such as the first three of DeepSeek-V3
    bias: bool = False  # biases in every expert, shared ones included
    router_bias: bool = False  # a trained number per expert; a correction bias kept as a buffer is no parameter

    def __post_init__(self) -> None:
        for name in ("count", "top_k", "width"):
            check_size(getattr(self, name), f"experts {name}")
        for name in ("shared_width", "dense_layers"):
            check_size(getattr(self, name), f"experts {name}", least=0)
        if self.top_k > self.count:
            raise ForescaleError(
                f"experts top_k (experts per token) must be at most count; "
                f"got top_k {self.top_k} of {self.count} experts: lower top_k."
            )


@dataclass(frozen=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention: low-rank queries and keys/values with a norm each (DeepSeek-V2 2024)."""

    kv_rank: int
    nope_dim: int  # per head, the part of queries and keys without rotary positions
    rope_dim: int  # per head in queries, shared by all heads in keys
    v_dim: int  # per head
    q_rank: int | None = None  # None: full-rank queries

    def __post_init__(self) -> None:
        for name in ("kv_rank", "nope_dim", "rope_dim", "v_dim"):
            check_size(getattr(self, name), f"latent attention {name}")
        if self.q_rank is not None:
            check_size(self.q_rank, "latent attention q_rank")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder-only language model, described by what decides its parameter count; all sizes are counts.

    The defaults are a Llama-like model: multi-head attention, gated FFN, RMSNorm before attention and FFN plus a final
    one, separate output matrix, no biases. A base of a parametrization needs `width` and `depth` alone. Raises
    `ForescaleError` for sizes that are not whole, positive and at most 1e9, or that contradict one another.
    """

    layers: int = UNSTATED  # blocks; or give `depth`
    width: int
    heads: int = UNSTATED  # without it and vocab nothing is counted
    vocab: int = UNSTATED
    kv_heads: int | None = None  # None: as many as heads
    head_dim: int | None = None  # None: width / heads
    ffn_width: int | None = None  # None: 4 width; if gated, 8/3 width rounded up to a multiple of 256
    gated: bool = True  # three FFN matrices (SwiGLU, GeGLU) rather than two
    norm: Literal["rms", "layer"] = "rms"  # layer: LayerNorm, with a bias
    norms_per_layer: int = 2  # over the width; 4 where norms sit before and after (Gemma 2)
    qk_norm: Literal["head", "full"] | None = None  # over each head (Qwen3) or over all heads at once (OLMo 2)
    qkv_bias: bool = False
    o_bias: bool = False
    ffn_bias: bool = False  # of the dense FFN; `Experts` has its own
    sinks: bool = False  # a trained attention sink per head (gpt-oss)
    positions: int | None = None  # learned position embeddings; None: rotary or none
    tied: bool = False  # the output matrix is the embedding
    experts: Experts | None = None
    latent: LatentAttention | None = None  # replaces grouped-query attention
    depth: InitVar[int | None] = None  # another word for layers, when a shape is made; it is read as `layers`

    def __post_init__(self, depth: int | None) -> None:
        self._name_depth(depth)
        for name in ("layers", "width"):
            check_size(getattr(self, name), name)
        for name in ("heads", "vocab"):
            if getattr(self, name) is not UNSTATED:
                check_size(getattr(self, name), name)
        check_size(self.norms_per_layer, "norms_per_layer", least=0)
        for name in ("kv_heads", "head_dim", "ffn_width", "positions"):
            if getattr(self, name) is not None:
                check_size(getattr(self, name), name)
        self._check_choices()
        self._check_attention()
        if self.experts is not None and self.experts.dense_layers >= self.layers:
            raise ForescaleError(
                f"experts dense_layers must be below layers; got {self.experts.dense_layers} of {self.layers} layers: "
                "leave experts out of a model that is dense in every layer."
            )

    def _name_depth(self, depth: int | None) -> None:
        if depth is None:
            return
        if self.layers is not UNSTATED and self.layers != depth:
            raise ForescaleError(
                f"layers and depth are the same; got layers {self.layers} and depth {depth}: give one."
            )
        object.__setattr__(self, "layers", depth)

    def _check_choices(self) -> None:
        for name, choices in (("norm", ("rms", "layer")), ("qk_norm", ("head", "full", None))):
            if getattr(self, name) not in choices:
                raise ForescaleError(
                    f"{name} must be one of {', '.join(map(repr, choices))}; got {getattr(self, name)!r}: choose one."
                )

    def _check_attention(self) -> None:
        if self.latent is not None:
            if any(option is not None for option in (self.kv_heads, self.head_dim, self.qk_norm)):
                raise ForescaleError(
                    "latent attention states its own head sizes and norms; got kv_heads, head_dim or qk_norm as well: "
                    "leave them out."
                )
        elif self.head_dim is None and self.heads and self.width % self.heads:
            raise ForescaleError(
                f"width must be a multiple of heads where head_dim is not given; got width {self.width} and heads "
                f"{self.heads}: change one of them or give head_dim."
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ForescaleError(
                f"heads must be a multiple of kv_heads; got heads {self.heads} and kv_heads {self.kv_heads}: "
                "change one of them."
            )

    @property
    def params(self) -> int:
        """Non-vocabulary parameters, those of all experts included."""
        return sum(part.params for part in self.parts() if not part.vocabulary)

    @property
    def active_params(self) -> int:
        """Non-vocabulary parameters that one token uses."""
        return sum(part.active_params for part in self.parts() if not part.vocabulary)

    @property
    def attention_width(self) -> int:
        """Query heads times the size of one query head: the T² FLOPs of attention grow with it."""
        self._check_stated("heads")
        if self.latent is not None:
            return self.heads * (self.latent.nope_dim + self.latent.rope_dim)
        return self.heads * (self.head_dim or self.width // self.heads)

    def parts(self) -> tuple[Part, ...]:
        """Exact parameter counts by component, in the order of the forward pass; components without any are left out.

        A tied output matrix is counted once, in the embedding. `norms` holds every norm, also those on queries, keys
        and latent vectors.
        """
        self._check_stated("heads", "vocab")
        sparse, dense = self._layers_by_ffn()
        matrix = self.vocab * self.width
        parts = (
            _part("embedding", matrix, vocabulary=True),
            _part("positions", (self.positions or 0) * self.width, vocabulary=True),
            _part("head", 0 if self.tied else matrix, vocabulary=True),
            _part("attention", self.layers * self._attention()),
            _part("ffn", dense * self._ffn(self._ffn_width(), self.ffn_bias)),
            *(self._expert_parts(self.experts, sparse) if self.experts else ()),
            _part("norms", self._norms()),
        )
        return tuple(part for part in parts if part.params)

    def _check_stated(self, *names: str) -> None:
        if missing := [name for name in names if getattr(self, name) is UNSTATED]:
            raise ForescaleError(
                f"parameters are counted from layers, width, heads and vocab; this shape states no "
                f"{' and no '.join(missing)}: give it."
            )

    def _layers_by_ffn(self) -> tuple[int, int]:
        dense = self.experts.dense_layers if self.experts else self.layers
        return self.layers - dense, dense

    def _attention(self) -> int:
        if self.latent is not None:
            return self._latent_attention(self.latent)
        qkv = self.attention_width + 2 * self._kv_width()
        weights = self.width * qkv + self.attention_width * self.width
        return weights + self._attention_extras(qkv)

    def _kv_width(self) -> int:
        return self.attention_width // self.heads * (self.kv_heads or self.heads)

    def _latent_attention(self, latent: LatentAttention) -> int:
        down = latent.kv_rank + latent.rope_dim
        keys_values = self.width * down + latent.kv_rank * self.heads * (latent.nope_dim + latent.v_dim)
        output = self.heads * latent.v_dim * self.width
        if latent.q_rank is None:
            return self.width * self.attention_width + keys_values + output + self._attention_extras(down)
        queries = (self.width + self.attention_width) * latent.q_rank
        # Only what reads the residual stream has a bias: the up-projections and full-rank queries have none.
        return queries + keys_values + output + self._attention_extras(down + latent.q_rank)

    def _attention_extras(self, qkv: int) -> int:
        return self.qkv_bias * qkv + self.o_bias * self.width + self.sinks * self.heads

    def _ffn_width(self) -> int:
        if self.ffn_width is not None:
            return self.ffn_width
        return -(-8 * self.width // (3 * 256)) * 256 if self.gated else 4 * self.width

    def _ffn(self, hidden: int, bias: bool) -> int:
        inputs = 2 if self.gated else 1
        return (inputs + 1) * self.width * hidden + bias * (inputs * hidden + self.width)

    def _expert_parts(self, experts: Experts, layers: int) -> tuple[Part, ...]:
        one = layers * self._ffn(experts.width, experts.bias)
        shared = layers * self._ffn(experts.shared_width, experts.bias) if experts.shared_width else 0
        return (
            _part("experts", experts.count * one, active=experts.top_k * one),
            _part("shared experts", shared),
            _part("router", layers * experts.count * (self.width + experts.router_bias)),
        )

    def _norms(self) -> int:
        per_layer = self.norms_per_layer * self.width + self._attention_norms()
        return (self.layers * per_layer + self.width) * (2 if self.norm == "layer" else 1)

    def _attention_norms(self) -> int:
        if self.latent is not None:
            return self.latent.kv_rank + (self.latent.q_rank or 0)
        if self.qk_norm == "full":
            return self.attention_width + self._kv_width()
        return 2 * self.attention_width // self.heads if self.qk_norm == "head" else 0


def _part(name: str, params: int, *, active: int | None = None, vocabulary: bool = False) -> Part:
    return Part(name=name, params=params, active_params=params if active is None else active, vocabulary=vocabulary)
