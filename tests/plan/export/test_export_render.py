from __future__ import annotations

import ast
import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forescale.plan.export import _render as render
from forescale.plan.export._render import Item

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = finite | st.integers() | st.booleans() | st.none() | st.text(st.characters(codec="ascii"))


@given(finite)
def test_a_float_survives_every_format_bit_for_bit(x: float) -> None:
    for text in (render.python(x), render.yaml(x), render.yaml((x,))[1:-1]):
        assert repr(float(text)) == repr(x)
    parsed = yaml.safe_load(f"x: {render.yaml(x)}")["x"]
    assert isinstance(parsed, float)
    assert repr(parsed) == repr(x)
    assert repr(float(shlex.split("\n".join(render.shell_array("A", {"x": Item(x)})[1:-1]))[1])) == repr(x)


@given(scalars)
def test_scalars_survive_python_and_yaml(x: float | int | str | bool | None) -> None:
    assert ast.literal_eval(render.python(x)) == x
    parsed = yaml.safe_load("\n".join(render.yaml_lines({"x": Item(x, "why")})))["x"]
    assert parsed == x
    assert type(parsed) is type(x)


@pytest.mark.parametrize("x", [1e-08, 1e16, 5e-324, 1e22, 1.0, 0.0])
def test_yaml_floats_have_the_dot_that_yaml_11_wants(x: float) -> None:
    assert "." in render.yaml(x)
    assert yaml.safe_load(render.yaml(x)) == x


@pytest.mark.parametrize("word", ["no", "On", "null", "y", "1e3", "", "a: b", "# c", "x\ny"])
def test_words_that_yaml_would_misread_are_quoted(word: str) -> None:
    assert yaml.safe_load(f"x: {render.yaml(word)}") == {"x": word}


@given(st.text())
def test_a_comment_stays_a_comment(text: str) -> None:
    lines = [*render.comment(text), *render.yaml_lines({"x": Item(1, text)})]
    assert "\n".join(lines).splitlines() == lines
    assert all(line.startswith(("#", "x: 1")) for line in lines)
    assert yaml.safe_load("\n".join(lines)) == {"x": 1}
    assert compile("\n".join([*render.comment(text), *render.python_assignments({"x": Item(1, text)}, 0)]), "f", "exec")


def test_a_word_that_a_shell_would_split_is_a_programmer_error() -> None:
    with pytest.raises(AssertionError):
        render.shell_array("A", {"x": Item("a; rm -rf /")})
