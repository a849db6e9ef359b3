"""The reader: names, units, and one clear sentence for every bad table."""

from __future__ import annotations

import gzip
import math
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from forescale.errors import ForescaleError, UnknownNameError
from forescale.runs import Runs, parse_columns, read_runs

STEP_LAW = "step-law/dense_lr_bs_loss.csv"
HEADER = "N,D,lr,bs,loss"
ROWS = ("1e8,2e9,1e-3,128,3.1", "1e8,2e9,2e-3,128,3.0", "1e8,2e9,4e-3,128,3.2")


def table(folder: Path, *rows: str, header: str = HEADER, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(folder: Path, *rows: str, header: str = HEADER, **options: object) -> Runs:
    return read_runs(table(folder, *rows, header=header), **({"seq_len": 2048} | options))  # type: ignore[arg-type]


def sentence(folder: Path, *rows: str, header: str = HEADER, **options: object) -> str:
    with pytest.raises(ForescaleError) as raised:
        read(folder, *rows, header=header, **options)
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_step_law_files_are_read_as_they_are(data: Path) -> None:
    # The counts and columns that the data's README states.
    runs = read_runs(data / STEP_LAW, seq_len=2048)
    assert (runs.read, runs.frame.height, runs.missing_loss) == (1508, 1508, 0)
    assert runs.frame["cell"].n_unique() == 13
    assert runs.columns["loss"] == "smooth loss"
    assert "not from 'loss'" in runs.notes[0]
    moe = read_runs(data / "step-law/moe_lr_bs_loss.csv")  # its seq_len column says 2048
    assert (moe.frame.height, moe.frame["cell"].n_unique(), moe.diverged) == (350, 8, 0)
    assert (moe.frame["active_params"] < moe.frame["params"]).all()


def test_batch_is_sequences_times_length(data: Path) -> None:
    runs = read_runs(data / STEP_LAW, seq_len=2048)
    source = pl.read_csv(data / STEP_LAW)
    assert runs.frame["batch_tokens"].to_list() == (source["bs"] * 2048.0).to_list()


def test_diverged_runs_are_those_beyond_the_empty_band(data: Path) -> None:
    # In the source no loss lies between 1.2 and 1.7 times its cell's lowest: any factor between marks the same runs.
    source = pl.read_csv(data / STEP_LAW)
    ratio = source["smooth loss"] / source.select(pl.col("smooth loss").min().over("N", "D"))["smooth loss"]
    assert not ratio.is_between(1.2, 1.7).any()
    assert read_runs(data / STEP_LAW, seq_len=2048).diverged == int((ratio > 1.2).sum())


def test_misfitting_needs_no_options(data: Path) -> None:
    runs = read_runs(data / "misfitting/scaling_results_last_ckpt_only.csv")
    assert runs.columns["params"] == "N_no_emb"
    assert runs.frame["batch_tokens"].unique().to_list() == [2.0**20]  # D / total_steps in every row of the source
    assert any("tokens / current_steps" in note for note in runs.notes)
    assert any("not from 'N'" in note for note in runs.notes)


def test_hagele_needs_no_options(data: Path) -> None:
    runs = read_runs(data / "lr-scheduling-hagele/runs.csv")
    assert runs.columns["batch_tokens"] == "tokens_per_step"
    assert runs.columns["loss"] == "final_val_loss"
    assert runs.diverged == 1  # the README: one cosine run with lr 0.005 ended at 7.6
    assert any("embeddings" in note for note in runs.notes)


@pytest.mark.parametrize(
    "header",
    [
        "n_params,train_tokens,PEAK_LR,Global Batch Size,final-loss",
        "Parameters,tokens,max_lr,train_batch_size,val/loss",
        "params,D,learning_rate,batch_sequences,Smooth Loss",
    ],
)
def test_names_are_known_whatever_their_case_and_separators(tmp_path: Path, header: str) -> None:
    frame = read(tmp_path, *ROWS, header=header).frame
    assert frame["learning_rate"].to_list() == [1e-3, 2e-3, 4e-3]
    assert frame["batch_tokens"].to_list() == [128 * 2048.0] * 3


def test_columns_map_names_that_no_alias_knows(tmp_path: Path) -> None:
    runs = read(tmp_path, *ROWS, header="N,D,rate,bs,loss", columns={"learning_rate": "rate"})
    assert runs.frame["learning_rate"][0] == 1e-3


def test_a_named_column_outranks_the_alias(tmp_path: Path) -> None:
    rows = [row + ",9.9" for row in ROWS]
    assert read(tmp_path, *rows, header=HEADER + ",smooth loss").frame["loss"].to_list() == [9.9] * 3
    named = read(tmp_path, *rows, header=HEADER + ",smooth loss", columns={"loss": "loss"})
    assert named.frame["loss"][0] == 3.1
    assert named.notes == ()


def test_columns_of_one_content_are_no_choice(tmp_path: Path) -> None:
    rows = [row + "," + row.rsplit(",", 1)[1] for row in ROWS]
    assert read(tmp_path, *rows, header=HEADER + ",val_loss").notes == ()


def test_parse_columns() -> None:
    assert parse_columns("learning_rate=lr, tokens = D") == {"learning_rate": "lr", "tokens": "D"}
    for text in ("", "lr", "=lr", "learning_rate=", "loss=a,loss=b"):
        with pytest.raises(ForescaleError, match="--columns"):
            parse_columns(text)


def test_unknown_names_list_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'rate'; ours are params, active_params"):
        read(tmp_path, *ROWS, columns={"rate": "lr"})
    with pytest.raises(UnknownNameError, match=r"no column 'eta' .* they have N, D, lr, bs, loss"):
        read(tmp_path, *ROWS, columns={"learning_rate": "eta"})


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    frame = read(tmp_path, "130m,2.6B, 1e-3 ,128,3.1", "130M,2.6e9,2e-3,128,3.0").frame
    assert frame["params"].to_list() == [130e6] * 2
    assert frame["tokens"].to_list() == [2.6e9] * 2


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "null", "None", "N/A"])
def test_runs_without_a_loss_are_dropped_and_counted(tmp_path: Path, missing: str) -> None:
    runs = read(tmp_path, *ROWS, f"1e8,2e9,8e-3,128,{missing}")
    assert (runs.read, runs.missing_loss, runs.frame.height) == (4, 1, 3)


