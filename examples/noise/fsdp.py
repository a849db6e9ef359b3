"""A training script on FSDP2 with a noise meter: three lines of it are new.

    torchrun --nproc-per-node 2 fsdp.py --steps 60

Runs on GPUs, or on the CPU where there are none. It trains a small decoder on the sources of Python's standard library.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from forescale.noise import Meter

WIDTH, LAYERS, LENGTH, BATCH, VOCAB = 64, 2, 128, 8, 256


class Block(nn.Module):
    """Pre-norm attention and feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        q, k, v = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in self.qkv(self.norm1(x)).chunk(3, -1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(-2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """Bytes in, logits out; embedding and head share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, length) to (batch, length, vocab)."""
        x = self.tokens(rows) + self.positions(torch.arange(rows.shape[1], device=rows.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def text() -> Tensor:
    """Python's own sources, as bytes."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py")))
    return torch.frombuffer(bytearray(sources), dtype=torch.uint8)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (int(os.environ["WORLD_SIZE"]),))
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.manual_seed(0)
    model: Any = Decoder().to(device)
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    meter = Meter(model)  # 1
    data = text()
    draw = torch.Generator().manual_seed(mesh.get_rank())  # every process has sequences of its own
    for step in range(1, steps + 1):
        starts = torch.randint(len(data) - LENGTH - 1, (BATCH,), generator=draw)
        rows = torch.stack([data[i : i + LENGTH + 1] for i in starts.tolist()]).long().to(device)
        loss = functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        meter.update()  # 2
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 and mesh.get_rank() == 0:
            noise = meter.noise_scale  # 3
            said = f"noise scale {noise.value:.3g} sequences ({noise.low:.3g} to {noise.high:.3g})"
            print(f"step {step}  loss {loss.item():.3f}  {said}", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
