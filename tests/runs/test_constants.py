"""What is alike in every run and recorded in none; and that a source's other columns stay."""

from __future__ import annotations

from pathlib import Path

import pandas
import polars as pl
import pytest

from forescale.errors import ForescaleError, UnknownNameError
from forescale.runs import parse_constants, read_runs

FRAME = pl.DataFrame({"lr": [1e-3, 2e-3, 4e-3], "bs": [128] * 3, "loss": [3.1, 3.0, 3.2], "seed": [1, 2, 3]})
GIVEN = {"params": "124M", "tokens": 2.6e9, "seq_len": 2048}


def test_constants_stand_in_for_columns() -> None:
    runs = read_runs(FRAME, constants=GIVEN)
    assert runs.frame.select("params", "tokens", "batch_tokens").rows() == [(124e6, 2.6e9, 128 * 2048)] * 3
    assert "params = 1.24e+08, tokens = 2.6e+09, seq_len = 2048 in every run, as given" in runs.notes


def test_a_constant_outranks_a_column_that_looks_like_it() -> None:
    table = FRAME.with_columns(params=pl.lit(7e9), weight_decay=pl.lit(0.1))
    runs = read_runs(table, constants=GIVEN | {"weight_decay": 0})
    assert runs.frame["params"].to_list() == [124e6] * 3
    assert runs.frame["source.params"].to_list() == [7e9] * 3
    assert runs.frame["weight_decay"].to_list() == [0.0] * 3


def test_parse_constants() -> None:
    assert parse_constants("params=124M, tokens = 2.6B,batch_sequences=64") == {
        "params": 124e6,
        "tokens": 2.6e9,
        "batch_sequences": 64,
    }
    for text in ("", "params", "=3", "params=", "params=1,params=2"):
        with pytest.raises(ForescaleError, match="--set"):
            parse_constants(text)
    with pytest.raises(ForescaleError, match="params must be a number"):
        parse_constants("params=many")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"constants": {"loss": 3}}, "a loss is measured in every run"),
        ({"constants": GIVEN | {"learning_rate": 1e-3}, "columns": {"learning_rate": "lr"}}, "give one of the two"),
        ({"constants": GIVEN, "seq_len": 2048}, "the sequence length is set twice"),
        ({"constants": GIVEN | {"batch_tokens": 1, "batch_sequences": 1}}, "the batch is set twice"),
        ({"constants": {"params": 124e6}}, r"or give what is alike in every run with --set tokens=VALUE"),
    ],
)
def test_contradictions_are_one_sentence(options: dict[str, object], says: str) -> None:
    with pytest.raises(ForescaleError, match=says):
        read_runs(FRAME, **options)  # type: ignore[arg-type]


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UnknownNameError, match="ours are params, active_params"):
        read_runs(FRAME, constants={"rate": 1})


def test_other_columns_stay_under_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["a,1e-3,128,3.1,3.3,7,NaN", "b,2e-3,128,3.0,3.2,8,1.5"]
    path.write_text("name,lr,bs,smooth loss,loss,cell,score\n" + "\n".join(rows) + "\n", encoding="utf-8")
    frame = read_runs(path, constants=GIVEN).frame
    assert frame["loss"].to_list() == [3.1, 3.0]
    assert frame["source.loss"].to_list() == [3.3, 3.2]  # ours is the smoothed one
    assert frame["source.cell"].to_list() == [7.0, 8.0]
    assert frame["name"].to_list() == ["a", "b"]
    assert frame["score"].to_list()[1] == 1.5
    assert frame.columns[:3] == ["params", "tokens", "learning_rate"]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("config.lr", "learning_rate"),
        ("params.optimizer.learning_rate", "learning_rate"),
        ("hparams/lr", "learning_rate"),
        ("config/train_loop_config/lr", "learning_rate"),
        ("model.init_args.lr", "learning_rate"),
        ("args.seq_len", "seq_len"),
        ("config.model.non_embedding_params", "params"),
        ("summary.eval/loss", "loss"),
        ("metrics.val_loss", "loss"),
        ("Loss/val", "loss"),
        ("train/loss", "loss"),
        ("lm loss validation", "loss"),
        ("hyperparameters.weight-decay", "weight_decay"),
        ("train/num_input_tokens_seen", "tokens"),
    ],
)
def test_prefixes_of_tools_do_not_matter(column: str, name: str) -> None:
    from forescale.runs._columns import find_columns

    assert find_columns([column, "x"]).columns == {name: column}


@pytest.mark.parametrize(
    "column", ["train/learning_rate", "summary.lr", "metrics.lr", "eval.batch_size", "teacher.params", "model.d", "D/N"]
)
def test_what_only_looks_like_a_setting_is_none(column: str) -> None:
    from forescale.runs._columns import find_columns

    assert find_columns([column]).columns == {}


def test_settings_before_measurements_and_held_out_before_training() -> None:
    from forescale.runs._columns import find_columns

    header = ["summary.tokens", "config.tokens", "summary.train/loss", "summary.val/loss", "config.loss"]
    found = find_columns(header)
    assert found.columns == {"tokens": "config.tokens", "loss": "summary.val/loss"}


def test_a_given_name_is_found_behind_its_prefix() -> None:
    table = FRAME.rename({"lr": "config.rate"})
    runs = read_runs(table, constants=GIVEN, columns={"learning_rate": "rate"})
    assert runs.columns["learning_rate"] == "config.rate"
    twice = table.with_columns(pl.col("config.rate").alias("args.rate"))
    with pytest.raises(UnknownNameError, match="several columns that may be 'rate'"):
        read_runs(twice, constants=GIVEN, columns={"learning_rate": "rate"})


def test_batch_factors_are_multiplied() -> None:
    table = FRAME.rename({"bs": "batch_size"}).with_columns(gradient_accumulation_steps=pl.lit(4))
    runs = read_runs(table, constants=GIVEN)
    assert runs.frame["batch_tokens"].to_list() == [4 * 128 * 2048] * 3
    assert any("batch_size × gradient_accumulation_steps" in note for note in runs.notes)
    named = read_runs(table, constants=GIVEN, columns={"batch_sequences": "batch_size"})
    assert named.frame["batch_tokens"].to_list() == [128 * 2048] * 3
    whole = table.rename({"batch_size": "global_batch_size"})
    assert read_runs(whole, constants=GIVEN).frame["batch_tokens"].to_list() == [128 * 2048] * 3


def test_a_frame_of_runs_with_mappings_in_cells() -> None:
    # As a script on W&B's API makes it: one mapping a run, of different keys.
    frame = pandas.DataFrame(
        {
            "name": ["a", "b"],
            "config": [{"lr": 1e-3, "bs": 128}, {"lr": 2e-3, "bs": 128, "note": "x"}],
            "summary": [{"val/loss": 3.1}, {"val/loss": float("nan")}],
        }
    )
    runs = read_runs(frame, constants=GIVEN)
    assert runs.frame["loss"].to_list() == [3.1, float("inf")]
    assert runs.frame["config.note"].to_list() == [None, "x"]


def test_a_batch_that_was_named_is_not_multiplied() -> None:
    table = FRAME.rename({"bs": "batch_size"}).with_columns(gradient_accumulation_steps=pl.lit(4))
    runs = read_runs(table, constants=GIVEN, columns={"batch_sequences": "batch_size"})
    assert not any("×" in note for note in runs.notes)
    assert read_runs(table, constants=GIVEN | {"batch_sequences": 64}).frame["batch_tokens"][0] == 64 * 2048
