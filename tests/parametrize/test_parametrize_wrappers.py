"""Groups and initial values are the same before and after any wrapping, in one process and in two."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from parametrize_models import NanoGPT, loss_of, tokens
from torch import nn

from forescale.parametrize import parametrization
from forescale.workload import Shape

RECIPE = {"learning_rate": 1e-2, "weight_decay": 0.1}
RULES = parametrization("completep", base=Shape(width=8, depth=1), alpha=0.75)
STEPS = 8


def model_of(tied: bool = False) -> NanoGPT:
    return NanoGPT(16, 2, 2, bias=True, tied=tied)


def described(model: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in g.items() if k != "params"} for g in RULES.param_groups(model, RECIPE)]


def values(model: Any) -> dict[str, torch.Tensor]:
    """Parameters by plain name, whole."""
    from forescale.parametrize._names import plain_name, unwrapped

    return {
        plain_name(n): (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone()
        for n, p in unwrapped(model).named_parameters()
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def reference(tied: bool = False) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    model = model_of(tied)
    RULES.initialize_(model, 5)
    return described(model), values(model)


# --- One process
def checkpointed(model: nn.Module) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

    apply_activation_checkpointing(model, check_fn=lambda m: type(m).__name__ == "GPTBlock")
    return model


def compiled_whole(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def compiled_blocks(model: Any) -> Any:
    for i, block in enumerate(model.transformer["h"]):
        model.transformer["h"][i] = torch.compile(block, backend="eager")
    return model


def both(model: Any) -> Any:
    return compiled_whole(checkpointed(model))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("wrap", [compiled_whole, compiled_blocks, checkpointed, both, nn.DataParallel])
def test_wrapping_changes_nothing(wrap: Any, tied: bool) -> None:
    groups, initial = reference(tied)
    model = wrap(model_of(tied))
    assert described(model) == groups
    RULES.initialize_(model, 5)
    assert same(values(model), initial)
    made = RULES.param_groups(model, RECIPE)
    assert {id(p) for g in made for p in g["params"]} == {id(p) for p in model.parameters()}


# --- Two processes
def train(model: Any, batch: torch.Tensor) -> list[float]:
    optimizer = torch.optim.AdamW(RULES.param_groups(model, RECIPE), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / STEPS)
    losses: list[float] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def sharded(tied: bool, ends: bool = False) -> Any:
    from torch.distributed.fsdp import fully_shard

    model = model_of(tied)
    for block in model.transformer["h"]:
        fully_shard(block)
    if ends:  # as torchtitan does: modules of their own, whose classes get new names
        fully_shard(model.transformer["wte"])
        fully_shard([model.transformer["ln_f"], model.lm_head])
    return fully_shard(model)


def _process(rank: int, port: int, folder: str) -> None:
    """Everything that needs two processes, in one start of them; results as a file a rank."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    batch = tokens(4)[rank::2]  # rows of equal length: the mean over ranks is that over the batch
    found: dict[str, Any] = {}
    for tied in (False, True):
        groups, initial = reference(tied)
        makers = {
            "ddp": lambda tied=tied: DistributedDataParallel(model_of(tied)),
            "fsdp": lambda tied=tied: sharded(tied),
            "fsdp, compiled": lambda tied=tied: compiled_whole(sharded(tied)),
            "fsdp, checkpointed": lambda tied=tied: checkpointed(sharded(tied)),
            **({} if tied else {"fsdp, ends": lambda: sharded(False, ends=True)}),
        }
        for name, make in makers.items():
            model = make()
            found[f"{name}, tied {tied}: groups"] = described(model) == groups
            RULES.initialize_(model, 5)
            found[f"{name}, tied {tied}: values"] = same(values(model), initial)
        for name in ("ddp", "fsdp"):
            model = makers[name]()
            RULES.initialize_(model, 5)
            losses = torch.tensor(train(model, batch))
            dist.all_reduce(losses)
            found[f"{name}, tied {tied}: losses"] = (losses / 2).tolist()
    found["meta"] = _from_meta(reference()[1])
    found["padding"] = _padding()
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _from_meta(initial: dict[str, torch.Tensor]) -> bool:
    with torch.device("meta"):
        model = sharded(False)
    model.to_empty(device="cpu")
    RULES.initialize_(model, 5)
    return same(values(model), initial)


def _padding() -> bool:
    """The padding token's row stays zero on whichever rank it lies."""
    from torch.distributed.fsdp import fully_shard

    plain, split = model_of(), model_of()
    for model in (plain, split):
        model.transformer["wte"].padding_idx = 20
    fully_shard(split)
    for model in (plain, split):
        RULES.initialize_(model, 5)
    whole = values(split)
    return same(values(plain), whole) and not whole["transformer.wte.weight"][20].any()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_process, args=(free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_ddp_and_fsdp2_have_the_same_groups_and_values(two_processes: list[dict[str, Any]]) -> None:
    for found in two_processes:
        checks = {name: ok for name, ok in found.items() if not name.endswith("losses")}
        assert len(checks) == 2 * (5 + 4) + 2
        assert [name for name, ok in checks.items() if not ok] == []


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_train_as_one(two_processes: list[dict[str, Any]], mode: str, tied: bool) -> None:
    model = model_of(tied)
    RULES.initialize_(model, 5)
    alone = train(model, tokens(4))
    assert alone[-1] < alone[0]
    for found in two_processes:
        assert found[f"{mode}, tied {tied}: losses"] == pytest.approx(alone, rel=1e-6)
