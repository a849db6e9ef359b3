"""The page that a tuning ends with: what was run, what was learnt, the recipe, and how close it came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize_duration
from forescale.report._carry_over import commands, exports, reasons_table, recipe_table, unsaid
from forescale.report._cells import cell_name, setting
from forescale.report._parts import (
    QUANTITIES,
    Figure,
    Number,
    Row,
    Table,
    count,
    facts,
    figure,
    number,
    percent,
    render,
)

if TYPE_CHECKING:
    from forescale.fit.calibrate import Estimate
    from forescale.sweep.store import Entry
    from forescale.sweep.tune import Round, Try, Tuned, Verified

CHOSEN = ("learning_rate", "batch_tokens")  # what tuning finds


def tune_report(tuned: Tuned, *, command: str = "", runs_file: str = "runs.csv") -> str:
    """A self-contained page of HTML about a tuning, and what to do with it; it loads nothing.

    `command` is the command line that made it, `runs_file` the file of its proxies that the commands on the page name.
    """
    return render(
        "tune.html",
        title=f"Tuned: {cell_name(tuned.target.workload)}",
        tuned=tuned,
        at=cell_name(tuned.target.workload),
        choices=list(_choices(tuned)),
        gaps=[percent(100 * seen.loss_gap) for seen in (tuned.calibration.before, tuned.calibration.after)],
        cost=_cost(tuned),
        close=_close(tuned),
        warnings=[*tuned.calibration.warnings, *tuned.notes],
        recipe=recipe_table(tuned),
        reasons=reasons_table(tuned),
        commands=commands(tuned, runs_file),
        unsaid=unsaid(tuned.run.config),
        command=command,
        rounds=[_round(tuned, each) for each in tuned.rounds],
        panels=list(_panels(tuned)),
        learnt=_learnt(tuned),
        belief_figure=_belief_figure(tuned),
        gap_figure=_gap_figure(tuned),
        target_figure=_target_figure(tuned),
        tries=_tries(tuned),
        best=_best(tuned),
        missed=_missed(tuned),
        exports=list(exports(tuned)),
        conditions=_conditions(tuned),
    )


def _choices(tuned: Tuned) -> Iterator[tuple[Number, Number, Number]]:
    """What was chosen, and between what the best lies."""
    for quantity in CHOSEN:
        chosen = getattr(tuned.run.recipe, quantity).number
        low, high = (setting(quantity, end) for end in tuned.interval(quantity))
        yield setting(quantity, chosen), low, high


def _cost(tuned: Tuned) -> dict[str, Number]:
    entries = [entry for each in tuned.rounds for entry in each.entries]
    return {
        "proxies": number(len(entries), "{:,.0f}"),
        "share": number(100 * tuned.spent / tuned.target.compute, "{:.3g}"),
        "compute": number(tuned.target.compute, "{:.3g}"),
    }


def _close(tuned: Tuned) -> dict[str, Any] | None:
    """How close the prediction came, in the numbers of the verdict; None where the target was not run."""
    if tuned.loss is None:
        return None
    if tuned.verified is None:
        return {"loss": _loss(tuned.loss), "gap": None, "published": None}
    verified = tuned.verified
    return {
        "loss": _loss(verified.predicted.loss),
        "gap": percent(100 * verified.gap) if math.isfinite(verified.gap) else None,
        "others": number(len(verified.others), "{:.0f}"),
        "lowest": _loss(verified.lowest.loss),
        "at": [setting(quantity, getattr(verified.lowest, quantity)) for quantity in CHOSEN],
        "published": None if verified.published_gap is None else _gap(verified.published_gap),
        "predicted_is_lowest": verified.lowest is verified.predicted,
    }


def _loss(loss: float) -> str | Number:
    return number(loss, "{:.4f}") if math.isfinite(loss) else "diverged" if math.isinf(loss) else ""


def _gap(gap: float) -> str | Number:
    return percent(100 * gap) if math.isfinite(gap) else "diverged" if math.isinf(gap) else ""


def _round(tuned: Tuned, each: Round) -> Table:
    share, gap = 100 * each.compute / tuned.target.compute, 100 * each.after.loss_gap
    caption = (
        f"Round {each.number}: {len(each.entries)} proxies, {each.losses} of them with a loss, {share:.3g} % of the target's "
        f"compute; the expected gap was then {gap:.3f} %."
    )
    head = (
        *("run", "parameters", "tokens", "learning rate", "batch (tokens)", "seed", "loss (nats per token)", "state"),
        *("compute (% of the target's)", "seconds"),
    )
    rows = [_proxy(tuned.target.compute, entry) for entry in each.entries]
    return Table(caption=caption, head=head, rows=rows)


def _proxy(target: float, entry: Entry) -> Row:
    row, outcome = entry.job.row, entry.outcome
    seconds = None if outcome is None else outcome.row.get("seconds")
    problem = "" if outcome is None or not outcome.problem else f": {outcome.problem}"
    return (
        entry.key,
        count(row["params"]),
        count(row["tokens"]),
        number(row["learning_rate"], "{:.3g}"),
        count(row["batch_tokens"]),
        number(row["seed"], "{:.0f}"),
        _loss(outcome.loss) if outcome is not None and entry.state == "done" else "",
        f"{entry.state}{problem}",
        number(100 * entry.job.compute / target, "{:.3g}"),
        "" if seconds is None else number(float(seconds), "{:.1f}"),
    )


def _panels(tuned: Tuned) -> Iterator[Figure]:
    from forescale.plots import tuning_runs_charts

    for i, drawn in enumerate(tuning_runs_charts(tuned)):
        cell, _, runs = drawn.get_title(loc="left").partition("\n")
        yield figure(drawn, f"cell{i}", f"Loss over learning rate of the proxies with {cell}: {runs}.")


def _learnt(tuned: Tuned) -> Table:
    """What was known of the target's optimum before the proxies and after each round."""
    known = [("before the proxies", 0.0, tuned.calibration.before)]
    for each in tuned.rounds:
        known.append((f"after round {each.number}", known[-1][1] + each.compute, each.after))
    rows: list[Row] = [
        (
            name,
            number(100 * spent / tuned.target.compute, "{:.3g}"),
            *_estimated("learning_rate", seen.learning_rate),
            *_estimated("batch_tokens", seen.batch_tokens),
            percent(100 * seen.loss_gap),
        )
        for name, spent, seen in known
    ]
    ends = ("80 % low", "80 % high")
    head = (
        *("", "compute spent (% of the target's)", "best learning rate", *ends, "best batch (tokens)", *ends),
        "loss gap to expect (%)",
    )
    return Table(caption=f"What was known of the optimum at {cell_name(tuned.target.workload)}.", head=head, rows=rows)


