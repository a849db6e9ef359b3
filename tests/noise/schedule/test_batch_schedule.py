"""Batch schedules: published ramps step by step, Megatron-LM's text, doublings, laws, rounding, JSON."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.laws import law
from forescale.noise.schedule import (
    BatchSchedule,
    Stage,
    batch_schedule,
    constant,
    doubling,
    from_law,
    levanter_list,
    linear,
    megatron_text,
    olmo_core_lists,
    parse,
)
from forescale.schedules import averaging
from forescale.schedules import constant as constant_rate
from forescale.workload import Workload

MEGATRON = "0:768 250B:1536 500B:3072 750B:6144"  # Megatron-LM's own example
# nanoGNS (b3b0c9c): its run, and the nodes of its schedule file: accumulation steps at token counts.
NANOGNS_TOKENS, NANOGNS_LEN = 2_219_950_080, 2048
NODES = (
    (0, 170765390, 341530781, 683061563, 853826953, 1195357735, 1366123126, 1707653907, 1878419298, 2219950080),
    (2, 3, 4, 6, 7, 9, 10, 12, 13, 15),
)
W = Workload(params=7e9, tokens=1.4e12, seq_len=4096)


def test_nanogns_ramp_has_the_published_steps() -> None:
    steps = linear(16, 120, NANOGNS_TOKENS, NANOGNS_LEN, multiple=8).steps(NANOGNS_TOKENS)
    assert len(steps) == 18_953  # re-simulation of the repository's schedule; the notebook's log has 18,954 rows
    assert round(steps.mean_sequences, 3) == 57.198
    assert (steps.blocks[0].sequences, steps.blocks[-1].sequences) == (16, 120)
    assert len(constant(120, NANOGNS_LEN).steps(NANOGNS_TOKENS)) == 9_033  # 120 sequences throughout


def test_nanogns_ramp_is_its_interpolation_step_by_step() -> None:
    seen, batches = 0, []
    while seen < NANOGNS_TOKENS:
        batches.append(8 * math.ceil(np.interp(seen, *NODES)))
        seen += batches[-1] * NANOGNS_LEN
    made = linear(16, 120, NANOGNS_TOKENS, NANOGNS_LEN, multiple=8)
    assert [step.sequences for step in made.steps(NANOGNS_TOKENS)] == batches
    assert made.lr_rule == "none"  # the learning rate of nanoGNS is a function of tokens alone
    assert made.lr_factor_at(NANOGNS_TOKENS) == 1


def test_a_planted_fault_in_the_ramp_shows() -> None:
    rounded_down = linear(16, 112, NANOGNS_TOKENS, NANOGNS_LEN, multiple=8)
    assert len(rounded_down.steps(NANOGNS_TOKENS)) != 18_953


def test_megatrons_example() -> None:
    made = parse(MEGATRON, 1000)
    assert made.stages == tuple(
        Stage(tokens=t * 10**9, sequences=b) for t, b in ((0, 768), (250, 1536), (500, 3072), (750, 6144))
    )
    assert made.batch_at(0) == 768_000
    assert made.sequences_at(250e9 - 1) == 768
    assert made.sequences_at(250e9) == 1536
    assert made.sequences_at(1e15) == 6144


def test_thresholds_take_effect_where_megatron_has_them() -> None:
    # StepBatchsizeNumMicroBatchesCalculator: tokens // seq_length, compared with the samples consumed.
    assert parse("0:4 10:8", 4).stages[1].tokens == 8
    assert [s.tokens for s in parse("0:4 10:8", 4).steps(100)][:3] == [0, 16, 48]


@pytest.mark.parametrize("text", [MEGATRON, "0:16,1.5M:32", "0:8 100K:4 1T:16"])
def test_megatrons_text_round_trips(text: str) -> None:
    made = parse(text, 2048)
    assert parse(megatron_text(made), 2048).stages == made.stages


def test_an_exported_threshold_is_the_first_step_of_the_batch() -> None:
    made = linear(16, 120, NANOGNS_TOKENS, NANOGNS_LEN, multiple=8)
    again = parse(megatron_text(made), NANOGNS_LEN)
    assert list(again.steps(NANOGNS_TOKENS)) == list(made.steps(NANOGNS_TOKENS))


def test_merrills_doublings() -> None:
    # arXiv:2505.23971: 1024 -> 2048 at 168B -> 4096 at 503B of 608B tokens, T = 4096.
    made = doubling(1024, (168e9, 503e9), 4096)
    steps, fixed = len(made.steps(608e9)), len(constant(1024, 4096).steps(608e9))
    assert steps / fixed == pytest.approx((168 + 335 / 2 + 105 / 4) / 608, abs=1e-4)
    assert made.lr_factor_at(0) == 1
    assert made.lr_factor_at(200e9) == pytest.approx(math.sqrt(2))
    assert made.lr_factor_at(600e9) == pytest.approx(2)
    assert made.lr_factor_at(0, reference_sequences=4096) == pytest.approx(0.5)


def test_two_doublings_at_once_are_one_change_of_four() -> None:
    assert [(s.tokens, s.sequences) for s in doubling(8, (1e9, 1e9), 4).stages] == [(0, 8), (10**9, 32)]


def test_olmo_core_gets_tokens_and_integer_factors() -> None:
    batches, starts = olmo_core_lists(doubling(1024, (168e9, 503e9), 4096))
    assert batches == (1024 * 4096, 2048 * 4096, 4096 * 4096)
    assert starts == (0, 168_000_000_000, 503_000_000_000)
    with pytest.raises(ForescaleError, match=r"integer factor only; got 16 and then 24"):
        olmo_core_lists(linear(16, 120, 1e9, 2048, multiple=8))


def test_levanter_gets_the_steps_at_which_the_batch_changes() -> None:
    made = parse("0:4 64:8", 4)
    assert levanter_list(made, 400) == ({"start": 0, "value": 4}, {"start": 4, "value": 8})


def test_a_law_goes_up_in_powers_of_two_where_it_asks_for_them() -> None:
    made = from_law(law("zhang-refit"), W, 2048, multiple=128)
    assert [s.sequences for s in made.stages] == [128, 256, 512, 1024, 2048]
    for stage in made.stages[1:]:  # a bound: taken once reached; B = 3.56394 D^0.602128 solved for D
        expected = (stage.sequences * 4096 / 3.56394) ** (1 / 0.602128)
        assert stage.tokens == pytest.approx(expected, rel=1e-6)


def test_an_optimum_is_met_at_the_nearest_power_of_two() -> None:
    made = from_law(law("power-lines"), W, 512, multiple=128)
    for stage in made.stages[1:]:  # B = 2048 x 0.0306 D^0.383
        expected = (stage.sequences * 4096 / math.sqrt(2) / 2048 / 0.0306) ** (1 / 0.383)
        assert stage.tokens == pytest.approx(expected, rel=1e-6)


def test_what_is_unverified_or_assumed_is_said() -> None:
    said = " ".join(from_law(law("power-lines"), W, 2048, quantity="critical_batch_tokens").reasons)
    assert "unverified: coefficient of power-lines" in said
    assert "within one run its batch at D is an assumption" in said


def test_rounding_says_what_it_rounded() -> None:
    made = parse("0:100 1B:130 2B:260", 2048).rounded(64)
    assert [s.sequences for s in made.stages] == [128, 256]
    assert made.stages[1].tokens >= 2e9 - 2048
    assert made.reasons[-1] == "rounded to multiples of 64 sequences: 100 to 128, 130 to 128, 260 to 256"
    assert made.rounded(64) is made


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=6),
    st.lists(st.integers(1, 10_000), min_size=5, max_size=5, unique=True),
    st.integers(1, 64),
    st.integers(1, 30_000),
)
def test_steps_are_those_of_a_loop(batches: list[int], starts: list[int], seq_len: int, total: int) -> None:
    at = [0, *sorted(starts)][: len(batches)]
    stages = tuple(Stage(tokens=t, sequences=b) for t, b in zip(at, sorted(batches), strict=True))
    made = BatchSchedule(stages=stages, seq_len=seq_len)
    seen, expected = 0, []
    while seen < total:
        expected.append((seen, made.sequences_at(seen)))
        seen += made.batch_at(seen)
    steps = made.steps(total)
    assert [(s.tokens, s.sequences) for s in steps] == expected
    assert (steps.count, steps.tokens) == (len(expected), seen)
    assert steps.mean_batch == pytest.approx(seen / len(expected))


def test_json_round_trips() -> None:
    for made in (parse(MEGATRON, 2048), doubling(8, (1e9,), 128), from_law(law("zhang-refit"), W, 2048)):
        assert BatchSchedule.from_json(made.to_json()) == made


def test_it_is_a_batch_of_the_averaging_view() -> None:
    # With half of the tokens at twice the batch, the steps of the second half are half as many.
    made = parse("0:1 512:2", 1)
    found = averaging(constant_rate(), 768, 0.2, batch=made.over(1024))
    assert found is not None
    steps = made.steps(1024)
    assert [block.step for block in steps.blocks] == [0, 512]
    assert len(steps) == 768


BAD = {
    "100B:768": r"starts at 0 tokens; got \d+",
    "0:768 250B": r"TOKENS:SEQUENCES, as in 250B:1536; got '250B'",
    "0:768 250B:1536 250B:3072": r"must increase strictly",
    "0:768 250B:1.5": r"whole sequences; got 1.5",
    "0:0": r"the batch of a stage must be finite and above zero",
    "0:768 x:1536": r"the tokens of a stage must be a number",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_is_one_sentence(text: str) -> None:
    with pytest.raises(ForescaleError, match=BAD[text]):
        parse(text, 4096)


SPECS = {
    "": "a batch schedule is 0:768 250B:1536, linear:16:120",
    "linear:16": "is written linear:FIRST:LAST",
    "linear:120:16": "a linear ramp goes up; got 120 to 16",
    "linear:100:120": "ends must be multiples of 8 sequences; got 100",
    "double:1024": "is written double:FIRST:TOKENS",
    "double:12:1B": "every batch must be a multiple of 8 sequences, 4 .devices. x 2 .micro-batch.; got 12:",
    "0:768 2000B:1536": "last change must lie within the run; it is at 2T tokens of 1.4T",
    "chinchilla": "does not predict batch_tokens",
    "zhang-cbs": "needs a law that grows with tokens",
    "power-lines:loss_tokens": "does not predict loss_tokens",
    "no-such-law": "no-such-law",
}


@pytest.mark.parametrize("text", SPECS)
def test_a_bad_specification_is_one_sentence(text: str) -> None:
    with pytest.raises(ForescaleError, match=SPECS[text]):
        batch_schedule(text, W, 2048, devices=4, micro_batch=2)


def test_a_specification_takes_a_learning_rate_rule() -> None:
    assert batch_schedule("double:1024:168B", W, 2048).lr_rule == "sqrt"
    assert batch_schedule("double:1024:168B", W, 2048, lr_rule="none").lr_rule == "none"
    assert batch_schedule("linear:16:120", W, 2048, lr_rule="sqrt").lr_factor_at(1.3e12) == pytest.approx(
        math.sqrt(113 / 16)  # 16 + 104 x 1.3 / 1.4, rounded up
    )
    with pytest.raises(ForescaleError, match="lr_rule must be none or sqrt; got 'linear'"):
        batch_schedule("linear:16:120", W, 2048, lr_rule="linear")


def test_other_bad_input_is_one_sentence() -> None:
    with pytest.raises(ForescaleError, match="only goes up; got 8 and then 4"):
        BatchSchedule(stages=(Stage(tokens=0, sequences=8), Stage(tokens=9, sequences=4)), seq_len=4)
    with pytest.raises(ForescaleError, match="seq_len must be a whole number above zero; got 0"):
        constant(8, 0)
    with pytest.raises(ForescaleError, match="tokens seen must be 0 or more; got -1"):
        constant(8, 4).batch_at(-1)
    with pytest.raises(ForescaleError, match="total_tokens must be finite and above zero"):
        constant(8, 4).steps(0)
    with pytest.raises(ForescaleError, match="multiple must be a whole number above zero; got 0"):
        constant(8, 4).rounded(0)
    with pytest.raises(ForescaleError, match="no batch schedule as to_json writes it"):
        BatchSchedule.from_json({"seq_len": 4})
