"""The example of two objectives: it searches, draws, and goes on where it was."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "pareto" / "loss_against_decoding.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # for the whole process, so not in tests
    spec = importlib.util.spec_from_file_location("loss_against_decoding", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_searches_draws_and_goes_on(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 1500)
    out = tmp_path / "out"
    sizes = ("--params", "60K", "--tokens", "10K", "--threads", "1", "--out", str(out))
    for trials in (1, 2):
        monkeypatch.setattr(sys, "argv", ["script", *sizes, "--trials", str(trials), "--data", str(text)])
        example.main()
    printed = capsys.readouterr().out
    assert printed.count("trial 0:") == 1
    assert printed.count("trial 1:") == 1
    found = json.loads((out / "front.json").read_text())
    assert [point["settings"]["depth"] for point in found["points"]] == [3, 3]  # a sweep of the first shape
    assert found["noise"]["source"] == "given"
    assert 0 < found["noise"]["log_loss_sd"] < 0.2
    assert len(list((out / "runs").iterdir())) == 4  # two seeds of each
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")


def test_all_shapes_have_one_size(example: ModuleType) -> None:
    shapes = [
        example.shape_of(1e5, {"depth": depth, "ffn_ratio": ratio, "shared_kv": shared})
        for depth in example.SPACE["depth"]
        for ratio in example.SPACE["ffn_ratio"]
        for shared in (False, True)
    ]
    sizes = [shape.params for shape in shapes]
    assert max(sizes) / min(sizes) < 1.01
    assert len(set(shapes)) == len(shapes)
    assert all(shape.width / 2 < shape.ffn_width < 12 * shape.width for shape in shapes)
