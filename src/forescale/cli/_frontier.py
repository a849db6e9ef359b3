"""`forescale frontier`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole, Texts, Whole, whole
from forescale.cli._outputs import check_destinations, write
from forescale.errors import ForescaleError
from forescale.quantities import parse_duration, parse_quantity

if TYPE_CHECKING:
    from forescale.plan.frontier import Cluster, Frontier, Goal


def frontier(
    *,
    loss: Number = None,
    compute: Number = None,
    deadline: str | None = None,
    devices: OptionalWhole = None,
    flops: str | None = None,
    utilisation: Number = None,
    model_parallel: Whole = 1,
    micro_batch: Whole = 1,
    step_overhead: str | None = None,
    seconds_per_step: str | None = None,
    price: Number = None,
    power: Number = None,
    inference_tokens: Number = None,
    weight: float | None = None,
    params: Number = None,
    tokens_per_param: Number = None,
    unique_tokens: Number = None,
    seq_len: Number = None,
    law: Texts = None,
    json: Flag = False,
    picture: OptionalFile = None,
) -> None:
    """Trade training time, compute and loss: the models, tokens and batches that nothing else beats.

    Give a loss (time against compute), a compute budget (time against loss), or a deadline with devices (compute against
    loss); together they are bounds. Numbers accept 7B, 1e22; times 30d, 12h, 45m, 90s or plain seconds.

    Parameters
    ----------
    loss
        Loss to reach, in nats per token of the loss law's corpus.
    compute
        FLOPs at most; with --inference-tokens those of training and serving.
    deadline
        Wall time at most: 30d, 12h.
    devices
        Devices at most (default: as many as the batch can feed).
    flops
        Peak FLOP/s of one device, or a name: a100, h100, h100-pcie, h200, tpu-v5e, tpu-v5p, each dense bf16 (default: h100).
    utilisation
        Share of the peak that 6 N FLOPs a token reach (default 0.4).
    model_parallel
        Devices that share one replica of the model.
    micro_batch
        Sequences that a replica takes at once.
    step_overhead
        Seconds of every step that more devices do not shorten (communication that is not hidden).
    seconds_per_step
        Instead of devices and speed: every step takes this long, whatever the model and the batch.
    price
        Price of one device for an hour, in any currency.
    power
        Watts of one device.
    inference_tokens
        Tokens that the model will serve, at 2 N FLOPs each.
    weight
        Weight of time against compute in the choice, from 0 to 1 (default 0.5).
    params
        Fix the model: its parameters, as the loss law counts them.
    tokens_per_param
        Fix the training tokens per parameter.
    unique_tokens
        Tokens before repetition, for a loss law that knows what repetition costs.
    seq_len
        Tokens per sequence (default 4096).
    law
        NAME or quantity=NAME, repeatable: a law of loss or of critical_batch_tokens, from the catalog or a TOML file.
    json
        Print JSON (schema_version 1).
    picture
        Also draw the frontier on the loss law's contours: a .png, .svg or .pdf file.
    """
    from forescale.plan.frontier import make_frontier

    goal = _goal(locals())
    cluster = _cluster(locals())
    _check_laws(goal.laws)
    check_destinations({"--picture": picture}, [Path(n) for t in goal.laws if (n := _name(t)).endswith(".toml")])
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    made = make_frontier(goal, cluster)
    drawn = None if picture is None else _draw(made, picture)
    _print(made, json=json)
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _goal(options: dict[str, Any]) -> Goal:
    from forescale.plan.frontier import Goal

    names = ("loss", "compute", "inference_tokens", "params", "tokens_per_param", "unique_tokens")
    numbers = {name: _quantity(options[name], name) for name in names}
    length = {} if options["seq_len"] is None else {"seq_len": whole(options["seq_len"], "--seq-len")}
    return Goal(
        **numbers,
        **length,
        deadline=_duration(options["deadline"], "deadline"),
        weight=options["weight"],
        laws=tuple(options["law"] or ()),
    )


def _cluster(options: dict[str, Any]) -> Cluster:
    from forescale.plan.frontier import Cluster

    given: dict[str, Any] = {name: options[name] for name in ("devices", "model_parallel", "micro_batch")}
    if options["flops"] is not None:
        given["flops"] = _speed(options["flops"])
    if options["utilisation"] is not None:
        given["utilisation"] = _quantity(options["utilisation"], "utilisation")
    if options["step_overhead"] is not None:
        given["step_overhead"] = _duration(options["step_overhead"], "step_overhead")
    return Cluster(
        **given,
        seconds_per_step=_duration(options["seconds_per_step"], "seconds_per_step"),
        price=_quantity(options["price"], "price"),
        watts=_quantity(options["power"], "power"),
    )


def _quantity(text: str | None, name: str) -> float | None:
    return None if text is None else parse_quantity(text, _flag(name))


def _duration(text: str | None, name: str) -> float | None:
    return None if text is None else parse_duration(text, _flag(name))


def _speed(text: str) -> float | str:
    """A number, or else the name of a device, which the cluster checks."""
    return parse_quantity(text, "--flops") if text.strip()[:1] in "+-.0123456789" else text


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name(text: str) -> str:
    return text.rpartition("=")[2]


def _check_laws(laws: Sequence[str]) -> None:
    """Refuse a law that is half named or named twice."""
    for text in laws:
        quantity, equals, name = text.rpartition("=")
        if not name or (equals and not quantity):
            raise ForescaleError(f"--law takes NAME or quantity=NAME; got {text!r}.")
        if laws.count(text) > 1:
            raise ForescaleError(f"--law {text} stands there twice: give it once.")


def _draw(made: Frontier, picture: Path) -> bytes:
    from forescale.plots import frontier_figure, picture_bytes

    return picture_bytes(frontier_figure(made), picture)


def _print(made: Frontier, *, json: bool) -> None:
    from forescale.cli import _render_frontier as render

    render.print_json(made) if json else render.print_frontier(made)
    if sys.stdout is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written
