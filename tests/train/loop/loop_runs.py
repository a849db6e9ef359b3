"""Small runs that the tests of the loop share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forescale.train import ModelOptions, TrainConfig, open_corpus
from forescale.workload import Experts, Shape

TINY = Shape(layers=2, width=16, heads=2, vocab=256, ffn_width=32)
MIXED = Shape(
    layers=2, width=16, heads=2, vocab=256, ffn_width=32, experts=Experts(count=4, top_k=2, width=16, dense_layers=1)
)


def text(sentences: int = 400) -> str:
    """Text with something to learn: a small grammar, drawn with a fixed seed."""
    draw = np.random.default_rng(0)
    words = {
        "who": ["a cat", "the dog", "my bird"],
        "does": ["sees", "likes", "fears"],
        "what": ["milk", "rain", "snow"],
    }
    pick = {key: draw.integers(len(choices), size=sentences) for key, choices in words.items()}
    lines = [" ".join(words[key][pick[key][i]] for key in words) for i in range(sentences)]
    return ".\n".join(lines)


def tiny_corpus(folder: Path) -> Any:
    """The text as a corpus of bytes, cached in `folder`."""
    file = folder / "text.txt"
    if not file.exists():
        file.write_text(text())
    return open_corpus(file, cache=folder / "cache", held_out=0.1)


def tiny_config(**changes: Any) -> TrainConfig:
    """Twelve steps of four sequences of 16 bytes, unless said otherwise."""
    settings: dict[str, Any] = {
        "shape": TINY,
        "seq_len": 16,
        "steps": 12,
        "batch_sequences": 4,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "eval_tokens": 512,
    }
    return TrainConfig(**settings | changes)


def entropy(tokens: NDArray[Any]) -> float:
    """Nats per token of a model that knows nothing but how often each byte stands in the text."""
    counts = np.bincount(tokens)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


__all__ = ["MIXED", "TINY", "ModelOptions", "entropy", "text", "tiny_config", "tiny_corpus"]
