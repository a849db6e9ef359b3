"""What Megatron-LM and Megatron-Bridge, which share their model, make of a plan's model."""

from __future__ import annotations

from forescale.plan.export._notes import init_in_part
from forescale.plan.export._shape import PLAIN, dense, model_notes
from forescale.plan.export._values import Note, Numbers, remark

_CARRIED = frozenset(
    {"layers", "width", "heads", "kv_heads", "head_dim", "ffn_width", "vocab", "tied"}
    | {"gated", "norm", "positions", "sinks", "qkv_bias"}
)


def megatron_notes(n: Numbers, std: str, where: str) -> tuple[Note, ...]:
    """Notes on weight decay, initialization (`std` is the target's key for it) and the model."""
    return (
        remark("biases and one-dimensional parameters (norms) are exempt from weight decay in Megatron."),
        init_in_part(
            n, f"Megatron divides {std} by sqrt(2 * layers) for the two output projections (attention, FFN) of each layer"
        ),
        *_model(n, where),
    )


def _model(n: Numbers, where: str) -> tuple[Note, ...]:
    shape = dense(n)
    if shape is None:
        return model_notes(n, (), {}, f"{where} (mixtures of experts and latent attention need more than sizes)")
    # Linear biases come together; those of queries, keys and values can also come alone.
    biases = shape.o_bias and shape.ffn_bias
    fixed = {**PLAIN, "qk_norm": "head" if shape.qk_norm == "head" else None, "o_bias": biases, "ffn_bias": biases}
    carried = _CARRIED - ({"qkv_bias"} if biases else set())
    return model_notes(n, carried, fixed | {"qkv_bias": biases}, where)
