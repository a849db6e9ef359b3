"""What each trainer makes of an exported file, by the trainer's own code; imported by check_exports.py.

Trainers that are packages are imported. Of those that are not, single classes and functions are taken from a checkout
and run, since importing the whole would need GPUs or distributed back ends.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import functools
import importlib.util
import logging
import math
import shlex
import sys
import tempfile
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from export_fixtures import LR, NUMBERS, WEIGHT_DECAY, load_python, shell_flags

from forescale.plan.export import Export

STEPS, DEVICES, MICRO, ACCUMULATION, SEQ_LEN = 397, 64, 2, 4, 8192
SEQUENCES = DEVICES * MICRO * ACCUMULATION
ADAM = {"lr": LR, "weight_decay": WEIGHT_DECAY, "betas": (0.9, 0.95), "eps": 1e-8}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trainer holds (name -> got, wanted) and the learning rate of every step."""

    values: dict[str, tuple[Any, Any]]
    learning_rates: list[float]
    peak: float = LR


def huggingface(exported: Export, _: Path | None) -> Run:
    import transformers

    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    module = load_python(exported.text)
    config = transformers.LlamaConfig(**(module.MODEL_CONFIG | sizes), num_attention_heads=2)
    with tempfile.TemporaryDirectory() as folder:
        arguments = module.training_arguments(folder, use_cpu=True, bf16=False, report_to="none")
        trainer = transformers.Trainer(model=transformers.LlamaForCausalLM(config), args=arguments)
        trainer.create_optimizer_and_scheduler(num_training_steps=arguments.max_steps)
    values = _groups(trainer.optimizer, exempt=True) | {
        "max_steps": (arguments.max_steps, STEPS),
        "warmup": (arguments.get_warmup_steps(arguments.max_steps), NUMBERS["warmup_steps"]),
        "max_grad_norm": (arguments.max_grad_norm, 1.0),
        "batch": (arguments.per_device_train_batch_size * DEVICES * arguments.gradient_accumulation_steps, SEQUENCES),
        "initializer_range": (config.initializer_range, 0.02),
    }
    return Run(values=values, learning_rates=_torch_rates(trainer.optimizer, trainer.lr_scheduler))


def torchtitan(exported: Export, checkout: Path | None) -> Run:
    if exported.target == "torchtitan-main":
        sys.path.insert(0, str(checkout))
    import torch
    from torchtitan.models.llama3.config_registry import llama3_debugmodel

    config = load_python(exported.text).apply(llama3_debugmodel())
    config.optimizer.implementation = "for-loop"  # "fused" wants a GPU
    optimizers = config.optimizer.build(model_parts=[torch.nn.Linear(2, 2)])
    scheduler = config.lr_scheduler.build(optimizers=optimizers, training_steps=config.training.steps)
    training = config.training
    batch = {
        "global_batch_size": SEQUENCES,
        "local_batch_size": MICRO,
        "seq_len": SEQ_LEN,
    }
    if exported.target == "torchtitan-main":
        batch = {
            "num_tokens_per_train_step": SEQUENCES * SEQ_LEN,
            "num_tokens_per_microbatch_per_dp_rank": MICRO * SEQ_LEN,
            "max_context_length": SEQ_LEN,
        }
    wanted = batch | {"steps": STEPS, "max_norm": 1.0}
    values = {name: (getattr(training, name), number) for name, number in wanted.items()}
    optimizer = next(iter(optimizers))
    return Run(values=_groups(optimizer) | values, learning_rates=_torch_rates(optimizer, scheduler))


