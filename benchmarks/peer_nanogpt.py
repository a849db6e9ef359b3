"""Training tokens a second against nanoGPT's own train.py, at the same shape, precision and threads.

    python benchmarks/peer_nanogpt.py CHECKOUT [SHAPE]

CHECKOUT is a clone of github.com/karpathy/nanoGPT at the commit below; its train.py runs as it is, in a copy, on a
data folder made here. With a SHAPE the others keep the results that they have. Processes of both run in turn; every
one's step time is the median of its later steps.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import harness

COMMIT = "3adf61e154c3fe3fca428ad6bc3818b27a3b8291"
SHAPES: dict[str, dict[str, int]] = {
    "L2 d64 T128 B16": {"layers": 2, "heads": 4, "width": 64, "seq_len": 128, "batch": 16, "steps": 120, "rounds": 4},
    "L6 d384 T256 B8": {"layers": 6, "heads": 6, "width": 384, "seq_len": 256, "batch": 8, "steps": 7, "rounds": 2},
}
TARGETS = {"L2 d64 T128 B16": 1.3, "L6 d384 T256 B8": 1.0}
SKIPPED = 3  # first steps, which allocate
VOCAB = 256
TEXT = harness.DATA / "text-corpora" / "tinyshakespeare" / "input.txt"


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--ours":
        ours(SHAPES[sys.argv[2]], Path(sys.argv[3]))
        return
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    wanted = sys.argv[2:] or list(SHAPES)
    file = harness.RESULTS / "nanogpt.json"
    results: dict[str, Any] = json.loads(file.read_text())["results"] if sys.argv[2:] else {}
    with tempfile.TemporaryDirectory() as folder:
        copy = check_out(Path(sys.argv[1]), Path(folder))
        for name, shape in ((name, SHAPES[name]) for name in wanted):
            for threads in (2, 1) if shape["rounds"] > 2 else (2,):
                samples = harness.interleaved(
                    shape["rounds"],
                    {
                        "ours": partial(run_ours, name, folder, threads),
                        "nanogpt": partial(run_theirs, copy, shape, threads),
                    },
                )
                tokens = shape["batch"] * shape["seq_len"]
                results[f"{name}, {threads} threads"] = {
                    "tokens_per_second": {k: tokens / statistics.median(v) for k, v in samples.items()},
                    "times_as_fast": harness.median_ratio(samples["nanogpt"], samples["ours"]),
                    "target": TARGETS[name],
                    "seconds_a_step": samples,
                }
                print(name, threads, results[f"{name}, {threads} threads"]["times_as_fast"], flush=True)
    peer = {
        "name": "karpathy/nanoGPT",
        "commit": COMMIT,
        "runs": "train.py, compile=False, float32, dropout 0, bias False",
    }
    harness.write("nanogpt", ["forescale", "torch", "numpy"], peer=peer, results=results)


def check_out(source: Path, folder: Path) -> Path:
    """The peer's files at the commit, and the text as its data: bytes."""
    copy = folder / "nanoGPT"
    archive = subprocess.run(["git", "-C", str(source), "archive", COMMIT], check=True, capture_output=True).stdout
    copy.mkdir()
    subprocess.run(["tar", "-x", "-C", str(copy)], input=archive, check=True)
    import numpy as np

    data = copy / "data" / "bytes"
    data.mkdir()
    tokens = np.frombuffer(TEXT.read_bytes(), np.uint8).astype(np.uint16)
    tokens.tofile(data / "train.bin")
    tokens[:100_000].tofile(data / "val.bin")
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": VOCAB}))
    shutil.rmtree(copy / ".git", ignore_errors=True)
    return copy


def run_theirs(copy: Path, shape: dict[str, int], threads: int) -> float:
    """Seconds a step by the peer's own clock."""
    flags = {
        "dataset": "bytes", "device": "cpu", "compile": False, "dtype": "float32", "bias": False, "dropout": 0.0,
        "n_layer": shape["layers"], "n_head": shape["heads"], "n_embd": shape["width"], "block_size": shape["seq_len"],
        "batch_size": shape["batch"], "gradient_accumulation_steps": 1, "eval_iters": 1, "eval_interval": 10**6,
        "log_interval": 1, "max_iters": shape["steps"], "out_dir": "out",
    }  # fmt: skip
    command = [sys.executable, "train.py", *(f"--{key}={value}" for key, value in flags.items())]
    done = subprocess.run(command, cwd=copy, env=environment(threads), check=True, capture_output=True, text=True)
    times = [float(ms) / 1000 for ms in re.findall(r"time ([\d.]+)ms", done.stdout)]
    return statistics.median(times[SKIPPED:])


def run_ours(name: str, folder: str, threads: int) -> float:
    """Seconds a step of our trainer in a process of its own."""
    command = [sys.executable, __file__, "--ours", name, folder]
    done = subprocess.run(command, env=environment(threads), check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def environment(threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def ours(shape: dict[str, int], folder: Path) -> None:
    """Train and print the median time of a step."""
    from forescale.train import ModelOptions, TrainConfig, open_corpus, train
    from forescale.train._memory import keep_freed_memory
    from forescale.workload import Shape

    keep_freed_memory()  # as `forescale train` does

    model = Shape(
        layers=shape["layers"], width=shape["width"], heads=shape["heads"], vocab=VOCAB, gated=False, norm="layer",
        ffn_width=4 * shape["width"], positions=shape["seq_len"], tied=True,
    )  # fmt: skip
    config = TrainConfig(
        shape=model, options=ModelOptions(position="learned"), seq_len=shape["seq_len"],
        batch_sequences=shape["batch"], steps=shape["steps"], learning_rate=6e-4, weight_decay=0.1,
    )  # fmt: skip
    corpus = open_corpus([str(TEXT)], cache=folder / "cache", held_out=10_000, seq_len=shape["seq_len"])
    times: list[float] = []
    train(config, corpus=corpus, on_step=lambda _: times.append(time.perf_counter()) and None)
    print(statistics.median(b - a for a, b in zip(times[SKIPPED:], times[SKIPPED + 1 :], strict=False)))


if __name__ == "__main__":
    main()
