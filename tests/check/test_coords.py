"""The coordinate check: right schemes pass, and every planted fault is found and named."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forescale.check import CoordCheck, Proxy, check_coords
from forescale.check._proxy import logits_of, sequences_loss
from forescale.check._slopes import log_slope, make_curve
from forescale.errors import ForescaleError
from forescale.parametrize import parametrization
from forescale.workload import Shape

WIDTHS = (32, 128)
SMALL = Proxy(seq_len=32, batch_sequences=4)
Change = Callable[[dict[str, Any], str, float], None]


class Faulty:
    """muP with one thing wrong: what `groups` and `start` do to it, given the role and the width ratio."""

    def __init__(self, width: int, groups: Change | None = None, start: float = 0.0) -> None:
        self.rules = parametrization("mup", base=Shape(width=WIDTHS[0], depth=2))
        self.ratio, self.groups, self.start = width / WIDTHS[0], groups, start

    def tensors(self, model: Any) -> Any:
        return self.rules.tensors(model)

    def initialize_(self, model: Any, seed: int) -> None:
        self.rules.initialize_(model, seed)
        model.embedding.weight.data.mul_(self.ratio**self.start)

    def param_groups(self, model: Any, recipe: Any, optimizer: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        roles = {t.name: t.role for t in self.rules.tensors(model)}
        for group in self.rules.param_groups(model, recipe, optimizer=optimizer):
            for parameter, name in zip(group["params"], group["param_names"], strict=True):
                one = {**group, "params": [parameter], "param_names": [name]}
                if self.groups is not None:
                    self.groups(one, roles[name], self.ratio)
                found.append(one)
        return found


def checked(rules: Any, **options: Any) -> CoordCheck:
    return check_coords(rules, widths=WIDTHS, proxy=options.pop("proxy", SMALL), seeds=1, **options)


def off(check: CoordCheck) -> set[str]:
    return {c.kind for c in (*check.curves, *check.decays) if c.verdict != "flat"}


def decay_as_it_is(group: dict[str, Any], role: str, ratio: float) -> None:
    if role in ("hidden", "residual_output"):
        group["weight_decay"] /= ratio


def embedding_rate_divided(group: dict[str, Any], role: str, ratio: float) -> None:
    if role == "embedding":
        group["lr"] /= ratio
        group["weight_decay"] *= ratio


def hidden_rate_as_it_is(group: dict[str, Any], role: str, ratio: float) -> None:
    if role in ("hidden", "residual_output"):
        group["lr"] *= ratio
        group["weight_decay"] /= ratio


def test_mup_and_completep_pass_and_standard_explodes() -> None:
    assert checked("mup").verdict == "pass"
    assert checked("completep").verdict == "pass"
    standard = checked("standard")
    assert standard.verdict == "fail"
    assert {"attention", "ffn", "residual"} <= off(standard)
    assert "residual grows (width^+" in standard.says


def test_rules_without_a_fault_pass() -> None:
    assert checked(lambda width, *_: Faulty(width)).verdict == "pass"


@pytest.mark.parametrize(
    ("fault", "start", "kind", "slope"),
    [
        (decay_as_it_is, 0.0, "decay of hidden", -1.0),  # mup issue 73: no activation shows it
        (embedding_rate_divided, 0.0, "embedding change", -1.0),
        (None, -1.0, "embedding", -1.0),  # a tied head rescaled by 1 / m_N takes the embedding with it (mup issue 55)
        (hidden_rate_as_it_is, 0.0, "ffn", 1.0),
    ],
)
def test_a_planted_fault_is_found(fault: Change | None, start: float, kind: str, slope: float) -> None:
    proxy = Proxy(seq_len=32, batch_sequences=4, tied=start != 0)
    found = checked(lambda width, *_: Faulty(width, fault, start), proxy=proxy)
    assert found.verdict == "fail"
    curve = next(c for c in (*found.curves, *found.decays) if c.kind == kind)
    assert curve.verdict == ("shrinks" if slope < 0 else "grows")
    assert abs(curve.slope) > 0.8
    assert math.copysign(1, curve.slope) == slope
    assert kind in found.says


def test_the_fall_of_a_deep_stream_is_no_fault_and_a_power_too_many_is() -> None:
    # At alpha = 1 what branches add as drawn falls as depth^-1/2 (CompleteP's own coordinate check falls at step 1).
    options: dict[str, Any] = {"widths": (32,), "depths": (2, 4, 16), "proxy": SMALL, "seeds": 1}
    found = check_coords("completep", **options)
    residual = next(c for c in found.curves if c.kind == "residual")
    assert residual.slopes[0] == pytest.approx(-0.5, abs=0.15)
    assert found.verdict == "pass"
    assert "residual" in off(check_coords("mup", **options))

    class Twice:
        """CompleteP with its residual multiplier applied twice."""

        def __init__(self, depth: int) -> None:
            base = Shape(width=32, depth=2)
            self.rules = parametrization("completep", base=base, init_std=32**-0.5)
            self.ratio = depth / 2
            self.tensors = self.rules.tensors

        def initialize_(self, model: Any, seed: int) -> None:
            self.rules.initialize_(model, seed)
            for block in model.blocks:
                block.attention.output.weight.data.div_(self.ratio)
                block.ffn.output.weight.data.div_(self.ratio)

        def param_groups(self, model: Any, recipe: Any, optimizer: str) -> list[dict[str, Any]]:
            roles = {t.name: t.role for t in self.tensors(model)}
            groups = self.rules.param_groups(model, recipe, optimizer=optimizer)
            for group in groups:
                if roles[group["param_names"][0]] == "residual_output":
                    group["lr"] /= self.ratio
            return groups

    assert "residual change" in off(check_coords(lambda _width, depth, _: Twice(depth), **options))


def test_sparse_mup_is_flat_over_the_density_and_mup_is_not() -> None:
    options: dict[str, Any] = {"widths": (128,), "densities": (1.0, 0.25, 1 / 16), "proxy": SMALL, "seeds": 1}
    assert check_coords("supar", **options).verdict == "pass"
    assert {"attention", "ffn"} <= off(check_coords("mup", **options))


def test_a_model_of_your_own_with_data_of_your_own() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(width: int, depth: int, _density: float) -> Any:
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=256, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=depth,
                num_attention_heads=width // 16, bos_token_id=1, eos_token_id=2,
            )
        )  # fmt: skip

    text = torch.tensor(list(Path(__file__).read_bytes()))  # something to learn: logits that stay as drawn would shrink
    batches = list(text[: 12 * 33].view(3, 4, 33))
    found = check_coords("mup", widths=WIDTHS, seeds=1, make_model=make, batches=batches)
    assert found.verdict == "pass"
    assert [c.kind for c in found.curves[:5]] == ["embedding", "attention", "ffn", "residual", "logits"]


def test_models_of_every_calling_convention() -> None:
    import torch
    from torch import nn

    class Plain(nn.Module):
        """Logits from tokens; the second argument is no target."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(7, 7)

        def forward(self, tokens: Any, mask: Any = None) -> Any:
            assert mask is None
            return self.table(tokens)

    class Both(Plain):
        """nanoGPT's way: with targets the logits of every position and their loss."""

        config = object()

        def forward(self, idx: Any, targets: Any = None) -> Any:
            logits = super().forward(idx)
            if targets is None:
                return logits[:, -1:], None
            return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    plain, both = Plain(), Both()
    both.load_state_dict(plain.state_dict())
    rows = torch.tensor([[1, 2, 3, 4], [6, 5, 4, 3]])
    expected = nn.functional.cross_entropy(plain.table.weight[rows[:, :-1]].flatten(0, 1), rows[:, 1:].flatten())
    for model in (plain, both):
        assert sequences_loss(model, rows).item() == pytest.approx(expected.item(), rel=1e-6)
        assert torch.equal(logits_of(model, rows), plain.table.weight[rows[:, :-1]])


def test_slopes() -> None:
    assert log_slope((1, 2, 4), (3, 6, 12)) == pytest.approx(1)  # 3 n
    assert log_slope((1, 4), (5, 5 / 2)) == pytest.approx(-0.5)  # 5 n^-1/2
    assert log_slope((1, 2), (0, 0)) == 0
    assert make_curve("x", (1, 2), [(1, 1), (1, math.inf)], 0.5).verdict == "diverges"


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (32, 64), "depths": (1, 2)},
        {"widths": (32,)},
        {"widths": ()},
        {"widths": (32, 32)},
        {"widths": (32, 64), "steps": 0},
        {"widths": (32, 40)},
    ],
)
def test_impossible_checks(options: dict[str, Any]) -> None:
    with pytest.raises(ForescaleError, match=r"a check looks|different|1 step|multiple of the head size"):
        check_coords("mup", proxy=SMALL, **options)
