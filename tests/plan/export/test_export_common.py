"""What holds for every target: names, strictness, headers, notes and exact numbers."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from export_fixtures import LR, WEIGHT_DECAY, build_plan, llama_shape, load_python, python_values, shell_flags

from forescale.errors import ForescaleError, UnknownNameError
from forescale.plan._values import Caution
from forescale.plan.export import ALIASES, TARGETS, Export, export
from forescale.recipe import Value

NAMES = [
    "torchtitan",
    "torchtitan-main",
    "megatron-lm",
    "megatron-bridge",
    "huggingface",
    "litgpt",
    "levanter",
    "nanochat",
    "olmo-core",
    "nanotron",
    "lingua",
]
LOSSY = set(NAMES) - {"huggingface", "olmo-core", "nanotron"}


def exported(target: str, **changes: float) -> Export:
    return export(build_plan(schedule="cosine", final_lr_ratio=0.1, **changes), target)


def leaves(text: str, filename: str) -> list[object]:
    """Every value of an exported file, whatever its format."""
    if filename == "forescale_huggingface.py":
        module = load_python(text)
        return [*module.ARGUMENTS.values(), *module.MODEL_CONFIG.values()]
    if filename.endswith(".py"):
        found = list(python_values(text).values())
        return [v for x in found for v in (x if isinstance(x, tuple) else [x])]
    if filename.endswith(".sh"):
        return [float(v) for v in shell_flags(text).values() if re.fullmatch(r"[-+.e\d]+", v)]
    return list(walk(yaml.safe_load(text)))


def walk(node: object) -> Iterator[object]:
    if isinstance(node, dict):
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        yield from node
    else:
        yield node


def test_the_targets_are_the_documented_ones() -> None:
    assert list(TARGETS) == NAMES
    assert ALIASES == {"hf": "huggingface", "torchtitan-0.3.0": "torchtitan"}


def test_an_alias_exports_the_same_file(linear_plan) -> None:
    assert export(linear_plan, "hf") == export(linear_plan, "huggingface")
    assert export(linear_plan, "torchtitan-0.3.0") == export(linear_plan, "torchtitan")


def test_an_unknown_target_names_all_targets(linear_plan) -> None:
    with pytest.raises(UnknownNameError, match=r"torchtitan.*nanochat.*hf.*got 'nemo'"):
        export(linear_plan, "nemo")


@pytest.mark.parametrize("target", NAMES)
def test_strict_refuses_exactly_the_lossy_exports(target: str) -> None:
    plan = build_plan(schedule="cosine", final_lr_ratio=0.1)
    loose = export(plan, target)
    assert bool(loose.losses) == (target in LOSSY)
    if target not in LOSSY:
        assert export(plan, target, strict=True) == loose
        return
    with pytest.raises(ForescaleError, match="strict") as error:
        export(plan, target, strict=True)
    assert all(message in str(error.value) for message in loose.losses)


@pytest.mark.parametrize("target", NAMES)
def test_the_header_states_the_version_workload_numbers_and_notes(target: str) -> None:
    result = exported(target)
    head = re.sub(r"\n#\s+(?=\S)", " ", result.text.split("\n\n")[0])
    assert result.text.startswith(f"# forescale 0.1.0, for {target} {TARGETS[target].version}\n")
    assert "6.98e+09 parameters" in head
    assert "seq_len 8192" in head
    for name in ("learning_rate", "weight_decay", "epsilon", "final_lr_ratio", "init_std", "timescale"):
        assert re.search(rf"{name} = \S+ \(bergsma-2025\)", head), name
    for note in result.notes:
        assert f"{'NOT EXPORTED' if note.loss else 'Note'}: {note.message}" in head
        assert str(note) == (f"NOT EXPORTED: {note.message}" if note.loss else note.message)
    assert not re.search(r"/(work|home|tmp)/", result.text)


@pytest.mark.parametrize("target", NAMES)
def test_warnings_of_the_plan_reach_the_file(target: str) -> None:
    plan = build_plan(schedule="cosine")
    plan = dataclasses.replace(plan, warnings=(Caution(code="extrapolation", message="100 times beyond\nthe data"),))
    assert "# Caution (extrapolation): 100 times beyond the data\n" in export(plan, target).text


@pytest.mark.parametrize("target", sorted(set(NAMES) - {"nanochat"}))
def test_every_number_is_read_back_exactly(target: str) -> None:
    result = exported(target)
    values = leaves(result.text, result.filename)
    expected = [LR, WEIGHT_DECAY, 0.9, 0.95, 1e-08, 1.0, 37]
    if target == "litgpt":
        expected += [397 * 512 * 8192, LR * 0.1, 512, 2, 8192]
    if target in ("huggingface", "lingua", "nanotron"):
        expected += [2, 4, 397]
    for number in expected:
        assert number in values, number
    assert not any(isinstance(v, str) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", v) for v in values)


@pytest.mark.parametrize("target", NAMES)
def test_without_a_warmup_no_first_step_note_and_a_valid_file(target: str) -> None:
    result = exported(target, warmup_steps=0)
    assert not any("first step runs" in n.message for n in result.notes)
    assert leaves(result.text, result.filename)


@pytest.mark.parametrize("target", NAMES)
def test_the_model_is_the_users_where_the_plan_has_none(target: str) -> None:
    result = exported(target)
    assert "YOUR MODEL" in result.text
    assert 4096 not in leaves(result.text, result.filename)


@pytest.mark.parametrize("target", ["megatron-lm", "megatron-bridge", "huggingface", "levanter", "nanotron", "lingua"])
def test_a_shape_fills_the_sizes_that_the_target_has_keys_for(target: str) -> None:
    result = export(build_plan(shape=llama_shape()), target)
    values = leaves(result.text, result.filename)
    for size in (32, 4096, 8, *((14336,) if target != "lingua" else ())):  # lingua's is reached by a multiplier
        assert size in values, size
    assert (128256 in values) == (target != "levanter")  # there the tokenizer decides


@pytest.mark.parametrize("target", NAMES)
def test_an_initial_std_that_misses_matrices_is_a_loss(target: str) -> None:
    losses = [m for m in exported(target).losses if m.startswith("init_std 0.02 is ")]
    assert bool(losses) == (target in LOSSY)
    in_part = target in ("megatron-lm", "megatron-bridge", "lingua")
    assert not losses or ("in part" in losses[0]) == in_part


@pytest.mark.parametrize("target", NAMES)
def test_a_shift_within_one_step_is_a_remark_that_says_so(target: str) -> None:
    result = exported(target)
    assert not any("step k" in m or "one step" in m for m in result.losses)
    late = any("one step late" in m and "learning rate of 0" in m for m in result.remarks)
    assert late == (target in {"megatron-lm", "megatron-bridge", "huggingface", "levanter", "nanotron", "lingua"})


def test_the_default_ffn_width_is_that_of_the_shape() -> None:
    for gated, bias in ((True, False), (False, True), (False, False), (True, True)):
        shape = dataclasses.replace(llama_shape(), ffn_width=None, gated=gated, ffn_bias=bias)
        flags = shell_flags(export(build_plan(shape=shape), "megatron-lm").text)
        explicit = dataclasses.replace(shape, ffn_width=int(flags["ffn-hidden-size"]))
        assert explicit.parts() == shape.parts()


def test_a_law_with_a_line_break_cannot_escape_its_comment(linear_plan) -> None:
    evil = Value(value=3e-4, reason="", law="x\nimport os; os.abort()  \u2028y")
    plan = dataclasses.replace(linear_plan, recipe=dataclasses.replace(linear_plan.recipe, learning_rate=evil))
    for target in set(NAMES) - {"litgpt"}:
        for line in export(plan, target).text.splitlines():
            assert not line.lstrip().startswith("import os")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("target", ["megatron-lm", "nanochat"])
def test_bash_reads_the_array_without_its_comments(target: str) -> None:
    text = export(build_plan(shape=llama_shape()), target).text.split("# YOUR MODEL")[0]
    script = text + 'printf "%s\\n" "${FORESCALE_ARGS[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    words = re.split(r"[=\n]", done.stdout.strip())
    flags = shell_flags(text)
    assert [w for name, value in flags.items() for w in (f"--{name}", value) if w] == words


def test_a_schedule_that_no_trainer_has_is_refused() -> None:
    with pytest.raises(ForescaleError, match="linear or cosine"):
        export(build_plan(schedule="constant"), "torchtitan")


def test_importing_the_exporters_loads_the_standard_library_only() -> None:
    code = (
        "import sys; import forescale.plan.export; "
        "print(*sorted({'torch', 'numpy', 'yaml', 'transformers', 'scipy', 'polars', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
