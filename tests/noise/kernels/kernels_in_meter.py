"""In a process of its own, with Triton's interpreter: a meter whose norm layers go through the kernels, and one without."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forescale.noise import Meter
from forescale.noise._kinds import _norms


class Net(nn.Module):
    """Norms of every kind, with something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(24), nn.Linear(24, 24), nn.RMSNorm(24), nn.Linear(24, 24), nn.LayerNorm(24, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def found(kernels: bool) -> tuple[Tensor, list[Tensor]]:
    """Norms of the examples and gradients of the parameters."""
    _norms.fused = lambda _: kernels
    torch.manual_seed(0)
    net, x = Net(), torch.randn(3, 70, 24)
    with Meter(net) as meter:
        net(x).sin().mean().backward()
        return meter.example_norms(), [p.grad for p in net.parameters() if p.grad is not None]


def main() -> None:
    """Raise where the two differ."""
    (plain, gradients), (norms, others) = found(False), found(True)
    torch.testing.assert_close(norms, plain, rtol=1e-5, atol=0)
    for ours, theirs in zip(others, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


if __name__ == "__main__":
    main()
