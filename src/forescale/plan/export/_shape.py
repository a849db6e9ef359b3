"""The model of a plan's workload: its sizes for the targets that have keys for them, and what a target leaves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from forescale.plan.export._render import Item
from forescale.plan.export._values import Note, Numbers, loss, remark
from forescale.workload import Experts, LatentAttention, Shape

WHERE = "workload shape"  # the comment of everything that comes from it

# What the models of many targets are without a key that says so, named by the fields of `Shape`.
PLAIN: Mapping[str, object] = {
    "gated": True,
    "norm": "rms",
    "norms_per_layer": 2,
    "qk_norm": None,
    "qkv_bias": False,
    "o_bias": False,
    "ffn_bias": False,
    "sinks": False,
    "positions": None,
    "experts": None,
    "latent": None,
}

_PARTS = ("qk_norm", "qkv_bias", "o_bias", "ffn_bias", "sinks", "positions", "experts", "latent")  # absent or there


def dense(n: Numbers) -> Shape | None:
    """The workload's shape, if it has one that sizes and flags describe: no experts, no latent attention."""
    shape = n.workload.shape
    return None if shape is None or shape.experts is not None or shape.latent is not None else shape


def sizes(shape: Shape, names: Mapping[str, str]) -> dict[str, Item]:
    """Target key -> size; `names` maps a property of the shape (layers, width, ...) to the target's key for it."""
    known = properties(shape)
    found: dict[str, Item] = {}
    for name, key in names.items():
        value = known[name]
        assert isinstance(value, int), (name, value)  # bool too
        found[key] = Item(value, WHERE)
    return found


def properties(shape: Shape) -> dict[str, object]:
    """Every property that the shape has, by its field's name, with the defaults worked out."""
    known: dict[str, object] = {
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "vocab": shape.vocab,
        "tied": shape.tied,
        **{name: getattr(shape, name) for name in PLAIN},
    }
    if shape.latent is None:
        known |= {"kv_heads": shape.kv_heads or shape.heads, "head_dim": shape.attention_width // shape.heads}
    if (width := _ffn_width(shape)) is not None:
        known["ffn_width"] = width
    return known


def model_notes(n: Numbers, carried: Collection[str], fixed: Mapping[str, object], where: str) -> tuple[Note, ...]:
    """A loss that names each property of the plan's model that is neither `carried` nor the target's own (`fixed`).

    A part that the plan's model lacks (biases, experts) counts where the target's own model has it.
    """
    shape = n.workload.shape
    if shape is None:
        return ()
    missing = [
        _words(name, value)
        for name, value in properties(shape).items()
        if name not in carried and (fixed[name] != value if name in fixed else name not in _PARTS or bool(value))
    ]
    unsaid = remark(
        "a shape says nothing of the activation, the place of the norms, rotary settings, soft-capping or windows: "
        "these are the target's or yours."
    )
    if not missing:
        return (unsaid,)
    what = "carried in part; missing are" if carried else "not carried:"
    return (loss(f"the model is {what} {', '.join(missing)}; {where}."), unsaid)


def _ffn_width(shape: Shape) -> int | None:
    layers = shape.layers if shape.experts is None else shape.experts.dense_layers
    if not layers:
        return None
    if shape.ffn_width is not None:
        return shape.ffn_width
    # The default width is the shape's own business; its exact parameter count gives it back.
    layer = next(p.params for p in shape.parts() if p.name == "ffn") // layers
    inputs = 2 if shape.gated else 1
    bias = int(shape.ffn_bias)
    return int(layer - bias * shape.width) // ((inputs + 1) * shape.width + bias * inputs)


_SIZES = {
    "layers": "{} layers",
    "width": "width {}",
    "heads": "{} heads",
    "vocab": "a vocabulary of {}",
    "kv_heads": "{} key-value heads",
    "head_dim": "heads of size {}",
    "ffn_width": "FFN width {}",
    "norms_per_layer": "{} norms a layer",
}
_CHOICES: Mapping[tuple[str, object], str] = {
    ("tied", True): "an output matrix tied to the embedding",
    ("tied", False): "a separate output matrix",
    ("gated", True): "a gated FFN",
    ("gated", False): "an FFN without a gate",
    ("norm", "rms"): "RMSNorm",
    ("norm", "layer"): "LayerNorm",
    ("qk_norm", "head"): "norms of queries and keys over each head",
    ("qk_norm", "full"): "norms of queries and keys over all heads at once",
}
_NAMES = {
    "qk_norm": "norms of queries and keys",
    "qkv_bias": "biases of queries, keys and values",
    "o_bias": "a bias of the attention output",
    "ffn_bias": "biases of the FFN",
    "sinks": "attention sinks",
    "positions": "learned positions",
    "experts": "experts",
    "latent": "latent attention",
}


def _words(name: str, value: object) -> str:
    if name in _SIZES:
        return _SIZES[name].format(value)
    if (name, value) in _CHOICES:
        return _CHOICES[name, value]
    if value is None or value is False:
        return f"no {_NAMES[name].removeprefix('a ')}"
    if isinstance(value, Experts):
        return _experts(value)
    if isinstance(value, LatentAttention):
        query = "full-rank queries" if value.q_rank is None else f"query rank {value.q_rank}"
        heads = f"per head {value.nope_dim} without and {value.rope_dim} with rotary positions, values {value.v_dim}"
        return f"latent attention (key-value rank {value.kv_rank}, {query}, {heads})"
    return _NAMES[name] if value is True else f"{value} {_NAMES[name]}"


def _experts(e: Experts) -> str:
    more = (
        (e.shared_width, f"shared experts of width {e.shared_width} together"),
        (e.dense_layers, f"{e.dense_layers} layers without experts"),
        (e.bias, "biases in experts"),
        (e.router_bias, "router biases"),
    )
    extra = "".join(f", {text}" for there, text in more if there)
    return f"{e.count} experts of width {e.width} with {e.top_k} a token{extra}"
