"""torchtitan 0.3.0 and `main`, as Python: its TOML configs are gone and its command line flags are being removed.

0.3.0 counts the batch in sequences, `main` (read at b5bcd76c6, 2026-08-21) in tokens. Its scheduler is step for step
ours: the decay begins after one step at the peak, and the end would be reached by a virtual extra step.
Checked: 0.3.0 and `main` at that commit really instantiated: configs, optimizer groups, scheduler step by step.
"""

from __future__ import annotations

from forescale.plan.export._notes import decays_vectors, init_not_carried, model_is_yours, ranks
from forescale.plan.export._render import Item, python_kwargs
from forescale.plan.export._shape import model_notes
from forescale.plan.export._values import Draft, Note, Numbers


def draft_030(n: Numbers) -> Draft:
    """0.3.0: the global batch in sequences."""
    batch = {
        "global_batch_size": n.sequences,
        "local_batch_size": n.micro_sequences,
        "seq_len": n.seq_len,
    }
    return _draft(n, "forescale_torchtitan.py", batch)


def draft_main(n: Numbers) -> Draft:
    """The development branch: the global batch in tokens."""
    batch = {
        "num_tokens_per_train_step": n.batch_tokens,
        "num_tokens_per_microbatch_per_dp_rank": n.micro_tokens,
        "max_context_length": n.seq_len,
    }
    return _draft(n, "forescale_torchtitan_main.py", batch)


def _draft(n: Numbers, filename: str, batch: dict[str, Item]) -> Draft:
    optimizer = {"lr": n.lr, "betas": n.betas, "eps": n.epsilon, "weight_decay": n.weight_decay}
    scheduler = {
        "warmup_steps": n.warmup,
        "total_steps": n.steps,
        "decay_ratio": Item(None, "the decay begins right after the warmup"),
        "decay_type": Item(n.schedule),
        "min_lr_factor": n.min_ratio,
    }
    lines = [
        "from dataclasses import replace",
        "",
        "from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw",
        "from torchtitan.trainer import Trainer",
        "",
        "",
        "def apply(config: Trainer.Config) -> Trainer.Config:",
        '    """Put the plan into a full configuration: model, data and tokenizer stay as they are."""',
        "    config.optimizer = default_adamw(",
        *python_kwargs(optimizer, 8),
        "    )",
        "    config.lr_scheduler = LRSchedulersContainer.Config(",
        *python_kwargs(scheduler, 8),
        "    )",
        "    config.training = replace(",
        "        config.training,",
        *python_kwargs(batch | {"steps": n.steps, "max_norm": n.clip}, 8),
        "    )",
        "    return config",
        "",
        "",
        "# YOUR MODEL: write a function without arguments that returns apply(...) of a full configuration of a model,",
        "# and select it with --module (this file's import name) and --config (the function's name).",
    ]
    return Draft(filename=filename, lines=lines, notes=(*_notes(n), ranks(n)))


def _notes(n: Numbers) -> tuple[Note, ...]:
    init = (
        "param_init functions in the model's config set it; torchtitan's own models use 0.02, less for projections that "
        "are scaled with depth, width^-0.5 for the output and 1.0 for most embeddings"
    )
    return (
        init_not_carried(n, init),
        *model_notes(n, (), {}, "the configuration that apply() is given decides on it"),
        decays_vectors(),
        model_is_yours(n, "the configuration that apply() is given"),
    )
