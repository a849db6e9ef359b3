"""Groups are plain dicts: any optimizer takes them, any scheduler that scales keeps them, any recipe makes them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from parametrize_models import NanoGPT, Titan, loss_of, on_meta, tokens
from torch.optim import lr_scheduler

from forescale import Request, make_plan
from forescale.errors import ForescaleError
from forescale.parametrize import check_learning_rates, parametrization
from forescale.workload import Shape, Workload

BASE = Shape(width=8, depth=1)
RECIPE = {"learning_rate": 1e-2, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8}
COMPLETEP = parametrization("completep", base=BASE)


def made(optimizer: str = "adamw", rules: Any = COMPLETEP, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    model = NanoGPT(16, 2, 2, bias=True)
    rules.initialize_(model, 0)
    return model, rules.param_groups(model, RECIPE, optimizer=optimizer, **options)


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: group for group in groups for name in group["param_names"]}


# --- Every optimizer
def adamw_fused(groups: Any) -> Any:
    return torch.optim.AdamW(groups, fused=True)


def lion(groups: Any) -> Any:
    from lion_pytorch import Lion

    return Lion(groups)


def schedule_free(groups: Any) -> Any:
    from schedulefree import AdamWScheduleFree

    # It has one beta of its own for the average, and calls it betas[0].
    optimizer = AdamWScheduleFree(groups, warmup_steps=2)
    optimizer.train()
    return optimizer


def ours(name: str) -> Any:
    from forescale.optimizers import make_optimizer

    return lambda groups: make_optimizer(name, groups)


OPTIMIZERS = {
    "torch AdamW": (torch.optim.AdamW, "adamw", COMPLETEP),
    "torch AdamW fused": (adamw_fused, "adamw", COMPLETEP),
    "torch Adafactor": (
        torch.optim.Adafactor,
        "adafactor",
        parametrization("everett", base=BASE, optimizer="adafactor"),
    ),
    "torch SGD": (torch.optim.SGD, "sgd", parametrization("everett", base=BASE, optimizer="sgd")),
    "Lion": (lion, "lion", COMPLETEP),
    "schedule-free AdamW": (schedule_free, "adamw", COMPLETEP),
    "our AdamW": (ours("adamw"), "adamw", COMPLETEP),
    "our Adam-atan2": (ours("adam-atan2"), "adam-atan2", COMPLETEP),
    "our Muon": (ours("muon"), "muon", COMPLETEP),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_take_the_groups_as_they_are(name: str) -> None:
    make, kind, rules = OPTIMIZERS[name]
    model, groups = made(kind, rules)
    optimizer = make(groups)
    for mine, theirs in zip(groups, optimizer.param_groups, strict=True):
        assert {k: theirs[k] for k in mine if k not in ("params", "lr")} == {
            k: mine[k] for k in mine if k not in ("params", "lr")
        }
        assert theirs["lr"] == pytest.approx(RECIPE["learning_rate"] * theirs["lr_scale"])
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    first = loss_of(model, tokens()).item()
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(model, tokens()).backward()
        optimizer.step()
    assert loss_of(model, tokens()).item() < first
    assert all(not torch.equal(start[n], p) for n, p in model.named_parameters())
    assert check_learning_rates(optimizer) == pytest.approx(RECIPE["learning_rate"])


@pytest.mark.parametrize("name", ["torch AdamW", "our AdamW", "our Muon", "our Adam-atan2"])
def test_a_state_dict_goes_around(name: str) -> None:
    make, kind, rules = OPTIMIZERS[name]
    model, groups = made(kind, rules)
    optimizer = make(groups)
    loss_of(model, tokens()).backward()
    optimizer.step()
    saved = optimizer.state_dict()
    again = make(rules.param_groups(model, {**RECIPE, "learning_rate": 5e-3}, optimizer=kind))
    again.load_state_dict(saved)
    settings = ("lr", "lr_scale", "weight_decay", "param_names")
    for a, b in zip(optimizer.param_groups, again.param_groups, strict=True):
        assert [a[k] for k in settings] == [b[k] for k in settings]
    assert check_learning_rates(again) == pytest.approx(1e-2)


def test_torchs_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model, groups = made("muon")
    matrices = [g for g in groups if g["optimizer"] == "muon"]
    rest = [g for g in groups if g["optimizer"] == "adamw"]
    names = {n for g in matrices for n in g["param_names"]}
    assert names == {n for n, p in model.named_parameters() if ".h." in n and p.ndim == 2}
    assert not any("eps" in g or "betas" in g for g in matrices)
    assert all("eps" in g and "betas" in g for g in rest)
    optimizers = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw"), torch.optim.AdamW(rest)
    loss_of(model, tokens()).backward()
    for optimizer in optimizers:
        optimizer.step()
        assert check_learning_rates(optimizer) == pytest.approx(1e-2)


def test_muons_rates_go_with_the_root_of_the_width() -> None:
    """At RMS-matched updates of full rank, |dW| in spectral norm is lr sqrt(width): constant for lr ~ width^-1/2."""
    wide = parametrization("mup", base=Shape(width=4, depth=2))
    group = by_name(made("muon", wide)[1])["transformer.h.0.mlp.c_fc.weight"]
    assert group["lr_scale"] == pytest.approx(4**-0.5)
    assert group["lr_scale"] * group["weight_decay"] == pytest.approx(RECIPE["weight_decay"])
    plain = by_name(made("muon", parametrization("standard", base=Shape(width=4, depth=2)))[1])
    assert {group["lr_scale"] for group in plain.values()} == {1.0}  # every tensor alike


def test_muon_leaves_stacks_of_experts_and_routers_to_adamw() -> None:
    groups = COMPLETEP.param_groups(on_meta(Titan, experts=3), RECIPE, optimizer="muon")
    chosen = {n for g in groups if g["optimizer"] == "muon" for n in g["param_names"]}
    assert chosen
    assert not any("experts.w" in n or "router" in n for n in chosen if "shared" not in n)


@pytest.mark.parametrize(
    ("rules", "optimizer", "message"),
    [
        (COMPLETEP, "sgd", "completep states rates for adam-like updates; sgd is not one"),
        (COMPLETEP, "adafactor", "adafactor is not one"),
        (parametrization("everett", base=BASE, optimizer="sgd"), "adamw", "everett states rates for sgd-like updates"),
        (parametrization("u-mup", base=BASE), "muon", "muon's rates are derived from muP's"),
        (parametrization("everett", base=BASE), "muon", "muon's rates are derived from muP's"),
        (parametrization("supar", base=BASE, density=0.5), "muon", "for dense matrices"),
        (COMPLETEP, "adamm", "optimizer must be one of adamw"),
    ],
)
def test_an_optimizer_that_the_rules_are_not_for(rules: Any, optimizer: str, message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        made(optimizer, rules)


def test_the_standard_scheme_suits_any_optimizer() -> None:
    _, groups = made("sgd", parametrization("standard", base=BASE))
    assert {g["lr_scale"] for g in groups} == {1.0}
    assert len(groups) == 2  # decayed and not


# --- What the groups hold
def test_groups_are_few_and_each_parameter_is_in_one() -> None:
    model = on_meta(NanoGPT, 32, 12, 4, bias=True)
    groups = COMPLETEP.param_groups(model, RECIPE)
    # embeddings, unembedding, norms of blocks, first and last matrices and biases, final norm
    assert len(groups) <= 9
    names = [n for g in groups for n in g["param_names"]]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())
    for group in groups:
        assert [id(p) for p in group["params"]] == [id(model.get_parameter(n)) for n in group["param_names"]]
        assert group["lr"] == group["lr_scale"] * RECIPE["learning_rate"]


def test_norms_and_biases_are_not_decayed_and_embeddings_only_if_asked() -> None:
    for decay in (True, False):
        groups = by_name(made(decay_embeddings=decay)[1])
        for name, group in groups.items():
            plain = "ln_" in name or name.endswith("bias") or (not decay and ("wte" in name or "wpe" in name))
            assert (group["weight_decay"] == 0) == plain, name


def test_groups_of_two_recipes_differ_in_the_recipe_alone() -> None:
    one, other = (COMPLETEP.param_groups(on_meta(NanoGPT), {**RECIPE, "learning_rate": lr}) for lr in (1e-2, 2e-2))
    for a, b in zip(one, other, strict=True):
        assert b["lr"] == pytest.approx(2 * a["lr"])
        assert [a[k] for k in ("lr_scale", "weight_decay", "eps", "betas", "param_names")] == [
            b[k] for k in ("lr_scale", "weight_decay", "eps", "betas", "param_names")
        ]


# --- Recipes
def test_a_plans_recipe_is_read() -> None:
    plan = make_plan(Workload(params=1e9, tokens=20e9, seq_len=2048), Request())
    model = on_meta(NanoGPT)
    groups = by_name(COMPLETEP.param_groups(model, plan))
    recipe = plan.recipe
    embedding = groups["transformer.wte.weight"]
    assert embedding["lr"] == recipe.learning_rate.value
    assert embedding["betas"] == (recipe.beta1.value, recipe.beta2.value)
    assert embedding["weight_decay"] == recipe.weight_decay.value
    assert COMPLETEP.param_groups(model, recipe)[0]["lr"] == embedding["lr"]


def test_decay_by_a_law_and_complete_d_p_are_not_put_on_top_of_each_other() -> None:
    """Facts 8.3: both carry the timescale over to other tokens, and they disagree."""
    plan = make_plan(Workload(params=1e9, tokens=20e9, seq_len=2048), Request())
    rules = parametrization("completed-p", base=BASE, tokens_ratio=4)
    with pytest.raises(ForescaleError, match="already that of its own batch and tokens"):
        rules.param_groups(on_meta(NanoGPT), plan)
    assert rules.param_groups(on_meta(NanoGPT), RECIPE)
    assert parametrization("completed-p", base=BASE).param_groups(on_meta(NanoGPT), plan)
    own = replace(plan.recipe, weight_decay=replace(plan.recipe.weight_decay, law="user"))
    assert rules.param_groups(on_meta(NanoGPT), own)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "needs learning_rate"),
        ({"weight_decay": 0.1}, "needs learning_rate; got weight_decay"),
        ({"learning_rate": 0}, "learning_rate must be finite and above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number"),
        ({"learning_rate": 1e-3, "beta1": 1.0}, "beta1 must be from 0 to below 1"),
        ({"learning_rate": 1e-3, "weight_decay": -1}, "weight_decay must be finite, 0 or more"),
        ({"learning_rate": 1e-3, "momentum": 0.9}, "a recipe has learning_rate"),
        ("fast", "a recipe is a forescale Recipe"),
        (None, "a recipe is a forescale Recipe"),
    ],
)
def test_bad_recipes_are_refused(recipe: Any, message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        COMPLETEP.param_groups(on_meta(NanoGPT), recipe)


def test_other_spellings_of_a_recipe() -> None:
    long = COMPLETEP.param_groups(on_meta(NanoGPT), RECIPE)
    short = COMPLETEP.param_groups(on_meta(NanoGPT), {"lr": 1e-2, "wd": 0.1, "betas": (0.9, 0.95), "eps": 1e-8})
    assert [{k: v for k, v in g.items() if k != "params"} for g in long] == [
        {k: v for k, v in g.items() if k != "params"} for g in short
    ]
    assert COMPLETEP.param_groups(on_meta(NanoGPT), 1e-2)[0]["lr"] == long[0]["lr"]


# --- Schedulers
def optimizer_of() -> torch.optim.Optimizer:
    return torch.optim.AdamW(made()[1])


def stepped(optimizer: Any, scheduler: Any, steps: int = 6) -> None:
    for _ in range(steps):
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 - t / 10),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 10),
        lambda o: lr_scheduler.OneCycleLR(o, [g["lr"] for g in o.param_groups], total_steps=10, cycle_momentum=False),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
        ),
    ],
    ids=["LambdaLR", "CosineAnnealingLR to 0", "LinearLR", "OneCycleLR, a maximum a group", "SequentialLR"],
)
def test_schedulers_that_scale_pass(make: Any) -> None:
    optimizer = optimizer_of()
    scheduler = make(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's own use of a deprecated argument
        stepped(optimizer, scheduler)
    factor = check_learning_rates(optimizer) / RECIPE["learning_rate"]
    assert 0 < factor <= 1
    assert check_learning_rates(optimizer.param_groups) == check_learning_rates(optimizer)


def test_the_factor_is_the_schedules() -> None:
    optimizer = optimizer_of()
    stepped(optimizer, lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / 10), 4)
    assert check_learning_rates(optimizer) == pytest.approx(0.6 * RECIPE["learning_rate"])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, 10, eta_min=1e-3),
        lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=10, cycle_momentum=False),
        lambda o: lr_scheduler.CyclicLR(o, 1e-4, 1e-2, step_size_up=3, cycle_momentum=False),
    ],
    ids=["CosineAnnealingLR to a floor", "OneCycleLR, one maximum", "CyclicLR"],
)
def test_schedulers_that_set_are_detected(make: Any) -> None:
    optimizer = optimizer_of()
    stepped(optimizer, make(optimizer))
    with pytest.raises(ForescaleError, match="a scheduler must scale the rate of each group"):
        check_learning_rates(optimizer)


def test_a_loop_that_sets_one_rate_is_detected() -> None:
    optimizer = optimizer_of()
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    with pytest.raises(ForescaleError, match=r"0\.001 where 1 x the recipe's was asked"):
        check_learning_rates(optimizer)


def test_groups_from_elsewhere_have_no_scale() -> None:
    with pytest.raises(ForescaleError, match=r"groups \[0\] have none"):
        check_learning_rates(torch.optim.AdamW(NanoGPT().parameters(), lr=1e-3))


# --- The table
def test_the_table_shows_every_tensor_with_a_recipes_numbers() -> None:
    model = on_meta(NanoGPT, 16, 2, 2, bias=True)
    table = COMPLETEP.table(model, RECIPE)
    groups = by_name(COMPLETEP.param_groups(model, RECIPE))
    assert [row.name for row in table.rows] == [n for n, _ in model.named_parameters()]
    for row in table.rows:
        group = groups[row.name]
        assert (row.learning_rate, row.weight_decay, row.epsilon) == pytest.approx(
            (group["lr"], group["weight_decay"], group["eps"])
        )
        assert row.shape == tuple(model.get_parameter(row.name).shape)
    text = str(table)
    assert text.startswith(
        "completep [Dey et al. 2025, 2505.01618, Table 1]: base width 8, depth 1; model width 16 (x 2)"
    )
    assert "transformer.h.*.attn.c_proj.weight" in text
    assert "16 x 16 (2 times)" in text
    assert "takes over the residual multiplier" in text
    assert len(text.splitlines()) == 2 + 17
    assert table.to_json()["rows"][0]["role"] == "embedding"
    factors = COMPLETEP.table(model).rows[4]
    assert factors.learning_rate == pytest.approx(table.rows[4].learning_rate / RECIPE["learning_rate"])


def test_the_table_says_that_the_head_size_is_taken_to_be_the_models() -> None:
    assert "head size is taken to be the model's" in str(COMPLETEP.table(on_meta(NanoGPT)))
    said = parametrization("completep", base=Shape(width=8, depth=1, head_dim=8))
    assert "head size" not in str(said.table(on_meta(NanoGPT)))


def test_unknown_attributes_of_the_package() -> None:
    import forescale.parametrize as module

    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = module.magic  # type: ignore[attr-defined]
