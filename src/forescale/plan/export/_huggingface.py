"""Hugging Face `TrainingArguments` 5.23.0: a Python file with the arguments as data and a function to build them.

`linear` always ends at 0, so a linear decay to another ratio becomes `polynomial` with power 1, and a cosine to a ratio
becomes `cosine_with_min_lr`. `warmup_ratio` no longer exists: `warmup_steps` is written.
Checked: 5.23.0 really instantiated; optimizer groups and scheduler as `Trainer` builds them, step by step.
"""

from __future__ import annotations

from forescale.plan.export._hf_model import model_config, model_remarks, model_type
from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, python_entries
from forescale.plan.export._values import Draft, Numbers, remark


def draft(n: Numbers) -> Draft:
    """`ARGUMENTS`, `training_arguments(output_dir, **overrides)`, `SEQ_LEN`, `MODEL_CONFIG`; `model_config()` of a shape."""
    lines = [
        "from __future__ import annotations",
        "",
        "from typing import TYPE_CHECKING, Any",
        "",
        "if TYPE_CHECKING:",
        "    from transformers import PreTrainedConfig, TrainingArguments",
        "",
        "ARGUMENTS: dict[str, Any] = {",
        *python_entries(_arguments(n)),
        "}",
        "",
        f"SEQ_LEN = {n.seq_len.value}  # tokens: TrainingArguments has no such key, pack your data to it",
        "",
        *_model(n),
        "",
        "",
        "def training_arguments(output_dir: str, **overrides: Any) -> TrainingArguments:",
        '    """The plan, with anything else a run needs (precision, logging, saving) as overrides."""',
        "    from transformers import TrainingArguments",
        "",
        "    return TrainingArguments(output_dir=output_dir, **(ARGUMENTS | overrides))",
    ]
    notes = (
        *late_warmup(n, "Hugging Face"),
        remark("Trainer exempts biases and norms from weight decay."),
        remark(f"sequences must be packed to {n.seq_len.value} tokens: TrainingArguments has no sequence length."),
        *model_remarks(n),
        model_is_yours(n, "model_config() or a config of your own that gets MODEL_CONFIG" if model_type(n) else _OWN),
        ranks(n),
    )
    return Draft(filename="forescale_huggingface.py", lines=lines, notes=notes)


def _arguments(n: Numbers) -> dict[str, Item]:
    name, kwargs = _scheduler(n)
    return {
        "learning_rate": n.lr,
        "lr_scheduler_type": Item(name),
        "lr_scheduler_kwargs": Item(kwargs, n.min_ratio.comment),
        "warmup_steps": n.warmup,
        "max_steps": n.steps,
        "optim": Item("adamw_torch_fused"),
        "weight_decay": n.weight_decay,
        "adam_beta1": n.beta1,
        "adam_beta2": n.beta2,
        "adam_epsilon": n.epsilon,
        "max_grad_norm": n.clip,
        "per_device_train_batch_size": n.micro_sequences,
        "gradient_accumulation_steps": n.accumulation,
    }


def _scheduler(n: Numbers) -> tuple[str, dict[str, float]]:
    assert isinstance(n.min_ratio.value, float)
    assert isinstance(n.min_lr.value, float)
    if not n.min_ratio.value:
        return n.schedule, {}
    if n.schedule == "cosine":
        return "cosine_with_min_lr", {"min_lr_rate": n.min_ratio.value}
    return "polynomial", {"lr_end": n.min_lr.value, "power": 1.0}


_OWN = "a model config and give it MODEL_CONFIG"


def _model(n: Numbers) -> list[str]:
    lines = [
        "MODEL_CONFIG: dict[str, Any] = {  # YOUR MODEL: pass these to the config class of your model",
        *python_entries(model_config(n)),
        "}",
    ]
    if (name := model_type(n)) is None:
        return lines
    return [
        *lines,
        f'MODEL_TYPE = "{name}"  # workload shape: a transformers architecture with these parameters',
        "",
        "",
        "def model_config(**overrides: Any) -> PreTrainedConfig:",
        '    """The plan\'s model, with anything else (rotary base, token ids) as overrides."""',
        "    from transformers import AutoConfig",
        "",
        "    return AutoConfig.for_model(MODEL_TYPE, **(MODEL_CONFIG | overrides))",
    ]
