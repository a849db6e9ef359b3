"""What the trainers that are no packages make of an exported file; imported by check_exports.py.

Single classes and functions are taken from a checkout and run, since importing the whole would need GPUs or distributed
back ends.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import enum
import functools
import importlib.util
import logging
import math
import shlex
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from export_fixtures import WEIGHT_DECAY, llama_shape, load_python, shell_flags

from export_common import ACCUMULATION, DEVICES, SEQ_LEN, SEQUENCES, STEPS, Run, groups, torch_rates
from forescale.plan.export import Export


def megatron_lm(exported: Export, checkout: Path | None) -> Run:
    assert checkout is not None
    flags = shell_flags(exported.text)
    text = "\n".join(p.read_text() for p in sorted((checkout / "megatron").rglob("*.py")))
    decay = float(flags["weight-decay"])
    optim, run = _megatron_scheduler(
        checkout,
        batch=int(flags["global-batch-size"]),
        warmup=int(flags["lr-warmup-iters"]),
        decay=int(flags["lr-decay-iters"]),
        init_lr=float(flags["lr-warmup-init"]),
        max_lr=float(flags["lr"]),
        min_lr=float(flags["min-lr"]),
        lr_decay_style=flags["lr-decay-style"],
        start_wd=decay,
        end_wd=decay,
        wd_incr_style=flags["weight-decay-incr-style"],
    )
    known: dict[str, tuple[Any, Any]] = {f"--{name}": (_is_flag(text, name), True) for name in flags}
    return Run(
        values=known | {"weight decay in the optimizer": (optim["weight_decay"], WEIGHT_DECAY)}, learning_rates=run
    )


# Fields that Bridge's GPTModelProvider (src/megatron/bridge/models/gpt_provider.py at 067f987df) adds to Megatron-LM's.
GPT_PROVIDER = {"seq_length", "vocab_size", "share_embeddings_and_output_weights", "position_embedding_type"}


def megatron_bridge(exported: Export, checkout: Path | None) -> Run:
    """The checkout is Megatron-LM's, whose classes those of Bridge extend."""
    assert checkout is not None
    names = ("optimizer", "scheduler", "train", "model", "dataset")
    config = SimpleNamespace(**{name: SimpleNamespace() for name in names})
    load_python(exported.text).apply(config)
    training = checkout / "megatron/training/config/training_config.py"
    known = {
        "optimizer": _fields(checkout / "megatron/core/optimizer/optimizer_config.py", "OptimizerConfig"),
        "scheduler": _fields(training, "SchedulerConfig") | {"max_steps"},  # Bridge's own
        "train": _fields(training, "TrainingConfig"),
        "model": _fields(checkout / "megatron/core/transformer/transformer_config.py", "TransformerConfig")
        | GPT_PROVIDER,
    }
    values: dict[str, tuple[Any, Any]] = {
        f"{section}.{name}": (name in fields, True)
        for section, fields in known.items()
        for name in vars(getattr(config, section))
    }
    s, o = config.scheduler, config.optimizer
    optim, run = _megatron_scheduler(
        checkout,
        batch=config.train.global_batch_size,
        warmup=s.lr_warmup_iters,
        decay=s.lr_decay_iters,
        init_lr=s.lr_warmup_init,
        max_lr=o.lr,
        min_lr=o.min_lr,
        lr_decay_style=s.lr_decay_style,
        start_wd=s.start_weight_decay,
        end_wd=s.end_weight_decay,
        wd_incr_style=s.weight_decay_incr_style,
    )
    values["weight decay in the optimizer"] = (optim["weight_decay"], WEIGHT_DECAY)
    return Run(values=values, learning_rates=run)


