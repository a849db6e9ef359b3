"""Absorbed multipliers are the explicit ones: the same function at every step, for models whose forward is left alone.

The explicit side knows nothing of the package: CompleteP's table (2505.01618, Table 1) written out here for each name, its
multipliers put into the forward by hooks on the branches and on the logits (facts 3.3, the exact equivalence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import pytest
import torch
from parametrize_models import NanoGPT, hugging_face, loss_of, tokens
from torch import Tensor, nn

from forescale.parametrize import Rules, absorb, parametrization
from forescale.parametrize._factors import Factors
from forescale.workload import Shape

ALPHA, WIDE, DEEP = 0.75, 2.0, 3.0  # m_N and m_L of every model below
BASE = Shape(width=12, depth=1)
RECIPE = {"learning_rate": 4e-3, "weight_decay": 0.3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-3}
STEPS = 50


def times(c: float) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        del module, args
        return (output[0] * c, *output[1:]) if isinstance(output, tuple) else output * c

    return hook


def with_multipliers(model: nn.Module, branches: Callable[[nn.Module], Iterable[nn.Module]], head: str) -> nn.Module:
    """A copy that multiplies branches by m_L^-alpha and logits by 1 / m_N in its forward."""
    copy = deepcopy(model)
    for branch in branches(copy):
        branch.register_forward_hook(times(DEEP**-ALPHA))
    copy.get_submodule(head).register_forward_hook(times(1 / WIDE))
    return copy


Cell = tuple[float, float, float]  # of learning rate, decay and epsilon


def table_1(name: str, shape: torch.Size, unembedding_eps: float = 1 / WIDE) -> Cell:
    """CompleteP's Table 1, end points' epsilon as in facts 3.3; a router's and a head's norm as the package states them."""
    depth, eps = DEEP ** (ALPHA - 1), DEEP**-ALPHA / WIDE
    if any(part.isdigit() for part in name.split(".")):
        if len(shape) > 1 and "bias" not in name:
            return depth / WIDE, WIDE, eps * WIDE if "gate.weight" in name else eps
        return depth, 0, eps
    if name in ("lm_head.weight", "embed_out.weight"):
        return 1, 1, unembedding_eps
    if len(shape) > 1:
        return 1, 1, 1 / WIDE
    return 1, 0, 1


def by_hand(model: nn.Module, **mistake: float) -> list[dict[str, Any]]:
    cells: dict[Cell, list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        cells.setdefault(table_1(name, p.shape, **mistake), []).append(p)
    return [
        {"params": parameters, "lr": lr * RECIPE["learning_rate"], "weight_decay": wd * RECIPE["weight_decay"]}
        | {"eps": eps * RECIPE["epsilon"], "betas": (RECIPE["beta1"], RECIPE["beta2"])}
        for (lr, wd, eps), parameters in cells.items()
    ]


@torch.no_grad()
def undo(rules: Rules, plain: nn.Module, explicit: nn.Module) -> None:
    """Explicit initial values: those of the plain model before multipliers."""
    ours = {rule.tensor.name: rule.absorbed for rule in rules.rules(plain)}
    other = dict(explicit.named_parameters())
    for name, p in plain.named_parameters():
        other[name].copy_(p / ours[name])


def trajectory(model: nn.Module, groups: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Losses of 50 steps on changing batches under a schedule of warmup and decay, and the last logits."""
    optimizer = torch.optim.AdamW(groups, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min((t + 1) / 5, 1 - t / STEPS))
    losses: list[Tensor] = []
    for step in range(STEPS):
        loss = loss_of(model, tokens(2, step % 7))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.detach())
    with torch.no_grad():
        out = model(tokens(4, 99))
    return torch.stack(losses), out if isinstance(out, Tensor) else out.logits


def llama_branches(model: Any) -> list[nn.Module]:
    return [m for layer in model.model.layers for m in (layer.self_attn, layer.mlp)]


def gpt_branches(model: Any) -> list[nn.Module]:
    return [m for block in model.transformer["h"] for m in (block.attn, block.mlp)]


