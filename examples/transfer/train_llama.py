"""A plain Hugging Face training script with three lines of forescale: the learning rate of a small model trains a wide one.

Sweep the learning rate at width 256, train at width 2048 with FSDP2 at the same one, and check:

    python train_llama.py --width 256 --learning-rate 0.01 TEXT
    torchrun --nproc-per-node 8 train_llama.py --width 2048 --learning-rate 0.01 TEXT
    forescale check coords --scheme completep --model train_llama.py:make_model --widths 256,512,1024

The three lines are those of `rules` and `groups`; the rest is any script.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import forescale as fs

HEAD = 64  # the same at every width


def make_model(width: int, depth: int, density: float = 1.0) -> LlamaForCausalLM:
    """Bytes in, bytes out; `density` is for forescale check, which names it."""
    del density
    config = LlamaConfig(
        vocab_size=256, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=depth,
        num_attention_heads=width // HEAD, bos_token_id=None, eos_token_id=None, max_position_embeddings=4096,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def main() -> None:
    """Train and print the loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    for name, kind, default in (
        ("width", int, 256), ("depth", int, 4), ("learning-rate", float, 0.01), ("steps", int, 200),
        ("sequences", int, 8), ("seq-len", int, 256),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    args = parser.parse_args()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"

    model = make_model(args.width, args.depth).to(device)
    if world > 1:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        for layer in model.model.layers:
            fully_shard(layer)
        fully_shard(model)

    rules = fs.parametrization("completep", base=fs.Shape(width=256, depth=4))
    rules.initialize_(model, seed=0)
    groups = rules.param_groups(model, {"learning_rate": args.learning_rate, "weight_decay": 0.1})
    optimizer = torch.optim.AdamW(groups)
    decay = fs.schedules.linear_to_zero(warmup=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, fs.schedules.lr_lambda(decay, args.steps))

    text = torch.tensor(list(args.text.read_bytes()))
    draw = torch.Generator().manual_seed(0)
    for step in range(args.steps):
        starts = torch.randint(len(text) - args.seq_len, (args.sequences,), generator=draw)[rank::world]
        tokens = torch.stack([text[i : i + args.seq_len] for i in starts]).to(device)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step == args.steps - 1:
            shown = loss.detach()
            if world > 1:
                distributed.all_reduce(shown)
            if rank == 0:
                print(f"step {step:4d}  loss {shown.item() / world:.4f}", flush=True)
    if world > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
