"""The published prior: what labs have in common, learnt from the labs themselves (empirical Bayes).

`prior.toml` keeps what each lab's sweep, reported optima or published law says of the eight coefficients, as a Gaussian
factor. Labs are draws from one Gaussian; its mean and covariance are the most likely ones, by expectation maximisation
(Dempster, Laird and Rubin 1977), with an inverse Wishart on the covariance, since there are about as many labs as
coefficients. A lab that is left out leaves no trace, so the prior can be judged on it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from forescale.errors import UnknownNameError
from forescale.fit.calibrate._belief import SIZE, Belief, gaussian

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

# Before any lab: about 1e-3 and 300K tokens at the centre, and exponents in the middle of the published ones, all very wide.
START = (-6.9, -0.4, 0.1, 0.0, 12.6, 0.0, 0.45, 0.0)
START_SD = (3.0, 0.5, 0.5, 0.3, 3.0, 0.5, 0.5, 0.3)
# How far labs lie apart where they do not say: the spread of the published constants and exponents.
SPREAD = (0.6, 0.12, 0.12, 0.15, 0.6, 0.12, 0.12, 0.2)
SPREAD_LABS = 4.0  # how many labs that guess counts for
ROUNDS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Lab:
    """What one lab's measurements say of the coefficients, and where they are from."""

    name: str
    says: Belief
    source: str
    evidence: str
    cells: int
    hashes: tuple[str, ...] = ()  # of the tables of runs it was learnt from


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """The Gaussian that a new lab is drawn from: its mean, the covariance between labs and that of the mean itself."""

    labs: tuple[Lab, ...]
    mean: Array
    between: Array
    of_mean: Array

    @property
    def belief(self) -> Belief:
        """What is known of a lab before it has run anything."""
        return gaussian(self.mean, self.between + self.of_mean)


def published_prior(without: Collection[str] = ()) -> Prior:
    """The prior of all labs of `prior.toml` but those named; raise `UnknownNameError` for a name that is none of them."""
    labs = _labs()
    if unknown := [name for name in without if name not in {lab.name for lab in labs}]:
        raise UnknownNameError(f"the prior has no lab {unknown[0]!r}; it has {', '.join(lab.name for lab in labs)}.")
    return learn([lab for lab in labs if lab.name not in without])


def labs_of(data_hash: str) -> tuple[str, ...]:
    """The labs whose own table of runs has this hash."""
    return tuple(lab.name for lab in _labs() if data_hash in lab.hashes)


def start() -> Belief:
    """What is taken for granted before any lab has said anything."""
    import numpy as np

    return gaussian(np.array(START), np.diag(np.square(START_SD)))


def learn(labs: Sequence[Lab]) -> Prior:
    """Mean and covariance of the labs' coefficients, each lab known as well as it is."""
    import numpy as np

    says = [lab.says for lab in labs]
    mean, between = np.array(START), np.diag(np.square(SPREAD))
    for _ in range(ROUNDS):
        mean, between = _round(says, mean, between)
    known = start().precision
    for lab in says:
        known = known + _through(lab.precision, between)
    return Prior(labs=tuple(labs), mean=mean, between=between, of_mean=np.linalg.inv(known))


def _round(says: Sequence[Belief], mean: Array, between: Array) -> tuple[Array, Array]:
    """One round of expectation maximisation: what each lab's coefficients are, then what they have in common."""
    import numpy as np

    guess, each = start(), [gaussian(mean, between).plus(lab) for lab in says]
    centres: Array = np.array([e.mean for e in each])
    common = gaussian(mean, between).precision
    total = Belief(precision=len(each) * common + guess.precision, shift=common @ centres.sum(0) + guess.shift)
    off = centres - total.mean
    scatter = off.T @ off + np.sum([e.covariance for e in each], axis=0) + SPREAD_LABS * np.diag(np.square(SPREAD))
    return total.mean, scatter / (SPREAD_LABS + len(each))


def _through(precision: Array, between: Array) -> Array:
    """What a lab's information is worth for the mean of all labs, from which it lies apart."""
    import numpy as np

    return np.linalg.solve(np.eye(len(between)) + precision @ between, precision)


@cache
def _labs() -> tuple[Lab, ...]:
    text = files("forescale.fit.calibrate").joinpath("prior.toml").read_text(encoding="utf-8")
    return tuple(_lab(name, table) for name, table in tomllib.loads(text)["labs"].items())


def _lab(name: str, table: Mapping[str, Any]) -> Lab:
    import numpy as np

    size = 2 * SIZE
    precision = np.zeros((size, size))
    precision[np.tril_indices(size)] = [x for row in table["precision"] for x in row]
    precision += np.tril(precision, -1).T
    return Lab(
        name=name,
        says=Belief(precision=precision, shift=np.array(table["shift"])),
        source=table["source"],
        evidence=table["evidence"],
        cells=table["cells"],
        hashes=tuple(table.get("hashes", ())),
    )
