"""Build stores with the tools that people use, and compare what `read_runs` reads with what the tools say themselves.

    python benchmarks/check_readers.py [TOOL ...]

In an environment with wandb, mlflow, optuna, ray[tune], torch, tensorboard, transformers and accelerate; a tool that is
not there is reported as such. Prints one line a tool, exits with 1 on a mismatch, and writes
benchmarks/results/check_readers.json. The sweep is the planted one of tests/runs/readers.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "runs" / "readers")]
os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}

from reader_stores import CONSTANTS, DIVERGED, PARAMS, SEQ_LEN, SWEEP, TOKENS, Planted, settings  # noqa: E402

from forescale.runs import Runs, final_loss, read_runs  # noqa: E402

RUNS = (*SWEEP, DIVERGED)
Rows = list[tuple[float, float, float]]  # learning rate, batch in tokens, loss
STEPS = 6


def read_rows(runs: Runs) -> Rows:
    return sorted(runs.frame.select("learning_rate", "batch_tokens", "loss").rows())


def planted(runs: tuple[Planted, ...] = RUNS) -> Rows:
    return sorted((r.lr, float(r.batch * SEQ_LEN), math.inf if math.isnan(r.loss) else r.loss) for r in runs)


def wandb(root: Path) -> tuple[Rows, Rows]:
    """Offline runs, read from their logs; compared with what was logged."""
    import wandb

    for run in RUNS:
        config = settings(run) | {"params": PARAMS, "tokens": TOKENS}
        with wandb.init(project="p", dir=str(root), config=config) as logged:
            for step, loss in enumerate(run.curve()):
                logged.log({"train/loss": loss, "lr": run.lr / (step + 1)}, step=step)
            logged.log({"val/loss": run.loss})
    return read_rows(read_runs(root)), planted()


def _mlflow(root: Path, address: str, source: Path) -> tuple[Rows, Rows]:
    """Compared with `mlflow.search_runs`' client: params as logged, the metric's last value."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.create_experiment("sweep", artifact_location=str(root / "artifacts"))
    for run in RUNS:
        made = client.create_run(experiment).info.run_id
        for key, value in settings(run).items():
            client.log_param(made, key, value)
        for step, loss in enumerate(run.curve(20)):
            client.log_metric(made, "train/loss", loss, step=10 * step)
        client.log_metric(made, "val_loss", run.loss, step=190)
        client.set_terminated(made)
    told = [run.data for run in client.search_runs([experiment])]
    theirs = [
        (float(d.params["learning_rate"]), float(d.params["batch_size"]) * SEQ_LEN, d.metrics["val_loss"]) for d in told
    ]
    rows = sorted((lr, batch, math.inf if math.isnan(loss) else loss) for lr, batch, loss in theirs)
    return read_rows(read_runs(source, constants=CONSTANTS)), rows


def mlflow_folder(root: Path) -> tuple[Rows, Rows]:
    return _mlflow(root, f"file:{root / 'mlruns'}", root / "mlruns")


def mlflow_database(root: Path) -> tuple[Rows, Rows]:
    return _mlflow(root, f"sqlite:///{root / 'mlflow.db'}", root / "mlflow.db")


def optuna(root: Path) -> tuple[Rows, Rows]:
    """Compared with `study.trials`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{root / 'o.db'}")

    def objective(trial: Any) -> float:
        lr, batch = trial.suggest_float("lr", 1e-4, 1e-1), trial.suggest_categorical("batch_size", [64, 128])
        loss = next(run.loss for run in RUNS if (run.lr, run.batch) == (lr, batch))
        trial.report(loss, 0)
        return loss

    for run in RUNS:
        study.enqueue_trial({"lr": run.lr, "batch_size": run.batch})
    study.optimize(objective, n_trials=len(RUNS))
    theirs = [(t.params["lr"], t.params["batch_size"] * float(SEQ_LEN), t.value or math.inf) for t in study.trials]
    return read_rows(read_runs(root / "o.db", constants=CONSTANTS, seq_len=SEQ_LEN)), sorted(theirs)


def ray(root: Path) -> tuple[Rows, Rows]:
    """Compared with the results' data frame."""
    import ray
    from ray import tune

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
    grid = {"lr": tune.grid_search([1e-3, 2e-3]), "train": {"bs": tune.grid_search([64, 128])}}

    def train(config: dict[str, Any]) -> None:
        for i in range(8):
            tune.report({"val_loss": 3 + config["lr"] + 1 / (i + config["train"]["bs"])})

    home = tune.RunConfig(name="exp", storage_path=str(root), verbose=0)
    frame = tune.Tuner(train, param_space=grid, run_config=home).fit().get_dataframe()
    ray.shutdown()
    columns = zip(frame["config/lr"], frame["config/train/bs"], frame["val_loss"], strict=True)
    theirs = sorted((float(lr), float(bs) * SEQ_LEN, float(loss)) for lr, bs, loss in columns)
    ours = read_rows(read_runs(root / "exp", constants=CONSTANTS, seq_len=SEQ_LEN))
    again = read_rows(read_runs(frame, constants=CONSTANTS, seq_len=SEQ_LEN))
    return ours + again, theirs + theirs


def tensorboard(root: Path) -> tuple[Rows, Rows]:
    """PyTorch's writer and its hyperparameters, compared with the curves that were written, in single precision."""
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    theirs: Rows = []
    for i, run in enumerate(SWEEP):
        writer = SummaryWriter(str(root / f"run{i}"))
        for step, loss in enumerate(run.curve()):
            writer.add_scalar("train/loss", loss, 10 * step)
        writer.add_hparams({"lr": run.lr, "batch_size": run.batch}, {"hparam/loss": run.loss})
        writer.close()
        single = [float(np.float32(loss)) for loss in run.curve()]
        theirs.append((run.lr, float(run.batch * SEQ_LEN), final_loss(single, [10.0 * s for s in range(60)])))
    return read_rows(read_runs(root, constants=CONSTANTS, seq_len=SEQ_LEN)), sorted(theirs)


def transformers(root: Path) -> tuple[Rows, Rows]:
    """A Trainer on a tiny Llama; compared with its state in memory, and the parameters with the model's own count."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    theirs: Rows = []
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=64, max_position_embeddings=SEQ_LEN,
    )  # fmt: skip
    texts = [{"input_ids": ids, "labels": ids} for ids in torch.randint(0, 64, (96, SEQ_LEN))]
    for rate in (1e-3, 3e-3):
        model = LlamaForCausalLM(config)
        arguments = TrainingArguments(
            output_dir=str(root / f"lr{rate}"), learning_rate=rate, max_steps=STEPS, per_device_train_batch_size=4,
            gradient_accumulation_steps=2, logging_steps=1, eval_strategy="steps", eval_steps=3, save_steps=3,
            include_num_input_tokens_seen=True, report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=texts, eval_dataset=texts[:4])
        trainer.train()
        theirs.append((rate, 4.0 * 2 * SEQ_LEN, float(trainer.evaluate()["eval_loss"])))
    runs = read_runs(root)
    embeddings = 2 * 64 * 32  # input and output
    counted = sum(p.numel() for p in model.parameters()) - embeddings
    assert runs.frame["params"].to_list() == [counted] * 2
    assert runs.frame["tokens"].to_list() == [STEPS * 8 * SEQ_LEN] * 2
    return read_rows(runs), sorted(theirs)


TOOLS: dict[str, Callable[[Path], tuple[Rows, Rows]]] = {
    each.__name__: each for each in (wandb, mlflow_folder, mlflow_database, optuna, ray, tensorboard, transformers)
}
PACKAGES = ("wandb", "mlflow", "mlflow-skinny", "optuna", "ray", "torch", "tensorboard", "transformers")


def check(tool: str) -> dict[str, Any]:
    """Read one tool's store; whether it agrees with the tool, and by how much the losses differ."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            ours, theirs = TOOLS[tool](Path(folder))
        except ImportError as error:
            return {"checked": False, "reason": f"{error.name} is not installed"}
    same = [a[:2] == b[:2] for a, b in zip(ours, theirs, strict=False)]
    off = [0.0 if a[2] == b[2] else abs(a[2] / b[2] - 1) for a, b in zip(ours, theirs, strict=False)]
    ok = len(ours) == len(theirs) and all(same) and max(off) < 1e-12
    return {"checked": True, "ok": ok, "runs": len(ours), "largest_difference_of_loss": max(off)}


def main(tools: list[str]) -> int:
    """Check the tools named, or all."""
    results: dict[str, Any] = {tool: check(tool) for tool in tools or TOOLS}
    for tool, result in results.items():
        print(f"{tool}: {result}")
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    path = ROOT / "benchmarks" / "results" / "check_readers.json"
    path.write_text(json.dumps({"versions": found, "tools": results}, indent=2) + "\n", encoding="utf-8")
    return int(any(not result.get("ok", True) for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
