"""nanochat's scripts/base_train.py (read at 92d63d4, 2026-07-03), as a shell command.

nanochat trains its matrices with Muon, not AdamW, so the plan's learning rate and weight decay do not apply to them: an
AdamW learning rate given to Muon would hardly train. The export feeds nanochat its own reference values and leaves its
rescaling on (learning rates by sqrt(batch / 2^19), weight decay by that and the depth), and says so in the file.
Batch, steps, warmup and a linear decay to the final ratio arrive exactly.
Checked: its own argument parser and learning rate function at that commit, step by step.
"""

from __future__ import annotations

import math

from forescale.plan.export._notes import init_not_carried, ranks
from forescale.plan.export._render import Item, shell_array
from forescale.plan.export._shape import model_notes
from forescale.plan.export._values import Draft, Note, Numbers, loss, remark, whole

REFERENCE_BATCH = 2**19  # tokens; B_REF in base_train.py
REFERENCE = {  # the defaults of base_train.py, tuned by its author at depth 12 and REFERENCE_BATCH
    "matrix-lr": 0.02,
    "embedding-lr": 0.3,
    "unembedding-lr": 0.008,
    "scalar-lr": 0.5,
    "weight-decay": 0.28,
}


def draft(n: Numbers) -> Draft:
    """A script that runs one node; the depth is asked for, since nanochat's models have no other size."""
    lines = [
        "set -euo pipefail",
        "",
        *shell_array("FORESCALE_ARGS", _flags(n), "="),
        "",
        "# YOUR MODEL: nanochat's only size is its depth: DEPTH=12 bash <this file>.",
        f"torchrun --standalone --nproc_per_node={n.devices} -m scripts.base_train -- "
        '--depth="${DEPTH:?set DEPTH, the layers of the model}" "${FORESCALE_ARGS[@]}"',
    ]
    return Draft(filename="forescale_nanochat.sh", lines=lines, notes=_notes(n))


def _flags(n: Numbers) -> dict[str, Item]:
    ratio = n.decay_steps / whole(n.steps.value)
    return {
        "total-batch-size": n.batch_tokens,
        "device-batch-size": n.micro_sequences,
        "max-seq-len": n.seq_len,
        "num-iterations": n.steps,
        "warmup-steps": n.warmup,
        "warmdown-ratio": Item(ratio, "(steps - warmup_steps) / steps: no stable phase"),
        "final-lr-frac": n.min_ratio,
        **{flag: Item(value, "nanochat's reference value, which it rescales") for flag, value in REFERENCE.items()},
    }


def _notes(n: Numbers) -> tuple[Note, ...]:
    scale = math.sqrt(whole(n.batch_tokens.value) / REFERENCE_BATCH)
    return (
        *((loss("the cosine decay becomes linear: nanochat has no other."),) if n.schedule != "linear" else ()),
        loss(
            f"learning_rate {n.lr.value} is not carried: nanochat trains its matrices with Muon, for which an AdamW "
            f"learning rate means nothing. The file feeds nanochat's reference learning rates and leaves its scaling "
            f"on: it multiplies each by sqrt(batch / 2^19) = {scale!r} (matrices: {REFERENCE['matrix-lr'] * scale!r}); "
            "to land on another value, divide it by that factor."
        ),
        loss(
            f"weight_decay {n.weight_decay.value} is not carried: the file feeds nanochat's reference for Muon, which "
            f"it multiplies by the same {scale!r} and by the parameters of its depth-12 model over those of yours (not "
            "by this plan's steps), and then decays to 0 along a cosine."
        ),
        loss(
            f"betas {n.betas.value}, epsilon {n.epsilon.value} are not carried: nanochat fixes them in nanochat/gpt.py."
        ),
        loss(f"grad_clip {n.clip.value} is not carried: nanochat does not clip gradients."),
        init_not_carried(n, "nanochat fixes the initialization in nanochat/gpt.py"),
        *_model(n),
        remark("--target-param-data-ratio is overridden by --num-iterations for the length of the run."),
        ranks(n),
    )


def _model(n: Numbers) -> tuple[Note, ...]:
    if n.workload.shape is not None:
        return model_notes(n, (), {}, "nanochat's own model has no other size than its depth")
    return (
        loss(
            "the model is not carried: nanochat's own has no other size than its depth, and the plan was made for "
            f"{n.workload.params:g} parameters."
        ),
    )
