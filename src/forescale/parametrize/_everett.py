"""Per-layer exponents of Everett et al. 2024 (2407.05872): four parametrizations, three optimizers, two alignments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize._factors import TIMES, Factors
from forescale.parametrize._roles import Tensor
from forescale.parametrize._scales import Scales

Form = Literal["standard", "ntk", "mup", "mean-field"]
Optimizer = Literal["adam", "sgd", "adafactor"]
Alignment = Literal["full", "none"]
Triple = tuple[float, float, float]  # embedding, hidden, unembedding

# W = n^-a w, w drawn with std n^-b, learning rate n^-c, gradient n^-g. a, b and g at the start: Table 1.
_A: dict[str, Triple] = {
    "standard": (0, 0, 0),
    "ntk": (0, 0.5, 0.5),
    "mup": (-0.5, 0, 0.5),
    "mean-field": (0, 0.5, 1),
}
_B: dict[str, Triple] = {
    "standard": (0, 0.5, 0.5),
    "ntk": (0, 0, 0),
    "mup": (0.5, 0.5, 0.5),
    "mean-field": (0, 0, 0),
}


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """Of the width n, each for (embedding, hidden, unembedding); `verified` is False where the paper's table was not read."""

    multiplier: Triple  # a
    init_std: Triple  # b
    learning_rate: Triple  # c: the largest that is stable goes as n^-c
    gradient: Triple  # g
    verified: bool


def everett_exponents(form: Form, optimizer: Optimizer = "adam", alignment: Alignment = "full") -> Exponents:
    """The exponents of one parametrization, as the paper's tables state them (2407.05872, Table 1 and section 3)."""
    for name, options, value in (
        ("form", tuple(_A), form),
        ("optimizer", ("adam", "sgd", "adafactor"), optimizer),
        ("alignment", ("full", "none"), alignment),
    ):
        if value not in options:
            raise UnknownNameError(f"{name} must be one of {', '.join(options)}; got {value!r}.")
    a, b = _A[form], _B[form]
    width_sum = 1.0 if alignment == "full" else 0.5  # how a sum over the width grows: n^A
    adam: Triple = (-a[0], width_sum - a[1], width_sum - a[2])
    start = a[2] + b[2]  # of the gradient that reaches the last hidden layer
    if optimizer == "sgd" and alignment == "none":
        start = min(start, width_sum)  # after the unembedding's own steps: 2 a + c of its row, which is A
    g: Triple = (a[0] + start, a[1] + start, a[2])
    taken = {"adam": (0.0, 0.0, 0.0), "sgd": g, "adafactor": b}[optimizer]
    c: Triple = (adam[0] - taken[0], adam[1] - taken[1], adam[2] - taken[2])
    doubtful = alignment == "none" and optimizer != "adam" and form in ("mup", "mean-field")
    return Exponents(multiplier=a, init_std=b, learning_rate=c, gradient=g, verified=not doubtful)


@dataclass(frozen=True, kw_only=True)
class Everett:
    """A row of the tables as a scheme; its multipliers n^-a are absorbed, so that Standard is NTK and muP is mean-field."""

    form: Form = "standard"
    optimizer: Optimizer = "adam"
    alignment: Alignment = "full"
    name: str = "everett"
    source: str = "Everett et al. 2024, 2407.05872, Tables 1 and 2"
    sparse: bool = False
    run: bool = False
    depth: bool = False
    absolute_std: bool = False

    @property
    def exponents(self) -> Exponents:
        """The row."""
        return everett_exponents(self.form, self.optimizer, self.alignment)

    def residual(self, scales: Scales) -> float:
        """No multiplier: the paper scales the width alone."""
        del scales
        return 1.0

    def logits(self, scales: Scales) -> float:
        """The factor of a tied matrix as unembedding; only where one matrix can follow both rows."""
        e = self.exponents
        std = e.multiplier[2] + e.init_std[2] - e.multiplier[0] - e.init_std[0]
        rate = self._rate(2) - self._rate(0)
        if abs(rate - TIMES[self.optimizer] * std) > 1e-9:
            raise ForescaleError(
                f"everett's {self.form} with {self.optimizer} gives embedding and unembedding learning rates and initial "
                "values that one tied matrix cannot both follow; the model ties them: untie them."
            )
        return scales.width**-std

    def momentum(self, scales: Scales) -> float:
        """Betas stay."""
        del scales
        return 1.0

    def factors(self, tensor: Tensor, scales: Scales, density: float) -> Factors:
        """The factors of one tensor, its multiplier absorbed already."""
        del density
        if tensor.narrow:
            return Factors()
        which = _COLUMN.get(tensor.role, 0)
        # A router has a hidden matrix's values and an unembedding's few outputs, whose gradient does not shrink.
        outputs = 2 if tensor.role == "router" else which
        e, m = self.exponents, scales.width
        rate = m ** -self._rate(outputs if self.optimizer == "sgd" else which)
        return Factors(
            init_std=m ** -(e.multiplier[which] + e.init_std[which]),
            learning_rate=rate,
            weight_decay=1 / rate,
            epsilon=m ** -(e.gradient[outputs] - e.multiplier[outputs]),
        )

    def _rate(self, which: int) -> float:
        """The exponent of the learning rate once n^-a is absorbed: the optimizer decides how often it counts."""
        e = self.exponents
        return e.learning_rate[which] + TIMES[self.optimizer] * e.multiplier[which]


_COLUMN = {"hidden": 1, "residual_output": 1, "expert": 1, "router": 1, "unembedding": 2}
