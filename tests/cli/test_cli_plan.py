"""`forescale plan` as a user runs it."""

import json
from pathlib import Path

import pytest

LLAMA = str(Path(__file__).resolve().parents[2] / "examples" / "llama-3-8b" / "config.json")


def recipe(output: str) -> dict:
    return json.loads(output)["recipe"]


def test_two_calls_that_differ_only_in_units_give_the_same_recipe(run) -> None:
    outputs = {
        run("plan", "--params", n, "--tokens", d, "--seq-len", "4096", "--json")[1]
        for n, d in (("7e9", "1.4e12"), ("7B", "1.4T"), ("7000M", "1400B"), ("7_000_000_000", "1400e9"))
    }
    assert len(outputs) == 1


def test_json_is_json_only(run) -> None:
    code, out, err = run("plan", "--params", "7B", "--tokens", "1.4T", "--json")
    assert (code, err) == (0, "")
    assert recipe(out)["learning_rate"]["value"] == pytest.approx(9.2e-4, rel=1e-2)  # Step Law at (7e9, 1.4e12)


def test_config_table_shows_recipe_plateau_rivals_and_warnings(run) -> None:
    code, out, _ = run("plan", "--config", LLAMA, "--tokens-per-param", "20")
    assert code == 0
    for words in (
        "8.03B in all",
        "learning_rate",
        "weight_decay",
        "within 0.25 % of loss",
        "deepseek",
        "extrapolation",
    ):
        assert words in out


def test_explain_numbers_every_value(run) -> None:
    _, out, _ = run("plan", "--params", "7B", "--tokens", "1.4T", "--explain")
    assert "1.79 N^-0.713 D^+0.307 at N = 7B, D = 1.4T" in out
    assert "16) init_std" in out


def test_compute_alone_chooses_both_sizes(run) -> None:
    _, out, _ = run("plan", "--compute", "1e22", "--json")
    workload = json.loads(out)["workload"]
    assert workload["compute"] == pytest.approx(1e22, rel=1e-6)


def test_shape_option(run) -> None:
    shape = "layers=32,width=4096,heads=32,vocab=128256,kv_heads=8,ffn_width=14336"
    _, by_shape, _ = run("plan", "--shape", shape, "--tokens", "1T", "--seq-len", "8192", "--json")
    _, by_config, _ = run("plan", "--config", LLAMA, "--tokens", "1T", "--json")
    assert recipe(by_shape) == recipe(by_config)


def test_export_to_standard_output_is_the_file_alone(run) -> None:
    code, out, _ = run("plan", "--params", "7B", "--tokens", "1.4T", "--export", "torchtitan")
    assert code == 0
    compile(out, "exported.py", "exec")


def test_export_to_a_file(run, tmp_path) -> None:
    path = tmp_path / "train.yaml"
    code, out, _ = run("plan", "--params", "7B", "--tokens", "1.4T", "--export", "levanter", "--out", str(path))
    assert code == 0
    assert "learning_rate" in path.read_text()
    assert str(path) in out.replace("\n", "")


BAD = [
    (("--params", "0", "--tokens", "1T"), "--params must be finite and above zero"),
    (("--params", "-7B", "--tokens", "1T"), "--params must be finite and above zero"),
    (("--params", "nan", "--tokens", "1T"), "--params must be a number"),
    (("--params", "7B", "--tokens", "1e400"), "--tokens must be finite"),
    (("--params", "1e17", "--tokens", "1T"), "params must be at most 1P"),
    (("--params", "7B", "--tokens", "100"), "at least one sequence"),
    (("--params", "7B", "--tokens", "1M", "--batch", "2M"), "must not exceed the run"),
    (("--params", "7B", "--tokens", "1T", "--law", "nope"), "no law is named"),
    (("--params", "7B", "--tokens", "1T", "--law", "missing.toml"), "cannot be read"),
    (("--params", "20B", "--tokens", "1T", "--law", "kaplan"), "no positive learning_rate"),
    (("--params", "7B", "--tokens", "1T", "--compute", "1e22"), "each fix the tokens"),
    (("--params", "7B"), "length of the run is missing"),
    ((), "the model is missing"),
    (("--params", "7B", "--tokens", "1T", "--devices", "many"), "--devices"),
    (("--params", "7B", "--tokens", "1T", "--frobnicate", "1"), "--frobnicate"),
    (("--params", "7B", "--tokens", "1T", "--out", "x.yaml"), "--export"),
    (("--params", "7B", "--tokens", "1T", "--strict"), "--export"),
    (("--params", "7B", "--tokens", "1T", "--export", "keras"), "torchtitan"),
    (("--params", "7B", "--tokens", "1T", "--reference", "learning_rate"), "key=value"),
    (("--params", "7B", "--tokens", "1T", "--json", "--explain"), "one of them"),
    (("--shape", "layers=32", "--tokens", "1T"), "missing are width, heads, vocab"),
    (("--shape", "layers=32,depth=3", "--tokens", "1T"), "--shape knows"),
    (("--config", "nowhere/config.json", "--tokens", "1T"), "does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("plan", *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("forescale: ")
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"model_type": "llama", "hidden', "JSON"), ("", "empty"), ("[1]", "object"), ('{"model_type": "bert"}', "bert")],
)
def test_bad_configs(run, tmp_path, text, message) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    code, out, err = run("plan", "--config", str(path), "--tokens", "1T")
    assert (code, out) == (2, "")
    assert message in err


def test_unwritable_out_is_said(run, tmp_path) -> None:
    out = str(tmp_path / "no" / "such" / "folder.py")
    code, _, err = run("plan", "--params", "7B", "--tokens", "1T", "--export", "torchtitan", "--out", out)
    assert code == 2
    assert "cannot be written" in err
