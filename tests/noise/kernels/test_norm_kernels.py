"""The norm kernels in Triton's interpreter against autograd, one example at a time; and what they compile to."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import norm_cases
import pytest
import torch
from norm_cases import Case

from forescale.errors import ForescaleError, MissingExtraError
from forescale.noise.kernels import norm_backward, norm_forward

HALF, BRAIN = torch.float16, torch.bfloat16
CASES = (
    Case(shape=(3, 7, 1)),
    Case(shape=(2, 128, 3), dtype=BRAIN, bias=False, centred=False),
    Case(shape=(2, 70, 64), dtype=HALF, weight=HALF),
    Case(shape=(2, 3, 5, 64), dtype=BRAIN, weight=BRAIN, bias=False),
    Case(shape=(1, 128, 100), bias=False),
    Case(shape=(3, 7, 257), dtype=BRAIN, bias=False, centred=False),
    Case(shape=(3, 1, 1024), dtype=BRAIN),
    Case(shape=(4, 257), centred=False),
    Case(shape=(2, 1, 5000), dtype=BRAIN),
    Case(shape=(1, 1, 9000)),  # wider than a tile
    Case(shape=(2, 3, 200), tile=64),
    Case(shape=(2, 3, 200), tile=64, dtype=BRAIN, weight=HALF, bias=False, centred=False),
    Case(shape=(2, 0, 64)),
)
PLAIN = Case(shape=(2, 70, 24))  # two chunks an example, the last of them short
FAULTS = {
    "squares before the chunks are summed": ("share * share", "tl.sum(total * total, axis=0)", "squared_norms"),
    "the weight within its own gradient": ("dgamma += g * hat", "dgamma += g * hat * gamma", "dweight"),
    "each chunk loses its last row": ("tl.arange(0, R) < length\n", "tl.arange(0, R) < length - 1\n", "dbias"),
    "the mean of the gradient is forgotten": ("result -= shift[:, None]", "result -= 0.0", "dx"),
    "the mean of x is forgotten": ("values - middle[:, None], 0.0", "values, 0.0", "y"),
}


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A process in which Triton's kernels run on the CPU."""
    yield from process(tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def compiling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A process in which they are compiled, as on a machine with a GPU."""
    yield from process(tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="0")


def process(cache: Path, **environment: str) -> Iterator[ProcessPoolExecutor]:
    if find_spec("triton") is None:
        reason = "Triton is not installed: pip install triton"
        (pytest.fail if os.environ.get("CI") and sys.platform == "linux" else pytest.skip)(reason)
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for name, value in {**environment, "TRITON_CACHE_DIR": str(cache)}.items():
            patch.setenv(name, value)
        pool.submit(os.getpid).result()  # the process is made now, with this environment
        yield pool


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_answers_are_those_of_autograd(interpreted: ProcessPoolExecutor, case: Case) -> None:
    misses = interpreted.submit(norm_cases.misses, case).result()
    assert max(misses.values()) <= 1.0, misses


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(interpreted: ProcessPoolExecutor, fault: str) -> None:
    old, new, where = FAULTS[fault]
    misses = interpreted.submit(norm_cases.misses, PLAIN, old, new).result()
    assert misses[where] > 100.0, misses


def test_without_the_fault_it_passes(interpreted: ProcessPoolExecutor) -> None:
    misses = interpreted.submit(norm_cases.misses, PLAIN).result()
    assert max(misses.values()) <= 1.0, misses


def test_the_same_input_gives_the_same_bits(interpreted: ProcessPoolExecutor) -> None:
    assert interpreted.submit(norm_cases.differing_bits, PLAIN).result() == []


def test_strides_do_not_matter(interpreted: ProcessPoolExecutor) -> None:
    assert interpreted.submit(norm_cases.strided, Case(shape=(2, 3, 24))).result()


@pytest.mark.parametrize(
    ("name", "width", "capability"),
    [
        ("backward", 768, 80),
        ("backward", 8192, 90),
        ("backward", 16384, 90),
        ("row_means", 16384, 90),
        ("combine", 2048, 90),
        ("forward", 8192, 90),
        ("wide_forward", 16384, 90),
    ],
)
def test_compiled_it_has_no_atomics_and_fits_the_registers(
    compiling: ProcessPoolExecutor, name: str, width: int, capability: int
) -> None:
    ptx, report = compiling.submit(norm_cases.compiled, name, width, capability).result()
    assert not atomics(ptx)
    assert re.search(r"ld\.global\.v4", ptx)  # 16 bytes a thread
    assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", report), report


def test_an_atomic_would_be_seen(compiling: ProcessPoolExecutor) -> None:
    planted = "tl.store(slot, tl.sum(dbeta", "tl.atomic_add(slot, tl.sum(dbeta"
    ptx, _ = compiling.submit(norm_cases.compiled, "backward", 768, 80, *planted).result()
    assert atomics(ptx)


def atomics(ptx: str) -> list[str]:
    return re.findall(r"^\s*(?:@\S+\s+)?(?:atom|red)\.\S+", ptx, flags=re.MULTILINE)


def test_on_a_cpu_it_says_what_to_do(compiling: ProcessPoolExecutor) -> None:
    assert "use PyTorch's norms" in compiling.submit(norm_cases.refused, PLAIN).result()


def test_without_triton_the_message_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(MissingExtraError, match="pip install triton"):
        norm_forward(torch.ones(2, 3), torch.ones(3), eps=1e-5, centred=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weight": torch.ones(4)}, "a weight"),
        ({"x": torch.ones(2, 3, dtype=torch.float64)}, "float64"),
        ({"grad": torch.ones(3, 2)}, "grad has the shape of x"),
        ({"mean": None}, "a centred norm has a mean"),
        ({"rstd": torch.ones(5)}, "rstd is float32, one a row"),
    ],
)
def test_what_does_not_go_together_is_refused(changed: dict[str, Any], said: str) -> None:
    fits: dict[str, Any] = {"grad": torch.ones(2, 3), "x": torch.ones(2, 3), "weight": torch.ones(3)}
    fits |= {"mean": torch.zeros(2), "rstd": torch.ones(2)}
    with pytest.raises(ForescaleError, match=said):
        norm_backward(**(fits | changed), bias=True, centred=True)