def gpt2_branches(model: Any) -> list[nn.Module]:
    return [m for block in model.transformer.h for m in (block.attn, block.mlp)]


def olmo_branches(model: Any) -> list[nn.Module]:
    return [
        m for layer in model.model.layers for m in (layer.post_attention_layernorm, layer.post_feedforward_layernorm)
    ]


CASES: dict[str, tuple[Any, Any]] = {
    "Llama, untied": (lambda: hugging_face("Llama", layers=3, num_key_value_heads=1), llama_branches),
    "GPT-2, tied, LayerNorm with biases": (lambda: hugging_face("GPT2", layers=3), gpt2_branches),
    "OLMo 2, norms after branches": (lambda: hugging_face("Olmo2", layers=3), olmo_branches),
    "Mixtral, experts": (
        lambda: hugging_face("Mixtral", layers=3, num_local_experts=3, experts_implementation="eager"),
        llama_branches,
    ),
    "nanoGPT, biases": (lambda: NanoGPT(24, 3, 2, bias=True), gpt_branches),
}


def pair(name: str) -> tuple[Rules, nn.Module, nn.Module]:
    make, branches = CASES[name]
    plain = make().double()
    rules = parametrization("completep", base=BASE, alpha=ALPHA, init_std=0.2)
    rules.initialize_(plain, 1)
    explicit = with_multipliers(plain, branches, "lm_head")
    undo(rules, plain, explicit)
    return rules, plain, explicit


@pytest.mark.parametrize("name", CASES)
def test_absorbed_and_explicit_multipliers_train_alike(name: str) -> None:
    rules, plain, explicit = pair(name)
    ours = trajectory(plain, rules.param_groups(plain, RECIPE))
    theirs = trajectory(explicit, by_hand(explicit))
    assert ours[0][0] - ours[0][-1] > 0.05  # it has learnt something
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_an_epsilon_that_was_not_scaled_is_seen() -> None:
    """The planted fault of facts 3.3: the unembedding's epsilon left as it was, beside its multiplier."""
    rules, plain, explicit = pair("nanoGPT, biases")
    ours = trajectory(plain, rules.param_groups(plain, RECIPE))
    theirs = trajectory(explicit, by_hand(explicit, unembedding_eps=1.0))
    assert (ours[0] - theirs[0]).abs().max() > 1e-4


def test_a_tied_norm_whose_bias_was_forgotten_is_seen() -> None:
    rules, plain, explicit = pair("GPT-2, tied, LayerNorm with biases")
    groups = rules.param_groups(plain, RECIPE)
    for group in groups:
        if "transformer.ln_f.bias" in group["param_names"]:
            at = group["param_names"].index("transformer.ln_f.bias")
            bias = group["params"].pop(at)
            group["param_names"].pop(at)
    groups.append(
        {**groups[0], "params": [bias], "param_names": ["transformer.ln_f.bias"], "lr": 4e-3, "weight_decay": 0}
    )
    theirs = trajectory(explicit, by_hand(explicit))
    assert (trajectory(plain, groups)[0] - theirs[0]).abs().max() > 1e-5


def test_a_granite_with_multipliers_of_its_own_is_the_absorbed_llama() -> None:
    """Granite's config says the scheme's multipliers: nothing is left to absorb, and it is the Llama that absorbed them."""
    rules = parametrization("completep", base=BASE, alpha=ALPHA, init_std=0.2)
    llama = hugging_face("Llama", layers=3).double()
    rules.initialize_(llama, 1)
    granite = hugging_face(
        "Granite", layers=3, tie_word_embeddings=False, logits_scaling=WIDE, residual_multiplier=DEEP**-ALPHA,
        attention_multiplier=12**-0.5,
    ).double()  # fmt: skip
    assert {rule.absorbed for rule in rules.rules(granite)} == {1.0}
    undo(rules, llama, granite)
    ours = trajectory(llama, rules.param_groups(llama, RECIPE))
    theirs = trajectory(granite, rules.param_groups(granite, RECIPE))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_drawn_anew_granite_and_llama_are_one_function() -> None:
    """Initial values go by name, so the two draw the same numbers, multipliers apart."""
    rules = parametrization("completep", base=BASE)
    llama = hugging_face("Llama", layers=3)
    granite = hugging_face(
        "Granite", layers=3, tie_word_embeddings=False, logits_scaling=WIDE, residual_multiplier=1 / DEEP,
        attention_multiplier=12**-0.5,
    )  # fmt: skip
    for model in (llama, granite):
        rules.initialize_(model, 3)
    torch.testing.assert_close(llama(tokens()).logits, granite(tokens()).logits, rtol=1e-4, atol=1e-6)


