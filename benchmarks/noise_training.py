"""The noise meter in training: norm layers against the total, and batch schedules against a fixed batch at equal tokens.

Small decoders on Dickens' novels as bytes, three seeds. The fixed batch and the schedules (nanoGNS's linear ramp, and a batch
driven by the meter) see the same tokens in the same order at a learning rate that is a function of tokens alone, each at the best
of three peaks. `python benchmarks/noise_training.py` resumes from .cache/noise_training/, and writes results/noise_training.json
and docs/assets/noise-training.png.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from forescale.noise import BatchController, BatchSchedule, Meter, schedule
from forescale.optimizers import make_optimizer
from forescale.parametrize import parametrization
from forescale.train import Batches, ModelOptions, build_model, open_corpus, shape_for
from forescale.workload import Shape
from harness import DATA, REPOSITORY, write

CACHE = REPOSITORY / ".cache" / "noise_training"
PACKAGES = ("torch", "numpy", "forescale")
SEEDS = (0, 1, 2)
# Norm layers against the total: the size of facts' own check, with LayerNorm and biases as GPT-2 has them.
LARGE = Shape(
    layers=4, width=128, heads=4, vocab=256, norm="layer", gated=False, qkv_bias=True, o_bias=True, ffn_bias=True
)
LARGE_RUN: dict[str, Any] = {"shape": LARGE, "tokens": 400 * 16 * 128, "batch": 16, "peak": 3e-3}
# Schedules: a fixed batch, and ramps that reach it.
PARAMS, TOKENS, SEQ_LEN, FIRST, LAST = 1e5, 1.6e6, 128, 4, 32
PEAKS = (0.004, 0.008, 0.016)
WARMUP, FLOOR = 0.1, 0.1  # nanoGNS's: linear in tokens to a tenth of the peak
POINTS = 40  # held-out measurements of a run


def main() -> None:
    """Every run that is not there yet, then the numbers and the picture."""
    torch.set_num_threads(1)
    ratio = [run(f"ratio-{seed}", seed=seed, **LARGE_RUN) for seed in SEEDS]
    small = shape_for(PARAMS, vocab=256, seq_len=SEQ_LEN)
    arms: dict[str, Any] = {}
    for arm, batch in ARMS.items():
        whole: dict[str, Any] = {"shape": small, "tokens": TOKENS, "batch": batch, "arm": arm}
        tries = {p: run(f"{arm}-{p}-0", peak=p, seed=0, **whole) for p in PEAKS}
        peak = min(tries, key=lambda p: tries[p]["final"])
        arms[arm] = {"peak": peak, "tried": {str(p): tries[p]["final"] for p in PEAKS}}
        arms[arm]["runs"] = [run(f"{arm}-{peak}-{seed}", peak=peak, seed=seed, **whole) for seed in SEEDS]
    write("noise_training", PACKAGES, norm_to_total=regressions(ratio), schedules=compared(arms))
    draw(ratio, arms)


def linear_ramp(tokens: float) -> BatchSchedule:
    """NanoGNS's schedule at this size: an eighth of the batch to all of it, linearly in tokens."""
    return schedule.linear(FIRST, LAST, tokens, SEQ_LEN)


# The last takes as many steps as the ramp: what of the ramp's gain is that of smaller batches.
ARMS = {"fixed": LAST, "linear ramp": LAST, "driven by the meter": LAST, "fixed, as many steps": 14}