def litgpt(exported: Export, _: Path | None) -> Run:
    import torch
    from jsonargparse import ArgumentParser
    from litgpt.pretrain import get_lr, setup, validate_args
    from litgpt.utils import instantiate_torch_optimizer

    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(setup)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, exported.filename)
        path.write_text(exported.text)
        parsed = parser.parse_args(["--config", str(path), "--model_name", "pythia-14m"])
    train = parser.instantiate_classes(parsed).train
    validate_args(train, parsed.eval, None, False)
    described = parsed.optimizer if isinstance(parsed.optimizer, dict) else parsed.optimizer.as_dict()
    optimizer = instantiate_torch_optimizer(described, torch.nn.Linear(2, 2).parameters())
    accumulation = train.gradient_accumulation_iters(DEVICES)
    max_iters = train.max_tokens // DEVICES // (train.micro_batch_size * train.max_seq_length)
    warmup = train.warmup_iters(DEVICES, 1, max_iters, None)
    last = [(k + 1) * accumulation - 1 for k in range(max_iters // accumulation)]
    values = _groups(optimizer) | {
        "accumulation": (accumulation, ACCUMULATION),
        "steps": (max_iters / accumulation, STEPS),
        "warmup steps": (warmup / accumulation, NUMBERS["warmup_steps"]),
        "max_norm": (train.max_norm, 1.0),
        "min_lr": (train.min_lr, LR * 0.1),
    }
    rates = [get_lr(optimizer.defaults["lr"], i, warmup, max_iters, train.min_lr) for i in last]
    return Run(values=values, learning_rates=rates)


def olmo_core(exported: Export, _: Path | None) -> Run:
    import torch

    names = ("train_module", "data_loader", "dataset", "model", "trainer")
    config = SimpleNamespace(**{name: SimpleNamespace() for name in names})
    load_python(exported.text).apply(config)
    module = config.train_module
    optimizer = module.optim.build(torch.nn.Linear(2, 2))
    rates: list[float] = []
    for step in range(STEPS):
        trainer: Any = SimpleNamespace(global_step=step + 1, max_steps=config.trainer.max_duration.value)
        rates += [float(module.scheduler.set_lr(group, trainer)) for group in optimizer.param_groups]
    values = _groups(optimizer, lr=False) | {
        "lr": (module.optim.lr, LR),
        "max_duration": (str(config.trainer.max_duration.unit), "steps"),
        "global_batch_size": (config.data_loader.global_batch_size, SEQUENCES * SEQ_LEN),
        "rank_microbatch_size": (module.rank_microbatch_size, MICRO * SEQ_LEN),
        "max_sequence_length": (module.max_sequence_length, SEQ_LEN),
        "max_grad_norm": (module.max_grad_norm, 1.0),
        "init_std": (config.model.init_std, 0.02),
    }
    return Run(values=values, learning_rates=rates)


def levanter(exported: Export, _: Path | None) -> Run:
    import draccus
    import yaml
    from levanter.main.train_lm import TrainLmConfig

    tree = yaml.safe_load(exported.text)
    tree["model"]["type"] = "llama"
    config = draccus.decode(TrainLmConfig, tree)
    optimizer = config.optimizer
    schedule = optimizer.lr_scheduler(config.trainer.num_train_steps)
    values = {
        "learning_rate": (optimizer.learning_rate, LR),
        "weight_decay": (optimizer.weight_decay, WEIGHT_DECAY),
        "betas": ((optimizer.beta1, optimizer.beta2), (0.9, 0.95)),
        "epsilon": (optimizer.epsilon, 1e-8),
        "max_grad_norm": (optimizer.max_grad_norm, 1.0),
        "train_batch_size": (config.trainer.train_batch_size, SEQUENCES),
        "per_device_parallelism": (config.trainer.per_device_parallelism, MICRO),
        "num_train_steps": (config.trainer.num_train_steps, STEPS),
        "initializer_range": (config.model.initializer_range, 0.02),
        "sequence length": (config.model.Pos.size, SEQ_LEN),
    }
    return Run(values=values, learning_rates=[float(schedule(k)) for k in range(config.trainer.num_train_steps)])


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
    }
    return Run(values=values, learning_rates=_torch_rates(torch_optimizer, real))


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
    values = _groups(optimizer) | {
        "batch": (tree["data"]["batch_size"] * tree["grad_acc_steps"] * DEVICES, SEQUENCES),
        "clip": (args.clip, 1.0),
        "steps": (tree["steps"], STEPS),
    }
    return Run(values=values, learning_rates=_torch_rates(optimizer, scheduler))


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


def _groups(optimizer: Any, *, exempt: bool = False, lr: bool = True) -> dict[str, tuple[Any, Any]]:
    """The real parameter groups against the plan's AdamW; `exempt`: a second group has no weight decay."""
    groups = optimizer.param_groups
    decays = sorted({g["weight_decay"] for g in groups})
    wanted = {name: [value] for name, value in ADAM.items() if name != "weight_decay" and (lr or name != "lr")}
    found = {
        name: (sorted({g["initial_lr" if _late(g, name) else name] for g in groups}), v) for name, v in wanted.items()
    }
    return found | {"weight_decay": (decays, [0.0, WEIGHT_DECAY] if exempt else [WEIGHT_DECAY])}


def _late(group: dict[str, Any], name: str) -> bool:
    return name == "lr" and "initial_lr" in group


def _torch_rates(optimizer: Any, scheduler: Any) -> list[float]:
    rates: list[float] = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates
