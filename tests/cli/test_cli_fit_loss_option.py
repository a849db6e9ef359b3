"""`forescale fit --loss-law`: the keys that other programs rely on."""

import json

import pytest

from forescale.cli import main


def test_epochs_refit_from_the_command_line(data, tmp_path, capsys) -> None:
    # Besiroglu et al. 2024 (2404.10102): the five highest losses dropped; constants within a standard error.
    rows = (data / "epoch-chinchilla" / "svg_extracted_data.csv").read_text().splitlines()
    header, body = rows[0], sorted(rows[1:], key=lambda r: float(r.rsplit(",", 1)[1]))[:-5]
    runs, law = tmp_path / "runs.csv", tmp_path / "mine.toml"
    runs.write_text("\n".join([header, *body]) + "\n")
    columns = "params=Model Size,compute=Training FLOP"
    with pytest.raises(SystemExit) as stop:
        main(("fit", str(runs), "--loss-law", "chinchilla", "--columns", columns, "--json", "--out", str(law)))
    assert not stop.value.code
    document = json.loads(capsys.readouterr().out)
    published = {"E": (1.8172, 0.03), "A": (482.01, 124.58), "B": (2085.43, 1293.23), "alpha": (0.3478, 0.02)}
    for name, (value, error) in published.items():
        fitted = document["parameters"][name]
        assert fitted.keys() >= {"value", "stderr", "low", "high"}
        assert abs(fitted["value"] - value) < error
    assert document["objective"] > 0
    with pytest.raises(SystemExit) as stop:
        main(("plan", "--compute", "1e22", "--law", f"loss={law}", "--json"))
    assert not stop.value.code


def test_an_unknown_form_is_one_sentence(data, capsys) -> None:
    path = str(data / "epoch-chinchilla" / "svg_extracted_data.csv")
    with pytest.raises(SystemExit) as stop:
        main(("fit", path, "--loss-law", "cubic", "--columns", "params=Model Size,compute=Training FLOP"))
    assert stop.value.code == 2
    assert "chinchilla" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocol", "bowl", "--seq-len", "2048"), "--loss-law takes no --protocol and no --seq-len"),
        (("--out", "no/such/folder/law.toml"), "there is no folder"),
        (("--out", "law.json"), "must end in .toml"),
    ],
)
def test_what_would_be_ignored_or_lost_is_refused_before_any_work(options, message, tmp_path, capsys) -> None:
    runs = tmp_path / "runs.csv"
    runs.write_text("this is never read")
    with pytest.raises(SystemExit) as stop:
        main(("fit", str(runs), "--loss-law", "chinchilla", *options))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_the_law_does_not_overwrite_the_runs(tmp_path, capsys) -> None:
    runs = tmp_path / "runs.toml"
    runs.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(("fit", str(runs), "--out", str(runs)))
    assert stop.value.code == 2
    assert "must not overwrite" in capsys.readouterr().err
    assert runs.read_text() == "mine"