def run(name: str, **options: Any) -> dict[str, Any]:
    """A finished run, from the cache or made now."""
    path = CACHE / f"{name.replace(' ', '-')}.json"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = trained(**options)
        path.write_text(json.dumps(made), encoding="utf-8")
        print(name, f"held-out loss {made['final']:.4f} after {made['steps']} steps", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def trained(*, shape: Shape, tokens: float, batch: int, peak: float, seed: int, arm: str = "fixed") -> dict[str, Any]:
    """Train with an exact meter; every step's tokens, batch, loss and noise, and the held-out loss along the way."""
    model = build_model(shape, ModelOptions(), seq_len=SEQ_LEN, seed=seed)
    rules = parametrization("standard", base=Shape(width=shape.width, layers=shape.layers))
    rules.initialize_(model, seed)
    recipe = {"learning_rate": peak, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8}
    optimizer = make_optimizer("adamw", rules.param_groups(model, recipe, optimizer="adamw"))
    rates = [group["lr"] for group in optimizer.param_groups]
    corpus = text()
    batches = Batches(corpus.train, seq_len=SEQ_LEN, seed=seed)
    meter, sizes = Meter(model), Sizes(arm, tokens, batch)
    seen, rows, held = 0, [], []
    while seen < tokens:
        sequences = sizes.at(seen)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor(seen / tokens)
        data = batches.at(seen // SEQ_LEN, sequences)
        objective, loss = model(data[:, :-1], data[:, 1:])
        objective.backward()
        meter.update(batch_size=sequences)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += sequences * SEQ_LEN
        total, norm = meter.noise_scale, meter.norm_scale
        sizes.told(total.value, seen)
        kinds = {kind: each.value for kind, each in meter.per_type().items()}
        rows.append([seen, sequences, float(loss), total.value, norm.value, kinds.get("linear"), total.low, total.high])
        if seen * POINTS // tokens > (seen - sequences * SEQ_LEN) * POINTS // tokens or seen >= tokens:
            held.append([seen, held_out(model, corpus.held_out)])
    return {"steps": len(rows), "final": held[-1][1], "rows": rows, "held_out": held, "changes": sizes.said()}


def factor(progress: float) -> float:
    """Of the peak: warmup, then linear to a tenth, in tokens."""
    if progress < WARMUP:
        return (progress + 1e-3) / (WARMUP + 1e-3)
    return 1 - (1 - FLOOR) * (progress - WARMUP) / (1 - WARMUP)


class Sizes:
    """The sequences of each step: fixed, by a schedule, or by what the meter says."""

    def __init__(self, arm: str, tokens: float, batch: int) -> None:
        self.batch, self.ramp = batch, linear_ramp(tokens) if arm == "linear ramp" else None
        # One sequence per unit of noise scale; growth is by doubling, once it has held for twenty steps.
        self.controller = BatchController(per_noise=1.0, most=batch, patience=20, lr_rule="none")
        self.state = self.controller.start(FIRST) if arm == "driven by the meter" else None

    def at(self, seen: int) -> int:
        """Of the next step."""
        if self.state is not None:
            return self.state.sequences
        return self.batch if self.ramp is None else self.ramp.sequences_at(seen)

    def told(self, noise_scale: float, seen: int) -> None:
        """A step was taken."""
        if self.state is not None:
            self.state = self.controller.next(self.state, noise_scale, seen)

    def said(self) -> list[str]:
        """The changes that the meter drove."""
        return [] if self.state is None else [f"{c.after} at {c.tokens}" for c in self.state.changes]


def text() -> Any:
    return open_corpus(
        DATA / "text-corpora" / "silesia-dickens" / "dickens.gz", errors="replace", held_out=2**18, seq_len=SEQ_LEN
    )


@torch.no_grad()
def held_out(model: Any, tokens: Any) -> float:
    """Mean nats per token of the first sequences that are not trained on."""
    rows = Batches(tokens, seq_len=SEQ_LEN, shuffle=False).at(0, 256)
    return fmean(float(model(part[:, :-1], part[:, 1:]).loss) for part in rows.split(64))


def regressions(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Total on norm-layer noise scale over the last four fifths of steps: slope through the origin, Pearson's r, drift."""
    found = [regression(np.array(each["rows"], dtype=float)) for each in runs]
    return {"runs": found, "mean": {name: fmean(each[name] for each in found) for name in found[0]}}


def regression(rows: Any) -> dict[str, float]:
    """Of one run; `early` and `late` are the median ratios of the first and last third."""
    last = rows[len(rows) // 5 :]
    last = last[np.isfinite(last[:, 3:6]).all(1)]
    total, norm, linear = last[:, 3], last[:, 4], last[:, 5]
    third = len(last) // 3
    return {
        "slope": float(total @ norm / (norm @ norm)),
        "pearson": float(np.corrcoef(total, norm)[0, 1]),
        "linear_slope": float(total @ linear / (linear @ linear)),
        "linear_pearson": float(np.corrcoef(total, linear)[0, 1]),
        "early": float(np.median((total / norm)[:third])),
        "late": float(np.median((total / norm)[-third:])),
        "final_total": float(total[-1]),
    }


def compared(arms: dict[str, Any]) -> dict[str, Any]:
    """Final losses, steps, and the tokens that a schedule saves at the fixed batch's final loss."""
    fixed = [each["final"] for each in arms["fixed"]["runs"]]
    found: dict[str, Any] = {}
    for arm, given in arms.items():
        finals = [each["final"] for each in given["runs"]]
        saved = [saving(each, goal) for each, goal in zip(given["runs"], fixed, strict=True)]
        found[arm] = {
            "peak": given["peak"], "tried": given["tried"], "losses": finals, "mean": fmean(finals), "sd": stdev(finals),
            "against_fixed": fmean(a / b - 1 for a, b in zip(finals, fixed, strict=True)),
            "steps": fmean(each["steps"] for each in given["runs"]), "tokens_saved": saved,
            "changes": [each["changes"] for each in given["runs"]],
        }  # fmt: skip
    return found


def saving(run: dict[str, Any], goal: float) -> float | None:
    """The share of tokens after which a run is where the fixed batch ends, and stays; None where it never is."""
    seen, losses = (np.array(column) for column in zip(*run["held_out"], strict=True))
    below = losses <= goal
    if not below[-1]:
        return None
    first = len(below) - int(np.argmin(below[::-1])) if not below.all() else 0
    if first == 0:
        return 1 - float(seen[0] / seen[-1])
    at = np.interp(goal, losses[[first, first - 1]], seen[[first, first - 1]])
    return 1 - float(at / seen[-1])


def draw(ratio: Sequence[dict[str, Any]], arms: dict[str, Any]) -> None:
    """Norm layers against the total (left), batches (middle), held-out losses over tokens (right)."""
    from matplotlib.figure import Figure

    from forescale.plots import save
    from forescale.plots._parts import BLUE, GREEN, GREY, INK, SMALL, VERMILION

    figure: Any = Figure(figsize=(12.5, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for each, color in zip(ratio, (BLUE, GREEN, VERMILION), strict=True):
        rows = np.array(each["rows"], dtype=float)[80:]
        left.plot(rows[:, 4], rows[:, 3], ".", markersize=2, color=color, alpha=0.6)
    top = max(left.get_xlim()[1], left.get_ylim()[1] / 2)
    for slope in (1, 2):
        left.plot([0, top], [0, slope * top], color=GREY, linewidth=0.8, linestyle="--")
        left.annotate(f"x {slope}", (top, slope * top), fontsize=SMALL, color=GREY, ha="right")
    left.set(xlabel="noise scale of the norm layers (sequences)", ylabel="noise scale of all (sequences)")
    left.set(xlim=(0, None), ylim=(0, None))
    left.set_title("three seeds, a point a step", fontsize=SMALL)
    for (arm, given), color in zip(arms.items(), (INK, BLUE, VERMILION, GREEN), strict=True):
        for i, each in enumerate(given["runs"]):
            rows, held = np.array(each["rows"], dtype=float), np.array(each["held_out"])
            middle.step(rows[:, 0] / 1e6, rows[:, 1], where="pre", color=color, linewidth=1.1, label=None if i else arm)
            right.plot(
                held[:, 0] / 1e6,
                held[:, 1],
                color=color,
                linewidth=1,
                label=None if i else f"{arm}, peak {given['peak']:g}",
            )
    noise = np.array(arms["fixed"]["runs"][0]["rows"], dtype=float)
    middle.plot(
        noise[:, 0] / 1e6, noise[:, 3], color=GREY, linewidth=0.9, linestyle=":", label="noise scale at the fixed batch"
    )
    middle.set(yscale="log", xlabel="million tokens", ylabel="sequences")
    finals = [each["final"] for given in arms.values() for each in given["runs"]]
    right.set(
        xlabel="million tokens", ylabel="held-out loss (nats per token)", ylim=(min(finals) - 0.02, min(finals) + 0.5)
    )
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL)
    for axes in (middle, right):
        axes.legend(fontsize=SMALL, frameon=False)
    save(figure, REPOSITORY / "docs" / "assets" / "noise-training.png")


if __name__ == "__main__":
    main()
