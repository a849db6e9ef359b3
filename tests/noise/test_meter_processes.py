"""Two processes on the CPU: the same norms and noise scale as one process; and the noise scale from processes alone."""

from __future__ import annotations

import multiprocessing
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from one_by_one import Bigram, language, one_by_one
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise import Meter, RankMeter
from forescale.noise._estimate import two_sizes

STEPS, EXAMPLES, LENGTH = 3, 8, 9
CASES = ("ddp", "ddp-inside", "ddp-accumulated", "ddp-view", "fsdp", "fsdp-accumulated", "fsdp-reduced-each-time")


class Model(Bigram):
    """A tied pair, positions, a norm, and linear layers that FSDP shards on their own."""

    def __init__(self) -> None:
        super().__init__("flat", tied=True)
        self.norm = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 6, bias=False))  # type: ignore[assignment]


def made() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Model(), torch.randint(0, 11, (STEPS, EXAMPLES, LENGTH))


def wrapped(case: str, model: nn.Module) -> tuple[nn.Module, Meter]:
    if case.startswith("fsdp"):
        from torch.distributed.fsdp import fully_shard

        fully_shard(model.norm)  # type: ignore[arg-type]
        fully_shard(model)
        return model, Meter(model)
    view, small = case == "ddp-view", 1e-4  # several buckets
    ddp = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=view, bucket_cap_mb=small)
    return ddp, Meter(model if case == "ddp-inside" else ddp)


def passes_of(case: str) -> int:
    return 2 if "accumulated" in case or case in ("ddp-view", "fsdp-reduced-each-time") else 1


def alone(model: nn.Module, last: bool, case: str) -> Any:
    """What a script says so that only the last backward pass reduces gradients."""
    if case == "fsdp-accumulated":
        model.set_requires_gradient_sync(last)  # type: ignore[operator]
    return nullcontext() if last or not case.startswith("ddp") else model.no_sync()  # type: ignore[operator]


def run(case: str, model: nn.Module, meter: Meter, mine: Tensor) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms, passes = [], passes_of(case)
    for step in mine:
        for i, piece in enumerate(step.chunk(passes)):
            with alone(model, i == passes - 1, case):
                (language(model, piece) / passes).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        norms.append(meter.example_norms())
        meter.update(batch_size=EXAMPLES)
        optimizer.step()
        optimizer.zero_grad()
    scale = meter.noise_scale
    layers = {name: found.value for name, found in meter.per_layer().items()}
    return {
        "norms": torch.stack(norms),
        "scale": (scale.value, scale.low, scale.gradient, scale.noise),
        "layers": layers,
    }


def by_processes(mine: Tensor) -> dict[str, Any]:
    """A rank meter on several buckets, with accumulation; and what goes wrong without no_sync."""
    model, _ = made()
    ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=1e-4)
    meter = RankMeter(ddp)
    own = []
    for step in mine:
        for i, piece in enumerate(step.chunk(2)):
            with nullcontext() if i else ddp.no_sync():
                (language(ddp, piece) / 2).backward()
        meter.update(batch_size=EXAMPLES)
        grads = [p.grad.double() for p in ddp.parameters() if p.grad is not None]
        plain, _ = made()
        language(plain, step).backward()
        before = [p.grad for p in plain.parameters() if p.grad is not None]
        own.append([sum(float(g.double().square().sum()) for g in kept) for kept in (before, grads)])
        ddp.zero_grad()
    found: dict[str, Any] = {"own": own, "rows": [row[0].tolist() for row in meter._averages._rows]}
    for piece in mine[0].chunk(2):
        language(ddp, piece).backward()
    found["twice"] = message(lambda: meter.update(batch_size=EXAMPLES))
    found["none"] = message(lambda: meter.update(batch_size=EXAMPLES))
    found["hooked"] = message(lambda: RankMeter(ddp))
    meter.close()
    language(ddp, mine[0]).backward()
    found["closed"] = meter._passes
    return found


def message(call: Any) -> str:
    try:
        call()
    except ForescaleError as error:
        return str(error)
    return ""


def one_rank(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in world.items()})
    torch.distributed.init_process_group("gloo")
    found: dict[str, Any] = {}
    for case in CASES:
        model, tokens = made()
        whole, meter = wrapped(case, model)
        found[case] = run(case, whole, meter, tokens.chunk(2, 1)[rank])
        meter.close()
    found["by-processes"] = by_processes(made()[1].chunk(2, 1)[rank])
    found["sharded-later"] = sharded_later()
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def sharded_later() -> str:
    """A meter that was made before the model was sharded holds parameters that are gone."""
    from torch.distributed.fsdp import fully_shard

    model, tokens = made()
    meter = Meter(model)
    fully_shard(model)
    language(model, tokens[0]).backward()
    return message(lambda: meter.update(batch_size=2 * EXAMPLES))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=one_rank, args=(rank, port, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def by_one() -> dict[str, Any]:
    model, tokens = made()
    with Meter(model) as meter:
        return run("one", model, meter, tokens)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case: str, found: list[dict[str, Any]], by_one: dict[str, Any]) -> None:
    norms = torch.cat([rank[case]["norms"] for rank in found], 1)
    torch.testing.assert_close(norms, by_one["norms"], rtol=1e-4, atol=0)  # steps drift apart by float32's rounding
    for rank in found:
        assert rank[case]["scale"] == pytest.approx(by_one["scale"], rel=1e-3)
        assert rank[case]["layers"] == pytest.approx(by_one["layers"], rel=1e-3)


def test_the_first_steps_norms_are_exact(found: list[dict[str, Any]]) -> None:
    model, tokens = made()
    expected = one_by_one(model, tokens[0], language)
    for case in CASES:
        first = torch.cat([rank[case]["norms"][0] for rank in found])
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=0)


def test_the_noise_scale_from_processes(found: list[dict[str, Any]]) -> None:
    ranks = [rank["by-processes"] for rank in found]
    for step in range(STEPS):
        small = sum(rank["own"][step][0] for rank in ranks) / 2  # by a plain backward pass of each half
        big = ranks[0]["own"][step][1]
        for rank in ranks:
            assert rank["rows"][step] == pytest.approx(two_sizes(small, big, EXAMPLES / 2, EXAMPLES), rel=1e-5)


def test_what_a_rank_meter_refuses(found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert "got 2: put all but" in rank["by-processes"]["twice"]
        assert "got 0" in rank["by-processes"]["none"]
        assert "communication hook" in rank["by-processes"]["hooked"]
        assert rank["by-processes"]["closed"] == 0
    with pytest.raises(ForescaleError, match="DistributedDataParallel; got Linear"):
        RankMeter(nn.Linear(2, 2))


def test_a_meter_comes_after_sharding(found: list[dict[str, Any]]) -> None:
    assert all("fully_shard" in rank["sharded-later"] for rank in found)
