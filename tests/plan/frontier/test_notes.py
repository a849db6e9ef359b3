"""What a frontier says of itself: assumptions with reasons, cautions with stable codes, other critical batches."""

from __future__ import annotations

import json

import pytest

from forescale.plan.frontier import Cluster, Goal, make_frontier


def codes(goal: Goal, cluster: Cluster | None = None) -> set[str]:
    return {warning.code for warning in make_frontier(goal, cluster).warnings}


@pytest.mark.parametrize(
    ("goal", "cluster", "expected"),
    [
        (
            Goal(loss=2.0),
            Cluster(),
            {"unlimited-devices", "extrapolation", "loss", "params-count", "critical-batch", "conditions"},
        ),
        (Goal(loss=2.6, laws=("power-lines",)), Cluster(devices=10**6), {"unverified", "idle-devices"}),
        (Goal(loss=2.6, laws=("marin-cbs", "chinchilla")), Cluster(), {"experts", "no-range"}),
        (Goal(loss=2.3), Cluster(devices=16), {"batch-floor"}),
        (Goal(compute=1e18, params=1e11), Cluster(), {"short-run", "few-tokens"}),
    ],
)
def test_codes(goal: Goal, cluster: Cluster, expected: set[str]) -> None:
    assert expected <= codes(goal, cluster)


def test_codes_that_do_not_apply() -> None:
    assert not codes(Goal(loss=2.6), Cluster(devices=256)) & {"unverified", "experts", "unlimited-devices", "short-run"}
    assert "params-count" not in codes(Goal(loss=2.6, laws=("kaplan-loss",)))


def test_extrapolation_is_in_the_data() -> None:
    made = make_frontier(Goal(loss=2.0), Cluster(devices=4096))
    assert not made.chosen.in_range
    # epoch's points end at 16.2B parameters, the critical batches at 2.22e10 tokens (the laws' ranges).
    assert made.chosen.outside["epoch"]["params"] == pytest.approx(made.chosen.params / 1.62e10)
    assert made.chosen.outside["zhang-refit"]["tokens"] == pytest.approx(made.chosen.small_batch_tokens / 2.22e10)
    assert make_frontier(Goal(loss=2.9), Cluster(devices=64)).chosen.in_range


def test_doubts_evaluate_the_same_run() -> None:
    made = make_frontier(Goal(loss=2.6))
    by_law = {(d.law, d.factor): d for d in made.doubts}
    # Half the critical batch costs tokens, twice saves some; the laws are those of the catalog for dense models.
    assert by_law["zhang-refit", 0.5].loss > made.chosen.loss > by_law["zhang-refit", 2.0].loss
    assert {name for name, factor in by_law if factor == 1} == {"kaplan", "power-lines", "zhang-cbs"}
    assert by_law["power-lines", 1.0].evidence == "unverified"
    # By hand: the tokens of a small batch under half the critical batch.
    doubt = by_law["zhang-refit", 0.5]
    share = made.chosen.batch_tokens / doubt.critical_batch_tokens
    again = float(made.problem.world.loss(made.chosen.params, made.chosen.tokens / (1 + share)))
    assert doubt.loss == pytest.approx(again, rel=1e-6)


def test_assumptions_have_reasons() -> None:
    made = make_frontier(Goal(loss=2.6, inference_tokens=1e12), Cluster(devices=64, utilisation=0.3, price=2.0))
    assert all(value.reason for value in made.assumptions.values())
    assert made.assumptions["utilisation"].law == "user"
    assert made.assumptions["flops"].value == 989e12
    assert "data sheet" in made.assumptions["flops"].reason
    assert {"loss_law", "critical_batch_law", "batch_cost", "step_time", "billing", "inference_tokens"} <= set(
        made.assumptions
    )
    assert set(made.reasons) == {"choice", "loss", "tokens", "steps", "seconds", "compute"}


def test_the_document_is_plain_json() -> None:
    made = make_frontier(Goal(compute=1e21, inference_tokens=1e10), Cluster(devices=64))
    document = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["traded"] == ["seconds", "loss"]
    assert document["cluster"]["flops"] == 989e12
    assert set(document) == {
        "schema_version", "goal", "cluster", "traded", "points", "chosen", "chosen_index", "other_sizes",
        "critical_batch_doubts", "loss", "reasons", "assumptions", "warnings",
    }  # fmt: skip


def test_which_quantities_are_traded() -> None:
    assert make_frontier(Goal(loss=2.6)).trade == ("seconds", "compute")
    assert make_frontier(Goal(loss=2.6, inference_tokens=1e10)).trade == ("seconds", "lifetime_compute")
    assert make_frontier(Goal(compute=1e20)).trade == ("seconds", "loss")
    assert make_frontier(Goal(deadline=3600.0), Cluster(devices=8)).trade == ("compute", "loss")
