"""What the trainers that are packages make of an exported file, by their own classes; imported by check_exports.py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from export_fixtures import LR, NUMBERS, WEIGHT_DECAY, load_python

from export_common import ACCUMULATION, DEVICES, MICRO, PARAMS, SEQ_LEN, SEQUENCES, STEPS, Run, groups, torch_rates
from forescale.plan.export import Export


def huggingface(exported: Export, _: Path | None) -> Run:
    import torch
    import transformers

    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    module = load_python(exported.text)
    with torch.device("meta"):
        whole = transformers.AutoModelForCausalLM.from_config(module.model_config())
    config = module.model_config(**sizes)
    with tempfile.TemporaryDirectory() as folder:
        arguments = module.training_arguments(folder, use_cpu=True, bf16=False, report_to="none")
        trainer = transformers.Trainer(model=transformers.LlamaForCausalLM(config), args=arguments)
        trainer.create_optimizer_and_scheduler(num_training_steps=arguments.max_steps)
    values = groups(trainer.optimizer, exempt=True) | {
        "max_steps": (arguments.max_steps, STEPS),
        "warmup": (arguments.get_warmup_steps(arguments.max_steps), NUMBERS["warmup_steps"]),
        "max_grad_norm": (arguments.max_grad_norm, 1.0),
        "batch": (arguments.per_device_train_batch_size * DEVICES * arguments.gradient_accumulation_steps, SEQUENCES),
        "initializer_range": (config.initializer_range, 0.02),
        "parameters": (sum(p.numel() for p in whole.parameters()), PARAMS),
    }
    return Run(values=values, learning_rates=torch_rates(trainer.optimizer, trainer.lr_scheduler))


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
    return Run(values=groups(optimizer) | values, learning_rates=torch_rates(optimizer, scheduler))


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
    values = groups(optimizer) | {
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
    from olmo_core.nn.transformer import TransformerConfig

    names = ("train_module", "data_loader", "dataset", "trainer")
    model = TransformerConfig.llama_like(d_model=64, vocab_size=512, n_layers=2, n_heads=4)
    config = SimpleNamespace(model=model, **{name: SimpleNamespace() for name in names})
    load_python(exported.text).apply(config)
    module = config.train_module
    optimizer = module.optim.build(torch.nn.Linear(2, 2))
    rates: list[float] = []
    for step in range(STEPS):
        trainer: Any = SimpleNamespace(global_step=step + 1, max_steps=config.trainer.max_duration.value)
        rates += [float(module.scheduler.set_lr(group, trainer)) for group in optimizer.param_groups]
    values = groups(optimizer, lr=False) | {
        "lr": (module.optim.lr, LR),
        "max_duration": (str(config.trainer.max_duration.unit), "steps"),
        "global_batch_size": (config.data_loader.global_batch_size, SEQUENCES * SEQ_LEN),
        "rank_microbatch_size": (module.rank_microbatch_size, MICRO * SEQ_LEN),
        "max_sequence_length": (module.max_sequence_length, SEQ_LEN),
        "max_grad_norm": (module.max_grad_norm, 1.0),
        "init_std": (config.model.init_std, 0.02),
        "matrices with another std": (_other_std(model.build(init_device="cpu")), []),
    }
    return Run(values=values, learning_rates=rates)


def _other_std(model: Any) -> list[str]:
    """Matrices of an initialized OLMo model that are not drawn with 0.02, give or take the draw and its truncation."""
    model.init_weights(device=model.device)
    return [name for name, p in model.named_parameters() if p.ndim > 1 and abs(p.std().item() / 0.02 - 1) > 0.1]


def levanter(exported: Export, _: Path | None) -> Run:
    import draccus
    import yaml
    from levanter.main.train_lm import TrainLmConfig

    tree = yaml.safe_load(exported.text)
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
        "parameters": (config.model.total_trainable_params(128256), PARAMS),
        "exempt from weight decay": (optimizer.build_weight_decay_mask(), None),
    }
    return Run(values=values, learning_rates=[float(schedule(k)) for k in range(config.trainer.num_train_steps)])
