"""muP and its descendants: one table (CompleteP, 2505.01618, Table 1; Complete(d)P, 2512.22382), of which each is a part.

Everything is in the form with explicit multipliers on the logits (1 / m_N) and on residual branches (m_L^-alpha); `Rules`
absorbs them. Epsilon of the embeddings is eps / m_N and that of the unembedding eps / m_N before its multiplier is absorbed:
CompleteP's table names the residual blocks only, and these two follow from the size of the gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from forescale.parametrize._factors import Factors
from forescale.parametrize._roles import Tensor
from forescale.parametrize._scales import Scales

MATRICES = ("hidden", "residual_output", "expert", "router")


@dataclass(frozen=True, kw_only=True)
class Family:
    """One scheme of the family: which of the scales it knows, and the exponent of its residual multiplier."""

    name: str
    source: str
    width: bool = True
    depth: bool = False
    run: bool = False  # batch and tokens
    sparse: bool = False
    alpha: float = 1.0  # residual multiplier m_L^-alpha, from 1/2 to 1
    absolute_std: bool = False
    optimizer: str = "adam"

    def seen(self, scales: Scales) -> Scales:
        """The scales that this scheme takes into account."""
        return Scales(
            width=scales.width if self.width else 1.0,
            depth=scales.depth if self.depth else 1.0,
            batch=scales.batch if self.run else 1.0,
            tokens=scales.tokens if self.run else 1.0,
            layers=scales.layers,
        )

    def residual(self, scales: Scales) -> float:
        """The multiplier of every residual branch."""
        return self.seen(scales).depth ** -self.alpha

    def logits(self, scales: Scales) -> float:
        """The multiplier of the logits."""
        return 1 / self.seen(scales).width

    def momentum(self, scales: Scales) -> float:
        """The factor on 1 - beta (Complete(d)P: m_B / m_D)."""
        seen = self.seen(scales)
        return seen.batch / seen.tokens

    def factors(self, tensor: Tensor, scales: Scales, density: float) -> Factors:
        """The factors of one tensor, beside the multipliers."""
        seen = self.seen(scales)
        m, rho = seen.width, density if self.sparse else 1.0
        run = sqrt(seen.batch / seen.tokens)
        block = seen.depth ** (self.alpha - 1) * run  # learning rate of what stands in a residual branch
        shrink = seen.depth**-self.alpha / run  # of the gradients there, hence of epsilon
        if tensor.role in MATRICES:
            wide = 1.0 if tensor.role == "router" else 1 / m  # a router's outputs do not grow in number
            return Factors(
                init_std=(m * rho) ** -0.5,
                learning_rate=block / (m * rho),
                weight_decay=m * rho * run,
                epsilon=wide * shrink,
            )
        if tensor.role in ("embedding", "position", "unembedding"):
            return Factors(learning_rate=run, weight_decay=run, epsilon=1 / (m * run))
        if not tensor.in_block:  # the final norm, biases outside the blocks
            return Factors(learning_rate=run, weight_decay=run, epsilon=1 / run)
        return Factors(learning_rate=block, weight_decay=run, epsilon=shrink * (1.0 if tensor.narrow else 1 / m))


STANDARD = Family(name="standard", source="every tensor alike", width=False)
MUP = Family(name="mup", source="Yang et al. 2022, 2203.03466; CompleteP, 2505.01618, Table 1")
COMPLETEP = Family(name="completep", source="Dey et al. 2025, 2505.01618, Table 1", depth=True)
COMPLETED_P = Family(name="completed-p", source="Mlodozeniec et al. 2025, 2512.22382", depth=True, run=True)
SUPAR = Family(name="supar", source="Dey et al. 2024, 2405.15743, Table 1", sparse=True)
