"""The rules of a model as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.parametrize._recipe import Hyperparameters

if TYPE_CHECKING:
    from forescale.parametrize._model import Model
    from forescale.parametrize._rules import Rule, Rules


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tensor. `multiplier` is what it took over from the forward; `init` is a std, or the value of a gain or bias."""

    name: str
    role: str
    shape: tuple[int, ...]
    multiplier: float
    init: float
    learning_rate: float
    weight_decay: float
    epsilon: float
    note: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Table:
    """Rows in the order of the model; printing it prints the text, with equal blocks folded into one line each."""

    title: str
    rows: tuple[Row, ...]
    absolute: bool  # rates, decays and epsilons as numbers, not as factors on the base's

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, a row a tensor."""
        return {"title": self.title, "absolute": self.absolute, "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        times = "" if self.absolute else " x"
        heads = ("tensor", "role", "shape", "multiplier", "init", f"lr{times}", f"decay{times}", f"eps{times}", "note")
        cells = [heads, *(_cells(row, count) for row, count in _folded(self.rows))]
        widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
        lines = ["  ".join(map(_pad, line, widths, range(len(heads)))) for line in cells]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    __repr__ = __str__


def make_table(rules: Rules, made: Sequence[Rule], model: Model, recipe: Hyperparameters | None) -> Table:
    """The table of `rules` at a model; numbers with a recipe, factors without."""
    scales = rules.scales(model)
    base = f"base width {rules.base.width}, depth {rules.base.layers}"
    here = (
        f"model width {model.width} (x {scales.width:g}), depth {model.layers} (x {model.layers / rules.base.layers:g})"
    )
    head = "" if rules.base.heads or rules.base.head_dim else "; the base's head size is taken to be the model's"
    own = [(name, getattr(model, name)) for name in ("residual", "logits") if getattr(model, name) != 1]
    forward = "; the forward's own multipliers: " + ", ".join(f"{n} {value:.4g}" for n, value in own) if own else ""
    return Table(
        title=f"{rules.scheme.name} [{rules.scheme.source}]: {base}; {here}{head}{forward}",
        rows=tuple(_row(rule, recipe) for rule in made),
        absolute=recipe is not None,
    )


def _row(rule: Rule, recipe: Hyperparameters | None) -> Row:
    t, f = rule.tensor, rule.factors
    decays = f.weight_decay if t.is_matrix else 0.0
    notes = [
        "frozen: in no group" if t.frozen else "",
        "tied: the unembedding too" if t.tied else "",
        f"density {rule.density:g}" if rule.density != 1 else "",
        f"takes over the {t.carries} multiplier" if t.carries and rule.absorbed != 1 else "",
    ]
    return Row(
        name=t.name,
        role=t.role,
        shape=t.shape,
        multiplier=rule.absorbed,
        init=rule.init_value if rule.init_std is None else rule.init_std,
        learning_rate=f.learning_rate * (recipe.learning_rate if recipe else 1),
        weight_decay=decays * (recipe.weight_decay if recipe else 1),
        epsilon=f.epsilon * (recipe.epsilon if recipe else 1),
        note="; ".join(filter(None, notes)),
    )


def _folded(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Rows that differ in the number of their block alone, as one with their count."""
    kept: dict[tuple[Any, ...], tuple[Row, int]] = {}
    for row in rows:
        general = ".".join("*" if part.isdigit() else part for part in row.name.split("."))
        key = (general, *list(asdict(row).values())[1:])
        first, count = kept.get(key, (row, 0))
        kept[key] = (first, count + 1)
    return [(first if count == 1 else replace(first, name=key[0]), count) for key, (first, count) in kept.items()]


def _cells(row: Row, count: int) -> tuple[str, ...]:
    shape = " x ".join(map(str, row.shape)) + (f" ({count} times)" if count > 1 else "")
    numbers = (row.multiplier, row.init, row.learning_rate, row.weight_decay, row.epsilon)
    return (row.name, row.role, shape, *(f"{number:.4g}" for number in numbers), row.note)


def _pad(text: str, width: int, column: int) -> str:
    return text.rjust(width) if 3 <= column <= 7 else text.ljust(width)