def _estimated(quantity: str, seen: Estimate) -> tuple[Number, ...]:
    return tuple(setting(quantity, value) for value in (seen.value, seen.low, seen.high))


def _belief_figure(tuned: Tuned) -> Figure:
    from forescale.plots import tuning_belief_map

    rate, batch = (text.text for text, _, _ in _choices(tuned))
    alt = (
        f"Where the best learning rate and batch of the target lie, before the proxies and after each round; the recipe has "
        f"{rate} and {batch} tokens, and other laws stand around it."
    )
    return figure(tuning_belief_map(tuned), "belief", alt)


def _gap_figure(tuned: Tuned) -> Figure | None:
    from forescale.plots import tuning_gap_chart

    if not tuned.rounds:
        return None
    gaps = ", ".join(f"{100 * each.after.loss_gap:.3f} %" for each in tuned.rounds)
    alt = f"The loss gap to expect: {100 * tuned.calibration.before.loss_gap:.3f} % before the proxies, then {gaps}."
    return figure(tuning_gap_chart(tuned), "gap", alt)


def _target_figure(tuned: Tuned) -> Figure | None:
    from forescale.plots import tuning_target_chart

    if tuned.verified is None:
        return None
    alt = f"Loss over learning rate of {1 + len(tuned.verified.others)} runs of the target; the prediction is a star."
    return figure(tuning_target_chart(tuned), "target", alt)