def test_planted_diverged_runs_are_marked(tmp_path: Path) -> None:
    runs = read(tmp_path, *ROWS, "1e8,2e9,8e-3,128,10.9", "1e8,2e9,16e-3,128,inf", "1e8,9e9,1e-3,128,10.9")
    assert runs.frame["diverged"].to_list() == [False, False, False, True, True, False]
    assert runs.diverged == 2


def test_tokens_rounded_to_whole_steps_stay_in_one_cell(tmp_path: Path) -> None:
    runs = read(tmp_path, "1e8,2.000e9,1e-3,128,3.1", "1e8,2.004e9,1e-3,256,3.0", "1e8,2.1e9,1e-3,128,3.2")
    assert runs.frame["cell"].to_list() == [0, 0, 1]
    assert any("3 make 2 cells" in note for note in runs.notes)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl"])
def test_every_file_format_gives_the_same_runs(tmp_path: Path, suffix: str) -> None:
    frame = pl.read_csv(table(tmp_path, *ROWS))
    path = tmp_path / f"copy{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        text = frame.write_csv(separator="\t" if suffix == ".tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    assert read_runs(path, seq_len=2048).frame.equals(read(tmp_path, *ROWS).frame)


def test_polars_frames_are_read_without_a_file(tmp_path: Path) -> None:
    frame = pl.read_csv(table(tmp_path, *ROWS)).with_columns(loss=pl.lit(math.nan))
    with pytest.raises(ForescaleError, match="no run in the data frame has a loss"):
        read_runs(frame, seq_len=2048)


def test_frames_of_other_libraries_come_in_through_narwhals(tmp_path: Path) -> None:
    pytest.importorskip("narwhals")
    pandas = pytest.importorskip("pandas")
    path = table(tmp_path, *ROWS)
    assert read_runs(pandas.read_csv(path), seq_len=2048).frame.equals(read_runs(path, seq_len=2048).frame)
    with pytest.raises(ForescaleError, match="eager data frame"):
        read_runs(object())


