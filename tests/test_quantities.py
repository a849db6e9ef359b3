"""Numbers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.quantities import humanize, humanize_duration, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7B", 7e9),
        ("1.4T", 1.4e12),
        ("1e22", 1e22),
        ("0.5M", 5e5),
        ("300b", 3e11),
        ("1_000", 1e3),
        ("12", 12.0),
        (".5K", 500),
    ],
)
def test_suffixes(text: str, value: float) -> None:
    assert parse_quantity(text, "x") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "7X",
        "nan",
        "inf",
        "7 B B",
        "1e",
        "--",
        "1,000",
        "1_",
        "1__0",
        "_1",
        "1_.5",
        "1e1_0",
        "1e" + "9" * 5000,
        "٣",
    ],
)
def test_not_a_number_names_the_option(text: str) -> None:
    with pytest.raises(ForescaleError, match="--tokens must be a number such as 7B"):
        parse_quantity(text, "--tokens")


@pytest.mark.parametrize("text", ["0", "-7B", "-1e9", "1e999"])
def test_not_positive(text: str) -> None:
    with pytest.raises(ForescaleError, match="finite and above zero"):
        parse_quantity(text, "--params")


@given(st.floats(1e-3, 1e3), st.sampled_from("KMBT"))
def test_suffix_and_exponent_are_the_same_float(mantissa: float, suffix: str) -> None:
    power = {"K": 3, "M": 6, "B": 9, "T": 12}[suffix]
    mantissa = round(mantissa, 6)
    assert parse_quantity(f"{mantissa:f}{suffix}", "x") == parse_quantity(f"{mantissa:f}e{power}", "x")


@given(st.floats(1, 9.9e17))
def test_humanize_keeps_three_digits(value: float) -> None:
    assert parse_quantity(humanize(value), "x") == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * 86400),
        ("12h", 43200),
        ("1d12h", 129600),
        ("1.5H", 5400),
        ("45m", 2700),
        ("90s", 90),
        ("2w", 14 * 86400),
        ("3600", 3600),
        ("1e-3", 1e-3),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "d", "30x", "30 d 1", "12h1d", "1d1d", "-1d", "0h", "nan", "inf", "1e400", "7B", "1dd", "d1"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ForescaleError, match="the wait must be a time above zero such as 30d"):
        parse_duration(text, "the wait")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.0123 s"),
        (59, "59 s"),
        (90, "1.5 min"),
        (5400, "1.5 h"),
        (86400, "24 h"),
        (3e6, "34.7 d"),
        (1e9, "31.7 y"),
    ],
)
def test_durations_are_printed_in_the_unit_people_use(seconds: float, text: str) -> None:
    assert humanize_duration(seconds) == text
