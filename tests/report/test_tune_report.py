"""The page of a tuning: the tuning's own numbers, on runs whose losses come from a closed form."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forescale.cli import main
from forescale.plan.export import TARGETS, export
from forescale.report import tune_report
from forescale.report._carry_over import exports, train_command, unsaid
from forescale.sweep.tune import Target, Tuned
from forescale.train import ModelOptions, _peak, shape_for
from forescale.train._config_json import identity
from forescale.workload import Shape, Workload

sys.path.insert(0, str(Path(__file__).parent))

from page import Page
from tuned_valley import loss, optimum, target, tuning

HOSTILE = "<script>alert('x')</script>&\"$_^{}"


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return tuning()


@pytest.fixture(scope="module")
def html(tuned: Tuned) -> str:
    return tune_report(tuned, command="forescale tune --out here")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def dry_run(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict:
    """The config that a `forescale train` of the page comes to."""
    monkeypatch.setattr(_peak, "SECONDS", 0.0)
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(command.replace("\\\n", ""))[1:], "--dry-run", "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    made = json.loads(out)["config"]
    return {name: value for name, value in made.items() if name in WHICH}


WHICH = set(identity(target().plan().config)) - {"eval_tokens"}  # which has no option, as the page says


def test_the_verdict_has_the_choice_its_interval_and_the_gaps(page: Page, tuned: Tuned) -> None:
    at, recipe = tuned.target.workload, tuned.run.recipe
    rate, batch = recipe.learning_rate.number, recipe.batch_tokens.number
    gaps = [100 * tuned.calibration.after.loss_gap, len(tuned.runs.frame) + 1, 100 * tuned.calibration.before.loss_gap]
    reached, best = loss(at.params, at.tokens, rate, batch), loss(at.params, at.tokens, *optimum(at.params, at.tokens))
    choice = [rate, *tuned.interval("learning_rate"), batch, *tuned.interval("batch_tokens")]
    wanted = [tuned.target.compute, *choice, *gaps, 100 * tuned.spent / tuned.target.compute]
    wanted += [reached, 100 * (reached / best - 1), 5, best, *optimum(at.params, at.tokens)]
    wanted += [0.4]  # Step Law: an octave above the best rate, where the bowl is 0.4 % high
    assert [value for value, _ in page.numbers[: len(wanted)]] == pytest.approx(wanted)


def test_the_recipe_is_there_in_full(page: Page, tuned: Tuned) -> None:
    table, why = page.table("The recipe"), page.table("The reasons")
    recipe = tuned.run.recipe.to_json()
    assert [row[0] for row in table.rows[1:]] == [name.replace("_", " ") for name in recipe]
    for row, numbers, reasons, value in zip(
        table.rows[1:], table.values[1:], why.rows[1:], recipe.values(), strict=True
    ):
        stated = [value[end] for end in ("value", "low", "high") if isinstance(value[end], int | float)]
        assert numbers == stated
        assert row[4] == value["law"]
        assert reasons[1:] == [value["reason"], value["interval"]]


def test_the_command_trains_the_same_run(html: str, tuned: Tuned, capsys, monkeypatch) -> None:
    (said,) = re.findall(r'<pre[^>]*aria-label="Commands">(.*?)</pre>', html, flags=re.S)
    train, plan = said.split("\nforescale plan")
    wanted = identity(tuned.run.config)
    assert dry_run(train, capsys, monkeypatch) == {name: wanted[name] for name in WHICH}
    assert plan.endswith("--runs runs.csv")


def test_the_command_says_what_a_run_has_of_its_own(capsys, monkeypatch, tmp_path) -> None:
    (tmp_path / "it's a --text.txt").write_text("a " * 50_000)
    shape = shape_for(3e4, vocab=256, seq_len=64, position="learned", tied=True, norm="layer", gated=False)
    options = ModelOptions(position="learned", z_loss=1e-4, activation="relu2")
    held: dict = {"held_out": 0.03, "eval_tokens": 4096, "options": options, "optimizer": "muon"}
    held |= {"scheme": "mup", "base": Shape(width=16, depth=2), "data": (str(tmp_path / "it's a --text.txt"),)}
    at = Workload.from_shape(shape, tokens=5e5, seq_len=64)
    wanted = Target(workload=at, settings=held, chosen={"schedule": "wsd:decay=0.2", "beta2": 0.99, "grad_clip": 0.0})
    config = wanted.plan(seed=3).config
    made = dry_run(train_command(config), capsys, monkeypatch)
    assert made == {name: value for name, value in identity(config).items() if name in WHICH}
    assert unsaid(config) == ["eval_tokens = 4096"]


def test_a_model_with_experts_is_asked_for_by_its_size(capsys, monkeypatch) -> None:
    shape = shape_for(2e5, vocab=256, seq_len=64, experts=4, top_k=1)
    wanted = Target(workload=Workload.from_shape(shape, tokens=2e6, seq_len=64))
    config = wanted.plan().config
    assert dry_run(train_command(config), capsys, monkeypatch)["shape"] == identity(config)["shape"]
    assert not any("the size alone" in said for said in unsaid(config))
    other = replace(config, shape=replace(shape, layers=shape.layers + 1))  # of other proportions than the options make
    assert any("the size alone" in said for said in unsaid(other))
    assert "rope_base = 500.0" in unsaid(replace(config, options=ModelOptions(rope_base=500.0)))


def test_the_plan_of_the_page_makes_the_same_choice(tuned: Tuned, html: str, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    tuned.runs.frame.write_csv("runs.csv")
    command = re.search(r"forescale (plan [^<]*)</pre>", html)[1].replace("\\\n", "")
    with pytest.raises(SystemExit):
        main([*shlex.split(command), "--json"])
    planned = json.loads(capsys.readouterr().out)["recipe"]
    for name in ("learning_rate", "batch_tokens", "weight_decay"):
        assert planned[name]["value"] == pytest.approx(getattr(tuned.run.recipe, name).number, rel=1e-6)


def test_every_proxy_is_in_the_table_of_its_round(page: Page, tuned: Tuned) -> None:
    share = 0.0
    for each in tuned.rounds:
        table = page.table(f"Round {each.number}")
        assert [row[0] for row in table.rows[1:]] == [entry.key for entry in each.entries]
        assert [row[7].partition(":")[0] for row in table.rows[1:]] == [entry.state for entry in each.entries]
        assert [bool(row[6]) for row in table.rows[1:]] == [entry.state == "done" for entry in each.entries]
        for row, entry in zip(table.values[1:], each.entries, strict=True):
            names = ("params", "tokens", "learning_rate", "batch_tokens", "seed")
            assert row[:5] == [entry.job.row[name] for name in names]
        assert any("it took longer than its 60 s" in row[7] for row in table.rows) is (each.number == 2)
        share += sum(
            row[-1 if entry.state == "failed" else -2]
            for row, entry in zip(table.values[1:], each.entries, strict=True)
        )
    assert share == pytest.approx(100 * tuned.spent / tuned.target.compute)


def test_what_was_learnt_is_what_the_rounds_say(page: Page, tuned: Tuned) -> None:
    rows = page.table("What was known of the optimum").values[1:]
    known = [tuned.calibration.before, *(each.after for each in tuned.rounds)]
    for row, seen in zip(rows, known, strict=True):
        rate, batch = seen.learning_rate, seen.batch_tokens
        assert row[1:] == [rate.value, rate.low, rate.high, batch.value, batch.low, batch.high, 100 * seen.loss_gap]
    assert rows[0][0] == 0
    assert rows[-1][0] == pytest.approx(100 * tuned.spent / tuned.target.compute)


def test_the_targets_runs_stand_in_the_order_of_their_loss(page: Page, tuned: Tuned) -> None:
    table, at = page.table("The runs of the target"), tuned.target.workload
    bottom = loss(at.params, at.tokens, *optimum(at.params, at.tokens))
    for row in table.values[1:-1]:
        rate, batch, _, reached, gap = row
        assert reached == loss(at.params, at.tokens, rate, batch)
        assert gap == pytest.approx(100 * (reached / bottom - 1))
    assert [row[0] for row in table.rows[1:]] == [
        *("around it", "the prediction", "around it", "around it", "published Step Law", "around it"),
    ]
    assert table.rows[-1][4:] == ["diverged", ""]
    assert [row[3] for row in table.values[1:-1]] == sorted(row[3] for row in table.values[1:-1])


def test_every_trainer_has_an_export_or_a_reason(page: Page, html: str, tuned: Tuned) -> None:
    assert page.count("details") == len(TARGETS)
    text = "".join(page.text)
    assert export(tuned.run.plan, "olmo-core").text in text
    assert "litgpt can only run a cosine schedule" in text  # the plan's is linear
    cosine = replace(tuned.run.recipe, schedule=replace(tuned.run.recipe.schedule, value="cosine"))
    assert 'aria-label="Config of litgpt"' not in html
    (litgpt,) = (e for e in exports(replace(tuned, run=replace(tuned.run, recipe=cosine))) if e.target == "litgpt")
    assert litgpt.text  # what the user decided is exported, not the plan's own


def test_the_page_is_whole_and_loads_nothing(page: Page, html: str) -> None:
    assert not page.problems
    assert "://" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.S)
    assert all(value.startswith("#") for value in page.attributes("href"))
    assert not {"script", "iframe", "link", "img", "image", "object"} & {tag for tag, _ in page.tags}
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(pictures) == 3 + 3  # a cell each; belief, gap, target
    assert all(attrs["role"] == "img" for attrs in pictures)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.attributes("href")} <= set(ids)
    assert page.count("h1") == 1
    assert "forescale tune --out here" in "".join(page.text)


def test_the_conditions_are_those_of_the_runs(page: Page) -> None:
    where = {row[0]: row[1] for row in page.table("Where the proxies ran").rows[1:]}
    assert (where["device"], where["torch"], where["cores"]) == ("cpu", "2.13.0", "2")  # tuned_valley.ROW
    what = {row[0]: row[1] for row in page.table("What was trained").rows[1:]}
    assert what["train tokens of the data"] == "10,000,000"
    assert what["tokenizer"] == "bytes"


def said_of(tuned: Tuned) -> str:
    """The text of a page without pictures of the proxies, which take their time."""
    page = Page(tune_report(replace(tuned, rounds=())))
    assert not page.problems
    assert not any(math.isnan(value) or math.isinf(value) for value, _ in page.numbers)
    return " ".join("".join(page.text).split())


def test_a_target_that_was_not_run_has_no_section(tuned: Tuned) -> None:
    text = said_of(replace(tuned, loss=None, verified=None))
    assert "the target has not been trained" in text
    assert "The target's runs" not in text


def test_a_target_that_was_trained_alone_says_its_loss(tuned: Tuned) -> None:
    assert "reached 3.2100 nats per token; how far" in said_of(replace(tuned, loss=3.21, verified=None))
    assert "the target diverged" in said_of(replace(tuned, loss=math.inf, verified=None))


def test_a_prediction_that_diverged_or_was_the_lowest_says_so(tuned: Tuned) -> None:
    verified = tuned.verified
    lost = replace(verified, predicted=replace(verified.predicted, loss=math.inf))
    assert "the target diverged" in said_of(replace(tuned, loss=math.inf, verified=lost))
    best = replace(verified, predicted=replace(verified.predicted, loss=3.0))
    assert "none of 5 more runs around it was lower" in said_of(replace(tuned, loss=3.0, verified=best))
    none = replace(lost, others=(verified.others[-1],))
    assert "the target diverged" in said_of(replace(tuned, loss=math.inf, verified=none))


def test_a_published_setting_that_diverged_is_said(tuned: Tuned) -> None:
    verified = replace(tuned.verified, published=tuned.verified.others[-1])
    assert "Published Step Law's setting diverged." in said_of(replace(tuned, verified=verified))


def test_an_optimum_outside_its_interval_is_said(tuned: Tuned, page: Page) -> None:
    assert "outside of what was predicted" not in "".join(page.text)
    best = (tuned.verified.best[0], 2 * tuned.interval("batch_tokens")[1])
    text = said_of(replace(tuned, verified=replace(tuned.verified, best=best)))
    assert "The best batch lies outside of what was predicted with 80 %." in text


def test_a_tuning_without_rounds_says_why(tuned: Tuned) -> None:
    from forescale.fit.calibrate import calibrate

    prior = calibrate(None, target=tuned.target.workload)
    bare = replace(
        tuned, runs=None, calibration=prior, run=tuned.target.plan(), verified=None, loss=None, speed=None,
        ended="no proxy lowers the expected gap",
    )  # fmt: skip
    text = said_of(bare)
    assert "Nothing: no proxy lowers the expected gap." in text
    assert "by the published prior alone: no proxy was run." in text
    assert "--runs" not in text


def test_what_comes_from_the_user_is_escaped(tuned: Tuned) -> None:
    config = replace(tuned.run.config, data=(HOSTILE,))
    told = replace(
        tuned, rounds=(), ended=HOSTILE, notes=(HOSTILE,), run=replace(tuned.run, config=config, notes=(HOSTILE,))
    )
    page = Page(tune_report(told, command=HOSTILE, runs_file="it's <b>.csv"))
    assert not page.problems
    assert page.count("script") == 0
    assert page.count("b") == 0
    assert "".join(page.text).count(HOSTILE) >= 6