# Bad input: the message names what is wrong, where, and what to do.


def test_files_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"gone\.csv cannot be read: No such file"):
        read_runs(tmp_path / "gone.csv")
    with pytest.raises(ForescaleError, match="holds no runs of a kind that is known"):
        read_runs(tmp_path)
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(ForescaleError, match="is empty: give a table"):
        read_runs(empty)
    assert "no runs, at most a header" in sentence(tmp_path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    ragged = table(tmp_path, *ROWS, "1,2,3,4,5,6")
    with pytest.raises(ForescaleError, match="not the table its name promises: found more fields"):
        read_runs(ragged)
    for name in ("text.parquet", "text.jsonl"):
        with pytest.raises(ForescaleError, match=r"not the table its name promises: [^\n]+$"):
            read_runs(table(tmp_path, *ROWS, name=name), seq_len=2048)
    truncated = tmp_path / "cut.csv.gz"
    truncated.write_bytes(gzip.compress("\n".join([HEADER, *ROWS * 100]).encode())[:-40])
    with pytest.raises(ForescaleError, match="cannot be read: unexpected end of file"):
        read_runs(truncated, seq_len=2048)


def test_lacking_columns_are_named_together(tmp_path: Path) -> None:
    message = sentence(tmp_path, "1,2", header="N,rate")
    for part in ("tokens (or d", "learning_rate (or lr", "batch_tokens (or bs", "loss (or loss", "they have N, rate"):
        assert part in message
    assert "--columns tokens=COLUMN,learning_rate=COLUMN" in message


def test_text_in_numbers(tmp_path: Path) -> None:
    message = sentence(tmp_path, *ROWS, "1e8,2e9,fast,128,3.1")
    assert "column 'lr' (learning_rate) must hold numbers; row 5 has 'fast'" in message
    assert "row 3 has '7 billion'" in sentence(tmp_path, ROWS[0], "7 billion,2e9,1e-3,128,3.1")


def test_empty_cells_other_than_the_loss(tmp_path: Path) -> None:
    assert "column 'lr' (learning_rate) is empty in row 3" in sentence(tmp_path, ROWS[0], "1e8,2e9,,128,3.1")
    assert read(tmp_path, *ROWS, "1e8,2e9,,128,").missing_loss == 1  # a crashed run may lack both


def test_no_loss_at_all(tmp_path: Path) -> None:
    assert "no run in runs.csv has a loss" in sentence(tmp_path, "1e8,2e9,1e-3,128,nan", "1e8,2e9,1e-3,128,")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1e8,2e9,0,128,3.1", "'lr' (learning_rate) must hold positive numbers; row 2 has 0"),
        ("1e8,2e9,inf,128,3.1", "'lr' (learning_rate) must hold positive numbers; row 2 has inf"),
        ("1e8,2e9,1e-3,-4,3.1", "'bs' (batch_sequences) must hold positive numbers; row 2 has -4"),
        ("1e8,2e9,1e-3,128,-3.1", "'loss' must hold positive numbers; row 2 has -3.1"),
        ("130,2e9,1e-3,128,3.1", "'N' (params) must count in ones, not in millions"),
        ("1e8,2.6,1e-3,128,3.1", "'D' (tokens) must count in ones, not in millions"),
    ],
)
def test_impossible_values(tmp_path: Path, row: str, says: str) -> None:
    assert says in sentence(tmp_path, row)


def test_sequences_need_a_length(tmp_path: Path) -> None:
    assert "give --seq-len, such as --seq-len 2048" in sentence(tmp_path, *ROWS, seq_len=None)
    assert "--seq-len must be a positive" in sentence(tmp_path, *ROWS, seq_len=0)
    rows = [row + ",1024" for row in ROWS]
    assert "--seq-len 2048 contradicts column 'T_len'" in sentence(
        tmp_path, *rows, header=HEADER + ",T_len", columns={"seq_len": "T_len"}
    )