def _megatron_scheduler(
    checkout: Path, *, batch: int, warmup: int, decay: int, **arguments: Any
) -> tuple[dict[str, Any], list[float]]:
    """Megatron's scheduler, built and stepped in samples as megatron/training/training.py does."""
    path = checkout / "megatron/core/optimizer_param_scheduler.py"
    scope = {"logger": logging.getLogger(), "logging": logging, "math": math, "log_single_rank": lambda *_: None}
    scheduler = _take(path, "OptimizerParamScheduler", scope | {"torch": SimpleNamespace(Tensor=types.NoneType)})
    group: dict[str, Any] = {"lr": 0.0}
    real = scheduler(
        SimpleNamespace(param_groups=[group]),
        lr_warmup_steps=warmup * batch,
        lr_decay_steps=decay * batch,
        wd_incr_steps=STEPS * batch,
        use_checkpoint_opt_param_scheduler=False,
        **arguments,
    )
    rates: list[float] = []
    for _ in range(STEPS):
        rates.append(group["lr"])
        real.step(batch)
    return group, rates


def _fields(path: Path, name: str) -> set[str]:
    (node,) = (n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef) and n.name == name)
    return {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


def _is_flag(text: str, name: str) -> bool:
    """Whether a flag is written out, or generated from a config dataclass's field."""
    return f"'--{name}'" in text or f'"--{name}"' in text or f"\n    {name.replace('-', '_')}: " in text


def nanotron(exported: Export, checkout: Path | None) -> Run:
    import yaml
    from torch.optim.lr_scheduler import LambdaLR

    assert checkout is not None
    source = checkout / "src/nanotron/config/config.py"
    tree = yaml.safe_load(exported.text)
    scope = {"dataclass": dataclass, "Optional": typing.Optional}
    adam = _take(source, "AdamWOptimizerArgs", scope)(**tree["optimizer"].pop("optimizer_factory"))
    schedule = _take(source, "LRSchedulerArgs", scope)(**tree["optimizer"].pop("learning_rate_scheduler"))
    optim = _take(source, "OptimizerArgs", scope)(
        **tree["optimizer"], optimizer_factory=adam, learning_rate_scheduler=schedule
    )
    tokens = _take(source, "TokensArgs", scope)(**tree["tokens"])
    init, config = _nanotron_model(checkout, tree["model"])
    scope = {"partial": functools.partial, "math": math, "LambdaLR": LambdaLR, "logging": logging, "logger": None}
    build = _take(
        checkout / "src/nanotron/helpers.py", "lr_scheduler_builder", scope | {"log_rank": lambda *_, **__: 0}
    )
    torch_optimizer = _sgd(schedule.learning_rate)
    wrapped = SimpleNamespace(get_base_optimizer=lambda: torch_optimizer)
    real = build(wrapped, schedule, tokens.train_steps)
    values = {
        "weight_decay": (optim.weight_decay, WEIGHT_DECAY),
        "betas": ((adam.adam_beta1, adam.adam_beta2), (0.9, 0.95)),
        "adam_eps": (adam.adam_eps, 1e-8),
        "clip_grad": (optim.clip_grad, 1.0),
        "batch": (
            tokens.micro_batch_size * tokens.batch_accumulation_per_replica * tree["parallelism"]["dp"],
            SEQUENCES,
        ),
        "sequence_length": (tokens.sequence_length, SEQ_LEN),
        "train_steps": (tokens.train_steps, STEPS),
        "initial std": ((init.std, init.scaling_method.name), (0.02, "NONE")),
        "model": (
            (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_key_value_heads),
            (32, 4096, 14336, 8),
        ),
        "vocabulary": ((config.vocab_size, config.tie_word_embeddings), (128256, False)),
    }
    return Run(values=values, learning_rates=torch_rates(torch_optimizer, real))


def _nanotron_model(checkout: Path, tree: dict[str, Any]) -> tuple[Any, Any]:
    source = checkout / "src/nanotron/config"
    scope = {"dataclass": dataclass, "Optional": typing.Optional, "AttentionImplementation": str}
    scope |= {
        "ALL_ATTENTION_FUNCTIONS": ("flash_attention_2",),
        "DEFAULT_ATTENTION_IMPLEMENTATION": "flash_attention_2",
    }
    method = _take(source / "utils_config.py", "InitScalingMethod", {"Enum": enum.Enum, "auto": enum.auto})
    scope["InitScalingMethod"] = method
    init = {"std": tree["init_method"]["std"], "scaling_method": method[tree["init_method"]["scaling_method"].upper()]}
    models = source / "models_config.py"
    return _take(models, "RandomInit", scope)(**init), _take(models, "LlamaConfig", scope)(**tree["model_config"])


def lingua(exported: Export, checkout: Path | None) -> Run:
    import yaml

    assert checkout is not None
    spec = importlib.util.spec_from_file_location("lingua_optim", checkout / "lingua/optim.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lingua_optim"] = module
    spec.loader.exec_module(module)
    tree = yaml.safe_load(exported.text)
    args = module.OptimArgs(**tree["optim"])
    import torch

    optimizer, scheduler = module.build_optimizer(torch.nn.Linear(2, 2), args, tree["steps"])
    values = groups(optimizer) | {
        "batch": (tree["data"]["batch_size"] * tree["grad_acc_steps"] * DEVICES, SEQUENCES),
        "clip": (args.clip, 1.0),
        "steps": (tree["steps"], STEPS),
        "FFN width": (_lingua_ffn(checkout, tree["model"]), llama_shape().ffn_width),
    }
    return Run(values=values, learning_rates=torch_rates(optimizer, scheduler))


def _lingua_ffn(checkout: Path, model: dict[str, Any]) -> int:
    import torch

    scope = {"nn": torch.nn, "Optional": typing.Optional, "torch": torch}
    feed_forward = _take(checkout / "lingua/transformer.py", "FeedForward", scope)
    with torch.device("meta"):
        built = feed_forward(model["dim"], 4 * model["dim"], model["multiple_of"], model["ffn_dim_multiplier"])
    return built.w1.out_features


def nanochat(exported: Export, checkout: Path | None) -> Run:
    assert checkout is not None
    source = checkout / "scripts/base_train.py"
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parser.add_argument":
            eval(compile(ast.Expression(node), str(source), "eval"), {"parser": parser})
    body = exported.text.split("FORESCALE_ARGS=(\n")[1].split("\n)\n")[0]
    args = parser.parse_args(shlex.split(body, comments=True))
    factor = _take(source, "get_lr_multiplier", {"args": args, "num_iterations": args.num_iterations})
    values = {
        "total_batch_size": (args.total_batch_size, SEQUENCES * SEQ_LEN),
        "gradient accumulation": (
            args.total_batch_size / (args.device_batch_size * args.max_seq_len * DEVICES),
            ACCUMULATION,
        ),
        "num_iterations": (args.num_iterations, STEPS),
        "matrix_lr": (args.matrix_lr, parser.get_default("matrix_lr")),
        "embedding_lr": (args.embedding_lr, parser.get_default("embedding_lr")),
        "unembedding_lr": (args.unembedding_lr, parser.get_default("unembedding_lr")),
        "scalar_lr": (args.scalar_lr, parser.get_default("scalar_lr")),
        "weight_decay": (args.weight_decay, parser.get_default("weight_decay")),
    }
    rates = [float(factor(k)) for k in range(args.num_iterations)]
    return Run(values=values, learning_rates=rates, peak=1.0)


def _take(path: Path, name: str, scope: dict[str, Any]) -> Any:
    """One class or function of a source file, run alone with `scope` as its globals."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if getattr(n, "name", None) == name]
    tree = ast.Module(body=typing.cast(list[ast.stmt], nodes[:1]), type_ignores=[])
    scope = scope | {"__name__": __name__}
    exec(compile(tree, str(path), "exec", flags=__future__.annotations.compiler_flag), scope)
    return scope[name]


def _sgd(lr: float) -> Any:
    import torch

    return torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=lr)
