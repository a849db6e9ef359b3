"""What the tests of the norm kernels run in processes of their own: Triton reads TRITON_INTERPRET once, as it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from forescale.noise.kernels import _norms, norm_backward, norm_forward

PROGRAMS = "forescale.noise.kernels._programs"
EPS = 1e-5
# One rounding of the answer, relative: to nearest, but Triton's interpreter cuts bfloat16 off.
ROUNDING = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-7}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A norm's shapes and dtypes."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    weight: torch.dtype = torch.float32
    bias: bool = True
    centred: bool = True
    tile: int | None = None  # the most columns of a tile, if fewer than they are

    def __str__(self) -> str:
        kind = ("layer" if self.centred else "rms") + ("-bias" if self.bias else "")
        dtypes = f"{self.dtype}-{self.weight}".replace("torch.", "")
        return f"{kind}-{'x'.join(map(str, self.shape))}-{dtypes}" + (f"-tile{self.tile}" if self.tile else "")


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The gradient at the output, x, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    grad, x = draw(*case.shape).to(case.dtype), (2.0 * draw(*case.shape) + 0.5).to(case.dtype)
    weight, bias = (1.0 + 0.5 * draw(case.shape[-1])).to(case.weight), draw(case.shape[-1]).to(case.weight)
    return grad, x, weight, bias if case.bias else None


def ours(case: Case) -> dict[str, Tensor | None]:
    """All that the kernels answer."""
    grad, x, weight, bias = inputs(case)
    if case.tile:
        _norms.WIDEST = _norms.TILE = case.tile
    y, mean, rstd = norm_forward(x, weight, bias, eps=EPS, centred=case.centred)
    back = norm_backward(grad, x, weight, mean, rstd, bias=case.bias, centred=case.centred)
    return {"y": y, **dict(zip(("dx", "dweight", "dbias", "squared_norms"), back, strict=True))}


def reference(case: Case) -> dict[str, Tensor]:
    """The same by PyTorch's own norms in float64: autograd, one example at a time."""
    grad, x, weight, bias = (None if each is None else each.double() for each in inputs(case))
    assert grad is not None
    assert x is not None
    answers = [_one(g, each, weight, bias, case) for g, each in zip(grad, x, strict=True)]
    y, dx, shares = ([answer[k] for answer in answers] for k in range(3))
    squares = torch.stack([sum(share.square().sum() for share in each) for each in shares])  # type: ignore[misc]
    totals = [torch.stack(each).sum(0) for each in zip(*shares, strict=True)]
    found = {"y": torch.stack(y), "dx": torch.stack(dx), "dweight": totals[0], "squared_norms": squares}
    return found | ({"dbias": totals[1]} if case.bias else {})


def _one(grad: Tensor, x: Tensor, weight: Any, bias: Any, case: Case) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    leaves = [each.clone().requires_grad_() for each in (x, weight, bias) if each is not None]
    if case.centred:
        y = functional.layer_norm(leaves[0], x.shape[-1:], leaves[1], leaves[2] if case.bias else None, EPS)
    else:
        y = functional.rms_norm(leaves[0], x.shape[-1:], leaves[1], EPS) + (leaves[2] if case.bias else 0.0)
    dx, *shares = torch.autograd.grad(y, leaves, grad)
    return y.detach(), dx, tuple(shares)


def misses(case: Case, old: str = "", new: str = "") -> dict[str, float]:
    """The largest error of each answer as a share of what float32 sums and one rounding allow: more than 1 is a fault.

    `old` and `new` plant one: the kernels are run with a line of theirs replaced.
    """
    if old:
        plant(old, new)
    with patch.multiple(_norms, WIDEST=_norms.WIDEST, TILE=_norms.TILE):
        found = ours(case)
    if old:
        del sys.modules[PROGRAMS]
    expected, x_rounding, weight_rounding = reference(case), ROUNDING[case.dtype], ROUNDING[case.weight]
    rounding = {"y": x_rounding, "dx": x_rounding, "dweight": weight_rounding, "dbias": weight_rounding}
    return {name: _miss(found[name], value, rounding.get(name, 0.0)) for name, value in expected.items()}


