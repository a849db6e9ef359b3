"""What a model costs, measured: a step of its training in seconds and bytes, and its decoding in tokens a second."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from forescale.errors import ForescaleError
from forescale.sweep.pareto._decode import Decoding
from forescale.train import Batches, Decoder, TrainConfig
from forescale.train._distributed import joined
from forescale.train._step import ACTIVATIONS, Stepper, ops, precision_of

REPEATS = 5  # of what is timed; the quickest counts, for what else runs on a machine can only add time
STATE = 16  # bytes a parameter in fp32: weight, gradient and AdamW's two moments


def step_seconds(config: TrainConfig, *, repeats: int = REPEATS) -> float:
    """Seconds of one optimizer step on the config's device, of made-up tokens: the quickest of a few, after one to warm up."""
    with _stepper(config) as stepper:
        return min(_seconds(stepper) for _ in range(repeats + 1))


def step_memory(config: TrainConfig) -> float:
    """Bytes at the peak of a step: on a GPU what PyTorch allocated for it; elsewhere an estimate, for a CPU counts none.

    The estimate is weights, gradients and moments in fp32, and the activations of a micro-batch (Korthikanti et al. 2022).
    """
    with _stepper(config) as stepper:
        device = stepper.world.device
        if device.type != "cuda":
            return _estimated(stepper)
        ops.cuda.reset_peak_memory_stats(device)
        stepper.step(0)
        return float(ops.cuda.max_memory_allocated(device))


def decoding_speed(model: Decoder, *, tokens: int | None = None, batch: int = 1, repeats: int = REPEATS) -> float:
    """Tokens a second, of all `batch` sequences, while each grows from its first to `tokens` (default: `seq_len`).

    One token at a time with the keys and values kept; the most likely token follows. Each position counts with the quickest
    of its `repeats`, on the model's device with the threads that torch has. A small model on a CPU waits for the start of
    each operator more than for its sums, so there depth counts more than size: measure where the model will run.
    """
    length = model.seq_len if tokens is None else tokens
    if not 1 <= length <= model.seq_len:
        raise ForescaleError(f"tokens must lie between 1 and the model's seq_len {model.seq_len}; got {length}.")
    model.eval()
    times = [_decode(model, length, batch) for _ in range(repeats)]
    return batch * length / sum(map(min, zip(*times, strict=True)))


def _decode(model: Decoder, length: int, batch: int) -> list[float]:
    """Seconds of each token; another process that takes the processor for a while spoils a few of them only."""
    device = model.embedding.weight.device
    decoding, token = Decoding(model, batch), torch.zeros(batch, dtype=torch.long, device=device)
    times = [_now(device)]
    for _ in range(length):
        token = decoding.step(token).argmax(-1)
        times.append(_now(device))
    return [after - before for before, after in pairwise(times)]


@contextmanager
def _stepper(config: TrainConfig) -> Generator[Stepper]:
    """A run on made-up tokens, which cost what others do."""
    with joined(replace(config, out=None, parallel="none")) as world:
        config = replace(config, out=None, parallel="none", precision=precision_of(config, world.device))
        count = (config.batch_sequences + 2) * config.seq_len
        made_up = np.random.default_rng(0).integers(config.shape.vocab, size=count)
        stepper = Stepper(config, world, Batches(made_up, seq_len=config.seq_len, seed=0))
        try:
            yield stepper
        finally:
            if stepper.cores is not None:
                stepper.cores.close()


def _seconds(stepper: Stepper) -> float:
    began = _now(stepper.world.device)
    stepper.step(0)
    return _now(stepper.world.device) - began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        ops.cuda.synchronize(device)
    return time.perf_counter()


def _estimated(stepper: Stepper) -> float:
    config, width = stepper.config, 2 if stepper.precision == "bf16" else 4
    shape = config.shape
    layers = 1 if config.options.checkpointing else shape.layers
    token = width * ACTIVATIONS * layers * shape.width + 3 * 4 * shape.vocab  # logits, their gradient and the softmax
    sequences = min(stepper.micro_batch, config.batch_sequences)
    return float(STATE * sum(p.numel() for p in stepper.parameters) + sequences * config.seq_len * token)