# --- The identity itself, for each kind of update
class Two(nn.Module):
    """y = c W2 tanh(W1 x)."""

    def __init__(self, c: float, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.c = c
        self.w1, self.w2 = (nn.Parameter(torch.randn(6, 6, generator=generator).double()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.c * (torch.tanh(x @ self.w1.T) @ self.w2.T)


def optimizers() -> dict[str, tuple[Any, str, dict[str, float]]]:
    """Constructor, kind of update, and the settings that it takes beside lr and weight_decay."""
    from lion_pytorch import Lion

    from forescale.optimizers import AdamAtan2

    def adafactor(groups: Any) -> Any:
        return torch.optim.Adafactor(groups, eps=(1e-30, 1e-12), beta2_decay=-0.8)

    return {
        "AdamW": (torch.optim.AdamW, "adam", {"eps": 1e-2}),
        "Adam-atan2": (AdamAtan2, "adam", {}),
        "Lion": (lambda groups: Lion(groups, decoupled_weight_decay=False), "adam", {}),
        "SGD": (lambda groups: torch.optim.SGD(groups, momentum=0.9), "sgd", {}),
        "Adafactor": (adafactor, "adafactor", {}),
    }


@pytest.mark.parametrize("name", ["AdamW", "Adam-atan2", "Lion", "SGD", "Adafactor"])
def test_the_identity_for_every_kind_of_update(name: str) -> None:
    """Everett et al. 2024, section 2: lr c, c^2 or 1, as the optimizer's step is scaled by nothing, gradient or parameter."""
    make, kind, settings = optimizers()[name]
    c = 0.3
    absorbed = absorb(Factors(), c, kind)
    one, other = Two(c), Two(1.0)
    with torch.no_grad():
        other.w2.mul_(absorbed.init_std)
    runs: list[list[Tensor]] = []
    for model, f in ((one, Factors()), (other, absorbed)):
        groups = [
            {"params": [p], "lr": 0.02 * g.learning_rate, "weight_decay": 0.5 * g.weight_decay}
            | {key: value * g.epsilon for key, value in settings.items()}
            for p, g in ((model.w1, Factors()), (model.w2, f))
        ]
        optimizer, losses = make(groups), []
        for step in range(STEPS):
            x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step)).double()
            loss = (model(x) - x.roll(1, -1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        runs.append(losses)
    assert runs[0][-1] < runs[0][0]
    torch.testing.assert_close(torch.stack(runs[0]), torch.stack(runs[1]), rtol=1e-7, atol=1e-9)


def test_muon_takes_over_multipliers_too() -> None:
    """An orthogonalized step has no scale either; the products in float32 round differently."""
    from forescale.optimizers import make_optimizer

    rules, plain, explicit = pair("nanoGPT, biases")
    groups = rules.param_groups(plain, RECIPE, optimizer="muon")
    absorbed = {rule.tensor.name: rule.absorbed for rule in rules.rules(plain)}
    parameters = dict(explicit.named_parameters())
    undone = [
        {**group, "params": [parameters[n]], "param_names": [n]}
        | {"lr": group["lr"] / absorbed[n], "weight_decay": group["weight_decay"] * absorbed[n]}
        | ({"eps": group["eps"] * absorbed[n]} if "eps" in group else {})
        for group in groups
        for n in group["param_names"]
    ]
    runs: list[Tensor] = []
    for model, own in ((plain, groups), (explicit, undone)):
        optimizer = make_optimizer("muon", own)
        losses = []
        for step in range(10):
            loss = loss_of(model, tokens(2, step))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        runs.append(torch.stack(losses))
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-4, atol=1e-4)