def _tries(tuned: Tuned) -> Table | None:
    """The target's runs, from the lowest loss."""
    verified = tuned.verified
    if verified is None:
        return None
    tries = sorted((verified.predicted, *verified.others), key=lambda each: each.loss)
    rows = [_try(each, verified) for each in tries]
    head = ("run of the target", "learning rate", "batch (tokens)", "seed", "loss (nats per token)", "gap (%)")
    caption = "The runs of the target, from the lowest loss; gaps are to the lowest, whose luck is in them."
    strong = [i for i, each in enumerate(tries) if each is verified.predicted]
    return Table(caption=caption, head=head, rows=rows, strong=strong)


def _best(tuned: Tuned) -> dict[str, list[Number]]:
    """The optimum that the target's runs say, and its interval."""
    if (verified := tuned.verified) is None:
        return {}
    found = zip(("rate", "batch"), CHOSEN, verified.best, verified.interval, strict=True)
    return {name: [setting(quantity, v) for v in (value, *ends)] for name, quantity, value, ends in found}


def _missed(tuned: Tuned) -> list[str]:
    """What lies outside the interval that was predicted for it, by the target's runs."""
    best = () if tuned.verified is None else tuned.verified.best
    ends = [(quantity, value, tuned.interval(quantity)) for quantity, value in zip(CHOSEN, best, strict=False)]
    return [QUANTITIES[quantity] for quantity, value, (low, high) in ends if not low <= value <= high]


def _try(each: Try, verified: Verified) -> Row:
    names = ((verified.predicted, "the prediction"), (verified.published, "published Step Law"))
    return (
        next((name for run, name in names if run is each), "around it"),
        *(setting(quantity, getattr(each, quantity)) for quantity in CHOSEN),
        number(each.seed, "{:.0f}"),
        _loss(each.loss),
        _gap(each.loss / verified.lowest.loss - 1) if math.isfinite(each.loss) else "",
    )


def _conditions(tuned: Tuned) -> list[Table]:
    return [
        facts("What was trained, and on what; proxies and target share it.", _workload(tuned)),
        facts("What it cost, and why it ended.", _spent(tuned)),
        facts("Where the proxies ran.", _machines(tuned)),
    ]


def _workload(tuned: Tuned) -> Iterator[tuple[str, str | Number]]:
    config, corpora = tuned.run.config, _said(tuned, "corpus")
    yield "data", ", ".join(config.data) or "the sources of Python's standard library"
    yield "tokenizer", config.tokenizer
    for name in ("train_tokens", "held_out_tokens", "fingerprint"):
        if values := corpora.get(name):
            yield f"{name.replace('_', ' ')} of the data", ", ".join(values)
    yield "sequence length", f"{config.seq_len:,} tokens"
    yield "optimizer", config.optimizer
    yield "parametrization", config.scheme
    yield "shape of the target", f"{config.shape.layers} layers, width {config.shape.width}, {config.shape.heads} heads"


def _spent(tuned: Tuned) -> Iterator[tuple[str, str | Number]]:
    yield "budget", tuned.budget.text()
    yield "budget (FLOPs)", number(tuned.allowed, "{:.4g}")
    yield "planned for the proxies (FLOPs)", number(tuned.spent, "{:.4g}")
    yield "one run of the target (FLOPs)", number(tuned.target.compute, "{:.4g}")
    yield "no more rounds, because", tuned.ended
    if tuned.speed is not None:
        yield "FLOPs a second, over all workers", number(tuned.speed, "{:.3g}")
        yield "a run of the target at that speed", humanize_duration(tuned.target.compute / tuned.speed)


def _machines(tuned: Tuned) -> Iterator[tuple[str, str | Number]]:
    for part in ("machine", "versions"):
        for name, values in _said(tuned, part).items():
            yield name, ", ".join(values)


def _said(tuned: Tuned, part: str) -> dict[str, list[str]]:
    """What the proxies' results say of the data, the machine or the versions: name -> distinct values."""
    found: dict[str, dict[str, None]] = {}
    for entry in (entry for each in tuned.rounds for entry in each.entries):
        said: Any = {} if entry.outcome is None else entry.outcome.row.get(part)
        if isinstance(said, Mapping):
            for name, value in said.items():  # pyright: ignore[reportUnknownVariableType]
                shown = f"{value:,}" if isinstance(value, int) else str(value)  # pyright: ignore[reportUnknownArgumentType]
                found.setdefault(str(name), {})[shown] = None  # pyright: ignore[reportUnknownArgumentType]
    return {name: list(values) for name, values in found.items()}