def _miss(found: Tensor | None, expected: Tensor, rounding: float) -> float:
    assert found is not None
    assert found.shape == expected.shape
    if not expected.numel():
        return 0.0
    allowed = rounding * expected.abs() + 1e-6 * expected.abs().max() + 1e-6  # some 16 roundings of float32
    return float(((found.double() - expected).abs() / allowed).max())


def plant(old: str, new: str) -> Any:
    """The programs with `old` replaced by `new`, in the place of the real ones; from a file, as Triton reads the source."""
    text = Path(_norms.__file__).with_name("_programs.py").read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    path = Path(tempfile.mkdtemp(), "_programs.py")
    path.write_text(text.replace(old, new), encoding="utf-8")
    spec = spec_from_file_location(PROGRAMS, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[PROGRAMS] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differing_bits(case: Case) -> list[str]:
    """Which answers differ between two runs."""
    first, second = ours(case), ours(case)
    return [name for name, value in first.items() if value is not None and not torch.equal(value, second[name])]  # type: ignore[arg-type]


def strided(case: Case) -> bool:
    """Whether tensors that are not contiguous give the same answer."""
    grad, x, weight, _ = inputs(case)
    _, mean, rstd = norm_forward(x, weight, eps=EPS, centred=case.centred)
    spread = lambda each: torch.stack([each, each], -1)[..., 0]  # noqa: E731
    kinds = {"bias": case.bias, "centred": case.centred}
    plain = norm_backward(grad, x, weight, mean, rstd, **kinds)
    other = norm_backward(spread(grad), spread(x), spread(weight), spread(mean), spread(rstd), **kinds)
    return all(torch.equal(a, b) for a, b in zip(plain, other, strict=True) if a is not None and b is not None)


def refused(case: Case) -> str:
    """What is said where there is neither a GPU nor the interpreter."""
    _, x, weight, _ = inputs(case)
    try:
        norm_forward(x, weight, eps=EPS, centred=case.centred)
    except ValueError as error:
        return str(error)
    return ""


def compiled(name: str, width: int, capability: int, old: str = "", new: str = "") -> tuple[str, str]:
    """PTX of a kernel for a card that need not be here, and what the assembler says of registers; bfloat16 and float32."""
    programs = plant(old, new) if old else import_module(PROGRAMS)
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile  # noqa: A004

    rows, columns, warps = (32, 64, 4) if name == "combine" else _norms._tile(width)
    given: dict[str, Any] = {"BIAS": True, "CENTRED": True, "CHUNK": _norms.CHUNK, "R": rows, "C": columns}
    given |= {"WHOLE": True, "means": None} if width <= _norms.WIDEST else {"WHOLE": False}
    kernel, halves, whole = getattr(programs, name), {"grad", "x", "dx", "y"}, {"length", "chunks", "rows", "width"}
    signature, values, facts = {}, {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in given:
            signature[argument], values[place,] = "constexpr", given[argument]
            continue
        kinds = {"eps": "fp32", **dict.fromkeys(halves, "*bf16"), **dict.fromkeys(whole, "i32")}
        signature[argument] = kinds.get(argument, "*fp32")
        if signature[argument].startswith("*") or argument == "width":
            facts[place,] = [["tt.divisibility", 16]]
    made = compile(
        ASTSource(kernel, signature, values, facts),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps},
    )
    return made.asm["ptx"], assembled(made.asm["ptx"], capability)


def assembled(ptx: str, capability: int) -> str:
    """The report of the assembler that comes with Triton."""
    home = Path(import_module("triton").__file__ or "").parent
    path = Path(tempfile.mkdtemp(), "kernel.ptx")
    path.write_text(ptx, encoding="utf-8")
    command = [str(home / "backends/nvidia/bin/ptxas"), "-v", f"-arch=sm_{capability}{'a' * (capability == 90)}"]
    done = subprocess.run([*command, str(path), "-o", os.devnull], capture_output=True, text=True, check=True)
    return done.stderr
