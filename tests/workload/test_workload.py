"""Workloads: sizes that cannot be meant, and a config's longest sequence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forescale.errors import ForescaleError
from forescale.workload import Workload

LLAMA = Path(__file__).resolve().parents[2] / "examples" / "llama-3-8b" / "config.json"
GOOD: dict[str, Any] = {"params": 7e9, "tokens": 1e12, "seq_len": 4096}
BAD = [
    ({"params": "7B"}, "params must be a number; got '7B'"),
    ({"params": True}, "params must be a number; got True"),
    ({"params": None}, "params must be a number; got None"),
    ({"params": 7}, "params must be at least 1K; got 7: check the unit"),
    ({"params": 10**400}, "params must be finite"),
    ({"tokens": 1.4}, "tokens must cover at least one sequence of seq_len 4096; got 1.4"),
    ({"tokens": 5000}, "tokens must be at least 10K"),
    ({"tokens": 1e19}, "tokens must be at most 1e+18"),
    ({"tokens": True}, "tokens must be a number"),
    ({"seq_len": 1}, "seq_len must be at least 2"),
    ({"seq_len": 4096.5}, "seq_len must be a whole number"),
    ({"active_params": 1}, "active_params must be at least 1K"),
    ({"active_params": "1B"}, "active_params must be a number"),
    ({"active_params": 8e9}, "active_params must lie between 1K and params"),
    ({"unique_tokens": 100}, "unique_tokens must lie between one sequence"),
    ({"unique_tokens": "1T"}, "unique_tokens must be a number"),
    ({"sparsity": "0"}, "sparsity must be a number"),
    ({"sparsity": float("nan")}, "sparsity is the share"),
    ({"vocab_params": -1}, "vocab_params must be finite and not below 0"),
    ({"max_seq_len": 0}, "max_seq_len must be finite and above zero"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_sizes_that_cannot_be_meant(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError) as raised:
        Workload(**(GOOD | change))
    assert message in str(raised.value)


def test_numbers_of_other_libraries_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    made = Workload(params=np.float32(7e9), tokens=np.int64(10**12), seq_len=np.int64(4096))
    assert made.tokens_per_param == pytest.approx(1e12 / 7e9)


@pytest.mark.parametrize(("stated", "taken"), [(131072, 8192), (8192, 8192), (2048, 2048)])
def test_the_default_length_is_the_configs_at_most_8192(tmp_path: Path, stated: int, taken: int) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(LLAMA.read_text()) | {"max_position_embeddings": stated}))
    made = Workload.from_config(path, tokens=1e12)
    assert (made.seq_len, made.max_seq_len) == (taken, stated)
    assert made.to_json()["max_seq_len"] == stated
    assert replace(made, tokens=2e12).max_seq_len == stated
    assert Workload.from_config(path, tokens=1e12, seq_len=1024).seq_len == 1024
