"""A small GPT on the characters of a text, as nanoGPT trains: options on the command line, losses on the screen.

It knows nothing of forescale: nanogpt.toml sweeps it by its command.

    python train.py --data_file text.txt --out_dir out --learning_rate 3e-3 --max_iters 200
"""

import argparse
import math
import os
import time

import torch
from torch import nn
from torch.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--data_file", required=True)
parser.add_argument("--out_dir", default="out")
parser.add_argument("--init_from", choices=["scratch", "resume"], default="scratch")
parser.add_argument("--n_layer", type=int, default=2)
parser.add_argument("--n_head", type=int, default=2)
parser.add_argument("--n_embd", type=int, default=32)
parser.add_argument("--block_size", type=int, default=64)
parser.add_argument("--batch_size", type=int, default=16)
parser.add_argument("--max_iters", type=int, default=200)
parser.add_argument("--warmup_iters", type=int, default=10)
parser.add_argument("--eval_interval", type=int, default=50)
parser.add_argument("--log_interval", type=int, default=10)
parser.add_argument("--learning_rate", type=float, default=3e-3)
parser.add_argument("--weight_decay", type=float, default=0.1)
parser.add_argument("--beta2", type=float, default=0.99)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


class Block(nn.Module):
    """Attention, then a feed-forward network, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream behind the block, shape (batch, time, width)."""
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(c, dim=2))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A stack of blocks between the embeddings and the logits of the next character."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocab, args.n_embd), nn.Embedding(args.block_size, args.n_embd)
        self.blocks = nn.Sequential(*(Block(args.n_embd, args.n_head) for _ in range(args.n_layer)))
        self.norm, self.head = nn.LayerNorm(args.n_embd), nn.Linear(args.n_embd, vocab, bias=False)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss in nats a character."""
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        logits = self.head(self.norm(self.blocks(x)))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def get_batch(data: torch.Tensor, seed: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of the text that depend on the seed alone, so that a run that goes on sees what it would have seen."""
    starts = torch.randint(len(data) - args.block_size, (size,), generator=torch.Generator().manual_seed(seed))
    windows = torch.stack([data[start : start + args.block_size + 1] for start in starts.tolist()])
    return windows[:, :-1], windows[:, 1:]


def learning_rate(iteration: int) -> float:
    """Warmup, then a cosine to a tenth."""
    if iteration < args.warmup_iters:
        return args.learning_rate * (iteration + 1) / args.warmup_iters
    progress = (iteration - args.warmup_iters) / max(1, args.max_iters - args.warmup_iters)
    return args.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def estimate_loss(model: nn.Module, data: torch.Tensor) -> float:
    """The mean over a few batches, always the same ones."""
    model.eval()
    losses = [model(*get_batch(data, 10_000 + k, 64)).item() for k in range(4)]
    model.train()
    return sum(losses) / len(losses)


def main() -> None:
    """Train, or go on."""
    torch.manual_seed(args.seed)
    with open(args.data_file, encoding="utf-8") as file:  # noqa: PTH123  # a script of its own, in plain Python
        text = file.read()
    letters = {letter: number for number, letter in enumerate(sorted(set(text)))}
    data = torch.tensor([letters[letter] for letter in text])
    train, val = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    model = GPT(len(letters))
    decay = {"weight_decay": args.weight_decay, "betas": (0.9, args.beta2)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, **decay)
    checkpoint, first = os.path.join(args.out_dir, "ckpt.pt"), 0  # noqa: PTH118
    if args.init_from == "resume" and os.path.exists(checkpoint):  # noqa: PTH110
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["iteration"]
        print(f"resumed at iteration {first}")
    os.makedirs(args.out_dir, exist_ok=True)  # noqa: PTH103
    began = time.time()
    for iteration in range(first, args.max_iters + 1):
        if iteration % args.eval_interval == 0 or iteration == args.max_iters:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": iteration}
            torch.save(state, checkpoint)
            losses = estimate_loss(model, train), estimate_loss(model, val)
            print(f"step {iteration}: train loss {losses[0]:.4f}, val loss {losses[1]:.4f}", flush=True)
        if iteration == args.max_iters:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(iteration)
        loss = model(*get_batch(train, iteration, args.batch_size))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if iteration % args.log_interval == 0:
            print(f"iter {iteration}: loss {loss.item():.4f}, time {1000 * (time.time() - began):.0f}ms", flush=True)


if __name__ == "__main__":
    main()
