"""Every bad config.json is refused in one sentence that names the file, the key, what arrived and what to do."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from forescale.errors import ForescaleError, UnknownNameError
from forescale.workload._architectures import ARCHITECTURES
from forescale.workload._config import read_config


def fails(path: Path | str, message: str, kind: type[ForescaleError] = ForescaleError) -> None:
    with pytest.raises(kind, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    fails(tmp_path / "no.json", "does not exist: give the path of a model's config.json")
    fails(tmp_path / "no" / "config.json", "does not exist")
    fails("meta-llama/Meta-Llama-3-8B", "names are not looked up online")


def test_folder_without_config(tmp_path: Path) -> None:
    fails(tmp_path, "is a folder without a config.json: give the folder or file")


def test_config_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    fails(tmp_path, "is a folder without a config.json")


def test_name_too_long(tmp_path: Path) -> None:
    fails(tmp_path / ("x" * 5000), "cannot be read")


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/null")
def test_device_file() -> None:
    fails("/dev/null", "is not a regular file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: download"),
        (b" \n\t", "is empty: download"),
        (b'{"model_type": "llama", "hidden_size": 40', "is not valid JSON .*line 1, column .*may be cut short"),
        (b"model_type: llama", "is not valid JSON"),
        (b"\x80\x04\x95\xff weights", "is not UTF-8 text"),
        (b"[1, 2]", "must hold one JSON object .*got an array"),
        (b'"llama"', "got a string"),
        (b"3.5", "got a number"),
        (b"true", "got a boolean"),
        (b"null", "got null"),
        (b"{}", "has no model_type: .*--params, --active-params and --tokens, or Shape"),
        (b"[" * 100_000, "holds JSON that no config.json holds"),
        (b'{"model_type": "llama", "vocab_size": ' + b"9" * 5000 + b"}", "holds JSON that no config.json holds"),
        (b" " * 10_000_001, "is over 10 MB"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_broken_files(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    fails(file, message)


@pytest.mark.parametrize("model_type", ["bert", "LLAMA", "", 7, ["llama"], {"a": 1}], ids=repr)
def test_unknown_architecture_lists_the_known_ones(model_type: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": model_type}))
    fails(file, re.escape(f"model_type {model_type!r} is not one of"), UnknownNameError)
    for known in (*ARCHITECTURES, "gemma3", "--params", r"Shape\(...\)"):
        fails(file, known, UnknownNameError)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size", "num_key_value_heads", "head_dim"])
@pytest.mark.parametrize("value", ["4096", 4096.0, -1, 0, 10**9 + 1, True, [], float("nan")], ids=repr)
def test_bad_sizes_name_the_key(key: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", key: value}))
    fails(file, f": {key} must (be a whole number|lie between 1 and 1e9).*; got .*: ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "llama", "hidden_size": None}, "hidden_size must be a whole number, 1 or more; got None"),
        ({"model_type": "gemma2", "head_dim": None}, "head_dim must be a whole number"),
        ({"model_type": "llama", "num_attention_heads": 24}, "width must be a multiple of heads"),
        ({"model_type": "llama", "num_key_value_heads": 5}, "got heads 32 and kv_heads 5"),
        ({"model_type": "llama", "mlp_bias": "false"}, "mlp_bias must be true or false; got 'false'"),
        ({"model_type": "llama", "tie_word_embeddings": None}, "tie_word_embeddings must be true or false"),
        ({"model_type": "llama", "max_position_embeddings": "8k"}, "max_position_embeddings must be a whole number"),
        ({"model_type": "llama", "per_layer_config": {"0": {}}}, "per_layer_config varies sizes by layer"),
        ({"model_type": "gpt2", "n_embd": "768"}, "n_embd must be a whole number"),
        ({"model_type": "gpt2", "n_positions": None}, "n_positions must be a whole number"),
        ({"model_type": "gpt2", "n_embd": 12, "hidden_size": 24}, "hidden_size and n_embd name the same size"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "only decoder-only models are counted"),
        ({"model_type": "mixtral", "num_experts_per_tok": 9}, "top_k 9 of 8 experts"),
        ({"model_type": "mixtral", "num_local_experts": 0}, "num_local_experts must lie between 1"),
        ({"model_type": "qwen3_moe", "num_experts": 2.5}, "num_experts must be a whole number"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 0}, "decoder_sparse_step must lie between 1"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": 3}, "mlp_only_layers must be a list of layer numbers; got 3"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": ["0"]}, "mlp_only_layers must be a list of layer numbers"),
        ({"model_type": "deepseek_v3", "v_head_dim": None}, "v_head_dim must be a whole number"),
        ({"model_type": "deepseek_v3", "q_lora_rank": 0}, "q_lora_rank must lie between 1"),
        ({"model_type": "gemma3", "text_config": [1]}, "text_config must hold one JSON object .*got an array"),
        ({"model_type": "gemma3", "text_config": {"vocab_size": -3}}, "vocab_size must lie between 1"),
    ],
    ids=str,
)
def test_impossible_files(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    fails(file, message)
