"""The gradient noise scale from the processes' own gradients and their mean, without norms of examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise._estimate import Averages, NoiseScale, noise_scale, two_sizes

distributed: Any = torch.distributed
linalg: Any = torch.linalg


class RankMeter:
    """Reads each process's squared gradient norm before DistributedDataParallel reduces it, and the mean's after.

    Two batch sizes, of one process and of all, give the noise scale of any model at no cost, though with a wider interval than
    norms of examples (McCandlish et al. 2018, 1812.06162, appendix A.1). With accumulation, all backward passes of a step but
    the last go under `model.no_sync()`, and a process's batch is all that it accumulated; each process has as many examples.
    `hook` reduces a bucket (a communication hook, such as bfloat16's compression; None: DDP's own mean). `scaler` is a
    GradScaler.

    Raises `ForescaleError` for models that are not wrapped, or that have a communication hook, and for a single process.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        hook: Callable[[Any, Any], Any] | None = None,
        tokens_per_example: float = 1.0,
        beta: float = 0.95,
        scaler: Any = None,
    ) -> None:
        if not isinstance(model, nn.parallel.DistributedDataParallel):
            raise ForescaleError(
                f"a rank meter needs a model in DistributedDataParallel; got {type(model).__name__}: use Meter, which "
                "works with any wrapper."
            )
        wrapped: Any = model
        self._group: Any = wrapped.process_group
        self._size = int(distributed.get_world_size(self._group))
        if self._size < 2:
            raise ForescaleError("a rank meter needs two processes or more; this group has one: use Meter.")
        self._averages, self._tokens, self._scaler = Averages(beta), tokens_per_example, scaler
        self._hook: Any = hook
        self._open = True
        self._forget()
        self._register(model)

    def _register(self, model: Any) -> None:
        if self._hook is None:
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            self._hook = default_hooks.allreduce_hook
        # DDP reads annotations, and wants none.
        hook: Any = lambda group, bucket: self._reduce(group, bucket)  # noqa: E731 # pyright: ignore
        try:
            model.register_comm_hook(self._group, hook)
        except RuntimeError as error:
            raise ForescaleError(
                f"a rank meter is a communication hook, and the model has one ({error}): give it to RankMeter as `hook` instead."
            ) from error

    def _reduce(self, group: Any, bucket: Any) -> Any:
        if not self._open:
            return self._hook(group, bucket)
        self._own.append(_square(bucket.buffer()))
        self._passes += bool(bucket.is_last())
        return self._hook(group, bucket).then(self._reduced)

    def _reduced(self, future: Any) -> Tensor:
        mean: Tensor = future.value()
        self._mean.append(_square(mean))
        return mean

    def _forget(self) -> None:
        self._own: list[Tensor] = []  # one a bucket
        self._mean: list[Tensor] = []
        self._passes = 0

    def update(self, batch_size: int) -> None:
        """Count one optimizer step of `batch_size` examples over all processes, after its last backward pass."""
        import numpy as np

        passes = self._passes
        if passes != 1:
            self._forget()
            raise ForescaleError(
                f"a rank meter needs one backward pass that reduces gradients for each update(); got {passes}: put all but "
                "the step's last one under model.no_sync()."
            )
        small = torch.stack(self._own).sum()
        distributed.all_reduce(small, group=self._group)
        big = float(torch.stack(self._mean).sum())
        found = two_sizes(float(small) / self._size, big, batch_size / self._size, batch_size)
        scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        self._averages.add(np.array([found]) / scale**2)
        self._forget()

    @property
    def noise_scale(self) -> NoiseScale:
        """The noise scale of all parameters that DDP reduces."""
        rows, weights = self._averages.rows()
        return noise_scale(rows[:, 0], weights, self._tokens, "all parameters, from processes")

    def state_dict(self) -> dict[str, Any]:
        """The averages, for a checkpoint."""
        return self._averages.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._averages.load(state)

    def close(self) -> None:
        """Measure nothing more; DDP keeps its hook, which then only reduces."""
        self._open = False


def _square(bucket: Tensor) -> Tensor:
    return linalg.vector_norm(bucket, dtype=torch.promote_types(bucket.dtype, torch.float32)).double().square()
