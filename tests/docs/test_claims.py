"""Numbers quoted in the README are those that the benchmarks wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def results(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("row", "law"),
    [
        ("Step Law, refit on these sweeps", "steplaw-refit"),
        ("**Step Law, as published** (the default)", "step-law"),
        ("Porian et al.", "porian"),
        ("DeepSeek (C = 6 N D)", "deepseek"),
    ],
)
def test_scores(row: str, law: str) -> None:
    scored = results("score")["sweeps"]["dense"][law]
    cells = " | ".join(f"{scored[reading]:.3f}" for reading in ("nearest", "linear", "smooth"))
    assert f"| {row} | {cells} |" in README


def test_moe_score() -> None:
    scored = results("score")["sweeps"]["moe"]["step-law"]
    assert " / ".join(f"{scored[r]:.3f}" for r in ("nearest", "linear", "smooth")) in README


def test_speed() -> None:
    plan, laws = results("plan"), results("laws")
    assert "less than a sixth of the CPU time" in README
    assert plan["ratio_to_peer"] < 1 / 6
    assert plan["heavy_modules_loaded"] == []
    assert "more than 30 million workloads a second" in README
    assert laws["workloads_per_cpu_second"]["step_law_arrays"] > 30e6


def test_speed_of_fits() -> None:
    fit, loss = results("fit"), results("loss_fit")
    assert "more than 500 times faster than a scikit-learn loop" in " ".join(README.split())
    assert fit["times_faster"]["scikit-learn loop"] > 500
    assert fit["largest_relative_difference"]["scikit-learn loop"] < 1e-9
    assert "more than 1,000 times faster" in " ".join(README.split())
    assert loss["speedup"]["fit"] > 1000
    assert abs(loss["objective"]["ours_over_scipy_minus_1"]) < 1e-8


def test_landscape() -> None:
    sweeps = results("landscape")["sweeps"]
    for text, row in (
        ("DeepSeek {:.3f} % expected and {:.3f} % measured", sweeps["dense"]["deepseek"]),
        ("Porian {:.3f} and {:.3f}", sweeps["dense"]["porian"]),
        ("Lingle's fit {:.3f} and {:.3f}", sweeps["dense"]["lingle"]),
        ("Ling's law {:.3f} and {:.3f}", sweeps["moe"]["ling-moe"]),
        ("the pooled refit {:.3f} and {:.3f}", sweeps["moe"]["step-law-pooled"]),
    ):
        assert text.format(row["expected"], row["measured"]) in " ".join(README.split())


def test_frontier() -> None:
    page = (ROOT / "docs" / "concepts" / "frontier.md").read_text(encoding="utf-8")
    measured = results("frontier")["power_lines"]
    assert "| " + " | ".join(f"{ratio:.1f}" for ratio in measured["cheapest"].values()) + " |" in page
    for by_law in measured["equal_weight"].values():
        cells = [f"{c['tokens_per_param']:.0f} ({c['small_batch_tokens_per_param']:.0f})" for c in by_law.values()]
        assert "| " + " | ".join(cells) + " |" in page
    for time in ("unlimited devices", "64 devices"):
        assert all(not c["sizes_under_20_that_are_not"] for c in measured["equal_weight"][time].values())
    assert results("frontier")["compute_over_peer_minus_1"]["most"] < 1e-3
    assert results("frontier")["cpu_seconds"]["process"] < 1


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        ("none: the prior", "0 cells"),
        ("its 3 cheapest cells", "3 cells"),
        ("its 6 cheapest cells", "6 cells"),
        ("its 10 cheapest cells", "10 cells"),
        ("what 1 % of its compute buys", "one_percent"),
    ],
)
def test_calibration(row: str, stage: str) -> None:
    means = results("calibration")["means"]
    found = means["calibrated"][stage]
    shift = "" if found["constant_shift"] is None else f" {found['constant_shift']:.3f}"
    assert f"| {row} | {found['gap']:.3f} |{shift} | {100 * found['coverage']:.0f} % |" in README


def test_calibration_page_holds_every_lab() -> None:
    page = (ROOT / "docs" / "concepts" / "calibrate.md").read_text(encoding="utf-8")
    stages = ("0 cells", "3 cells", "6 cells", "10 cells", "one_percent")
    for name, lab in results("calibration")["labs"].items():
        gaps = " | ".join(f"{lab['calibrated'][stage]['gap']:.3f}" for stage in stages)
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {name} | "))
        assert row.endswith(f" | {gaps} |")


def test_calibration_beside_published_laws() -> None:
    means = results("calibration")["means"]
    published = means["published"]
    assert min(published, key=published.get) == "lingle"
    text = " ".join(README.split())
    assert f"Lingle's, has {published['lingle']:.3f}; Step Law {published['step-law']:.3f}" in text
    assert means["calibrated"]["6 cells"]["gap"] < means["best_published"] / 2
    assert results("calibration")["plan_runs_seconds"]["cpu_seconds"] < 2


def test_step_laws_own_tool() -> None:
    faster = results("step_law")["times_faster"]
    assert "less than a\nhundredth of its time, a 25th with the start of the process" in README
    assert faster["seconds"] > 100
    assert faster["cpu_seconds"] > 100
    assert faster["process_seconds"] > 25


def test_transfer() -> None:
    found = results("training_transfer")
    text = " ".join(README.split())
    standard, mup = found["standard over width"], found["mup over width"]
    deep, complete = found["mup over depth"], found["completep over depth"]
    assert f"drifts by {-standard['drift']:.2f} octaves" in text
    assert f"the base's costs {standard['loss_gap_percent']:.1f} % of loss" in text
    assert f"under muP {mup['drift']:.2f} octaves and {mup['loss_gap_percent']:.2f} %" in text
    assert f"({complete['drift']:.2f} octaves, {complete['loss_gap_percent']:.2f} %)" in text
    losses = [m["loss"] for m in complete["minima"]]
    assert losses == sorted(losses, reverse=True)
    assert deep["minima"][-1]["loss"] > deep["minima"][-2]["loss"]
    ahead = 100 * (1 - standard["minima"][-1]["loss"] / mup["minima"][-1]["loss"])
    assert f"ended {ahead:.1f} % below muP" in text
    assert [found[name]["verdict"] for name in found if " over " in name] == ["fail", "pass", "pass", "pass"]


def test_speed_of_training() -> None:
    text = " ".join(README.split())
    assert "within 2 % of one plain group's time" in text
    assert all(row["step_time_ratio"] <= 1.02 for row in results("groups")["results"].values())
    found = results("nanogpt")["results"]
    two, one = (found[f"L2 d64 T128 B16, {n} threads"]["times_as_fast"] for n in (2, 1))
    assert f"makes {two:.2f} times the tokens a second" in text
    assert f"{one:.2f} times on one" in text
    assert f"width 384 {found['L6 d384 T256 B8, 2 threads']['times_as_fast']:.2f} times" in text


PAGE = " ".join((ROOT / "docs" / "concepts" / "transfer.md").read_text(encoding="utf-8").split())


def test_the_table_of_transfer() -> None:
    found = results("training_transfer")
    for name, places in (
        ("standard over width", 1),
        ("mup over width", 2),
        ("mup over depth", 2),
        ("completep over depth", 2),
    ):
        one = found[name]
        first, last = one["minima"][0]["loss"], one["minima"][-1]["loss"]
        row = f"{one['drift']:+.2f} | {one['loss_gap_percent']:.{places}f} % | {first:.3f} to {last:.3f} |"
        assert row in PAGE.replace("**", "")


def test_transfer_over_the_density() -> None:
    mup, supar = (results("training_sparsity")[name] for name in ("mup", "supar"))
    assert (
        f"by {mup['drift']:.2f} octaves at a sixteenth, and the dense model's costs {mup['loss_gap_percent']:.1f} %"
        in PAGE
    )
    assert f"({supar['drift']:.2f}) and costs at most {supar['loss_gap_percent']:.1f} %" in PAGE
    lower = 100 * (1 - mup["minima"][-1]["loss"] / supar["minima"][-1]["loss"])
    assert f"ends {lower:.1f} % *lower*" in PAGE


def test_decay_against_batch() -> None:
    found = results("training_decay")
    low, high = found["exponent_80"]
    assert f"to the power {found['exponent_of_best_decay_in_batch']:.2f}" in PAGE
    assert f"{low:.2f} to {high:.2f}" in PAGE
    for row in found["rows"]:
        means = {float(t): sum(v) / len(v) for t, v in row["losses"].items()}
        best = min(means, key=lambda t: means[t])
        near = [means[t] for t in (best / 2, best * 2) if t in means]
        assert min(near) < 1.01 * means[best]  # a factor of two in decay


def test_schedules() -> None:
    best = {(r["tokens_per_param"], r["schedule"]): r["best"] for r in results("training_schedules")["rows"]}
    gap = {key: 100 * (one["loss"] / best[key[0], "linear to zero"]["loss"] - 1) for key, one in best.items()}
    assert f"WSD ends {-gap[20, 'WSD, 20 % decay']:.1f} % below linear-to-zero" in PAGE
    assert f"cosine to a tenth {gap[20, 'cosine to 10 %']:.1f} % above it" in PAGE
    assert f"{gap[80, 'cosine to 10 %']:.1f} % below cosine and {gap[80, 'WSD, 20 % decay']:.1f} % below WSD" in PAGE
    assert all(one["edge"] for (ratio, _), one in best.items() if ratio == 80)


def test_what_a_fifth_of_a_run_buys() -> None:
    found = results("tune_demo")
    for name, method in {**found["methods"], **found["search"]}.items():
        gap = f"{100 * method['gap']:.2f}"
        assert f"| {name} | {gap} |" in README or f"| **{name}** | **{gap}** |" in README, name
    tuned = found["methods"]["tune, proxies 20%"]
    assert tuned["cost"] < 0.2
    mean = found["zero"]["mean"]
    assert tuned["gap"] == pytest.approx(sum(tuned["losses"]) / len(tuned["losses"]) / mean - 1)
    assert mean == pytest.approx(sum(found["zero"]["losses"]) / len(found["zero"]["losses"]))


def test_how_many_runs_the_search_needs() -> None:
    found = results("search")["step_law"]
    rivals = [found[name]["median"] for name in ("random", "tpe", "cma-es", "gp")]
    ours, best = found["ours"]["median"], [min(level) for level in zip(*rivals, strict=True)]
    text = " ".join(README.split())
    assert (
        f"needs {ours[0]:g} run at the median to come within 0.25 % of the lowest loss, and {ours[1]:g} to 0.1 %"
        in text
    )
    assert f"CMA-ES samplers {best[0]:g} and {best[1]:g}. " in text
    assert all(3 * a <= b for a, b in zip(ours, best, strict=True))
    alone = found["ours, published"]["median"]
    assert f"with other labs' alone it needs {alone[0]:g} and {alone[1]:g} " in text


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("**ours**", "ours"),
        ("ours, prior of other labs alone", "ours, published"),
        ("random", "random"),
        ("TPE", "tpe"),
        ("CMA-ES", "cma-es"),
        ("GP", "gp"),
        ("TPE, started at our prior", "tpe + prior"),
        ("CMA-ES, started at our prior", "cma-es + prior"),
        ("GP, started at our prior", "gp + prior"),
    ],
)
def test_the_table_of_the_search(row: str, name: str) -> None:
    found = results("search")["step_law"][name]
    cells = [x for pair in zip(found["median"], found["p90"], strict=True) for x in pair]
    page = (ROOT / "docs" / "concepts" / "search.md").read_text(encoding="utf-8")
    assert f"| {row} | {' | '.join(f'{x:g}' for x in cells)} | {found['counts']} |" in page


def test_in_how_many_cells_the_search_keeps_to_a_third() -> None:
    page = " ".join((ROOT / "docs" / "concepts" / "search.md").read_text(encoding="utf-8").split())
    goals = results("search")["goals"]

    def cells(name: str, what: str, level: str) -> int:
        return sum(goals[kind][name][level][what] for kind in ("dense", "moe"))

    levels, third, last = ("0.25 %", "0.1 %"), "a_third_at_the_median", "not_worse_at_p90"
    lab, other = ([cells(n, w, x) for w in (third, last) for x in levels] for n in ("ours", "ours, published"))
    assert f"in all {lab[0]} cells at 0.25 % and in {lab[1]} at 0.1 %" in page
    assert f"not above it in {lab[2]} and {lab[3]}" in page
    assert f"these are {other[0]} and {other[1]} cells, and {other[2]} and {other[3]}" in page
    assert lab[0] == sum(goals[kind]["ours"]["0.25 %"]["cells"] for kind in ("dense", "moe"))


def test_many_members_at_once() -> None:
    page = (ROOT / "docs" / "concepts" / "population.md").read_text(encoding="utf-8")
    for shape in results("population")["results"].values():
        one = shape["one_core"]["times_as_fast"]
        assert f"| {shape['members_together']} | {shape['times_as_fast']:.2f} | {one:.2f} |" in page
        assert shape["times_as_fast"] >= shape.get("target", 0)
        assert shape["others_share_in_quiet_rounds"] <= 0.025


def test_the_demonstration_says_what_missed() -> None:
    page = (ROOT / "docs" / "concepts" / "tune.md").read_text(encoding="utf-8")
    found = results("tune_demo")
    mean = found["zero"]["mean"]
    for name, method in found["methods"].items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {name} | "))
        each = ", ".join(f"{100 * (loss / mean - 1):+.2f}" for loss in method["losses"])
        assert row.endswith(f" | **{100 * method['gap']:.2f}** | {each} |")
    gaps = {name: method["gap"] for name, method in found["methods"].items()}
    assert sorted(gaps, key=gaps.__getitem__) == [
        *("muP from the best proxy of 20%", "tune, proxies 20%", "DeepSeek", "Step Law, as published"),
        "tune, proxies 5%",
    ]


NOISE_ROWS = {
    "norm": "norm layers",
    "all": "**all layers, exact**",
    "opacus ghost": "Opacus, ghost norms",
    "vmap": "torch.func, vmap(grad)",
}


@pytest.mark.parametrize("method", NOISE_ROWS)
def test_what_the_noise_meter_costs(method: str) -> None:
    page = (ROOT / "docs" / "concepts" / "noise.md").read_text(encoding="utf-8")
    found = results("noise")
    ratios = [f"{found['cpu_ratio_to_plain'][shape][method]['ratio']:.2f}" for shape in ("T 256, B 8", "T 64, B 32")]
    cells = [*ratios, f"{found['peak_megabytes']['ratio'][method]:.2f}"]
    cells = [f"**{cell}**" for cell in cells] if method == "all" else cells
    assert f"| {NOISE_ROWS[method]} | {' | '.join(cells)} |" in page
    if method in ("all", "opacus ghost"):
        assert (f"takes {ratios[0]} times" in README and f"{ratios[1]} at 64" in README) or " and ".join(
            ratios
        ) in README
    for shape in found["cpu_ratio_to_plain"].values():
        assert shape[method]["ratio"] <= shape["targets"].get(method, 9)


def test_what_noise_and_schedules_did_in_training() -> None:
    page = (ROOT / "docs" / "concepts" / "noise.md").read_text(encoding="utf-8")
    found = results("noise_training")
    mean = found["norm_to_total"]["mean"]
    assert f"r = {mean['pearson']:.3f}" in page
    assert f"{mean['slope']:.2f} times" in page
    for arm, each in found["schedules"].items():
        saved = [s for s in each["tokens_saved"] if s is not None]
        share = f"{100 * sum(saved) / len(saved):.0f} %" if len(saved) == 3 else "never there"
        gap = f"{100 * each['against_fixed']:+.1f} %"
        assert f"| {arm} | {each['peak']:g} | {each['steps']:.0f} | {each['mean']:.3f} | {gap} | {share} |" in page
