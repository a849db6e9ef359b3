"""A workload in a law's own terms: which N, which C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.laws._law import Law

if TYPE_CHECKING:
    from forescale.workload import Workload


def variables(workload: Workload, law: Law) -> dict[str, Any]:
    """The variables a law may need, with `params` and `compute` counted as the law counts them (see `params_means`)."""
    params = _params(workload, law.params_means)
    per_token = workload.flops_per_token
    if law.compute_means == "6ND and attention" and workload.flops_per_token_attention is not None:
        per_token = workload.flops_per_token_attention
    elif law.params_means != "active non-vocabulary" and not workload.is_moe:
        per_token = 6 * params
    return {
        "params": params,
        "active_params": workload.active,
        "active_share": workload.active / workload.params,
        "nonzero_params": workload.params * (1 - workload.sparsity),
        "sparsity": workload.sparsity,
        "tokens": workload.tokens,
        "unique_tokens": workload.unique_tokens or workload.tokens,
        "tokens_per_param": workload.tokens_per_param if workload.is_moe else workload.tokens / params,
        "flops_per_token": per_token,
        "compute": per_token * workload.tokens,
        "seq_len": workload.seq_len,
        "width": None if workload.shape is None else workload.shape.width,
    }


def _params(workload: Workload, means: str) -> float:
    if means == "active non-vocabulary":
        return workload.active
    if means == "non-vocabulary and head":
        return workload.params + (workload.head_params or 0)
    if means == "all":
        return workload.total_params or workload.params
    return workload.params