def test_active_above_all_parameters(tmp_path: Path) -> None:
    rows = [row + ",2e8" for row in ROWS]
    assert "row 2 has more of the former" in sentence(tmp_path, *rows, header=HEADER + ",Na")


STEPS = [f"{row},{2e9 / (128 * 2048):.0f}" for row in ROWS]  # the true number of steps at sequences of 2048


def test_steps_confirm_the_batch(tmp_path: Path) -> None:
    assert read(tmp_path, *STEPS, header=HEADER + ",steps").notes == ()


def test_a_wrong_sequence_length_is_found(tmp_path: Path) -> None:
    message = sentence(tmp_path, *STEPS, header=HEADER + ",steps", seq_len=4096)
    assert "2 times the tokens in every run" in message
    assert "check --seq-len: 2048 would agree" in message


def test_tokens_taken_for_sequences_are_found(tmp_path: Path) -> None:
    rows = [row.replace(",128,", ",262144,") for row in STEPS]
    # 262,144 sequences of 2048 leave 3.7 steps: the steps column knows better.
    message = sentence(tmp_path, *rows, header=HEADER + ",steps")
    assert "'bs' seems to count tokens already: say --columns batch_tokens=bs" in message
    assert read(tmp_path, *rows, header=HEADER + ",steps", columns={"batch_tokens": "bs"}).notes == ()


def test_sequences_taken_for_tokens_are_found(tmp_path: Path) -> None:
    message = sentence(tmp_path, *STEPS, header=HEADER + ",steps", columns={"batch_tokens": "bs"}, seq_len=None)
    assert "counts sequences of 2048 tokens" in message
    assert "--columns batch_sequences=bs --seq-len 2048" in message


def test_a_batch_beyond_the_run(tmp_path: Path) -> None:
    rows = [row.replace(",128,", ",2097152,") for row in ROWS]
    assert "at least one step; row 2 has 2e+09 tokens" in sentence(tmp_path, *rows)
    rows = [row.replace(",128,", ",262144,") for row in ROWS]
    assert any("fewer than 100 steps" in note for note in read(tmp_path, *rows).notes)


def test_two_batch_columns_must_agree(tmp_path: Path) -> None:
    rows = [row + ",131072" for row in ROWS]
    message = sentence(tmp_path, *rows, header=HEADER + ",tokens_per_step")
    assert "2 times 'tokens_per_step'" in message


def test_unfinished_runs_are_noted(tmp_path: Path) -> None:
    rows = [*STEPS[:2], STEPS[2].replace(",7629", ",3000")]
    assert "in 1 of 3 runs steps × batch is not the tokens" in read(tmp_path, *rows, header=HEADER + ",steps").notes[0]


def test_blank_lines_are_no_runs(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS[0], "", *ROWS[1:], "").read == 3


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, forescale.runs, forescale.fit, forescale.cli._score\n"
        "print([m for m in ('numpy', 'scipy', 'polars', 'matplotlib', 'rich', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_two_units_in_one_column_are_refused() -> None:
    table = pl.DataFrame(
        {
            "params": [1e8] * 4,
            "tokens": [2e9] * 4,
            "lr": [1e-3, 2e-3, 4e-3, 8e-3],
            "batch_tokens": [2.0**19, 2.0**8, 2.0**19, 2.0**8],
            "steps": [2e9 / 2**19] * 4,
            "loss": [3.0, 3.1, 3.2, 3.3],
        }
    )
    with pytest.raises(
        ForescaleError, match=r"0.0004883 times the tokens in the other 2: 'batch_tokens' seems to hold two units"
    ):
        read_runs(table)
    short = table.with_columns(batch_tokens=pl.lit(2.0**19), steps=pl.Series([1.0, 0.9, 0.4, 1.0]) * 2e9 / 2**19)
    assert any("unfinished runs" in note for note in read_runs(short).notes)


def test_a_loss_alone_is_a_table_of_one_cell() -> None:
    runs = read_runs(pl.DataFrame({"loss": [3.0, 2.0, 9.0]}), needs=("loss",))
    assert runs.frame.rows() == [(3.0, 0, False), (2.0, 0, False), (9.0, 0, True)]
