"""What the processes of one training tell each other; a training of one process is the case without others."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def rank() -> int:
    """This process's number among those that train together, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(value: T) -> list[T]:
    """`value` of every process, by rank. All of them must call this."""
    if not dist.is_initialized():
        return [value]
    values: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return [one for one in values if one is not None]


def wait_for_first() -> None:
    """Holds all processes but the first until it gets here, too."""
    if dist.is_initialized():
        dist.barrier()


def joined(own: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Rows of all processes in one tensor, of which this process's own alone have a gradient; all must call this.

    Every process computes the loss of a whole step from them, so that each row's gradient is that of a single process,
    and the sum over processes, which is their average times their number, is the whole one. Of one process it is `own`.

    Args:
        own: (n, ...) this process's rows.
        places: of each process, by rank, the (n,) rows of the result that are its.
    """
    if world_size() == 1:
        return own
    longest = max(map(len, places))
    padded = own.new_zeros(longest, *own.shape[1:])
    padded[: len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in places]
    dist.all_gather(parts, padded)
    whole = own.new_zeros(sum(map(len, places)), *own.shape[1:])
    for number, (part, place) in enumerate(zip(parts, places, strict=True)):
        whole[place.to(own.device)] = own if number == rank() else part[: len(place)]
    return whole


class _SumOverProcesses(torch.autograd.Function):
    """Of a tensor, and of its gradients: each process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class BatchNormOverProcesses(nn.BatchNorm1d):
    """Batch normalisation of (n, C) by mean and variance over all processes' rows, however unequal their numbers.

    PyTorch's `SyncBatchNorm` is the same for GPUs alone.
    """

    # Collectives inside of compiled code would have to be compiled on all processes alike.
    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input.float()
        total = _SumOverProcesses.apply(torch.cat([x.sum(0), x.new_tensor([float(len(x))])]))
        n = total[-1].detach()
        mean = total[:-1] / n
        variance = _SumOverProcesses.apply((x - mean).square().sum(0)) / n
        self._remember(mean.detach(), variance.detach() * n / (n - 1))
        normal = (x - mean) * (variance + self.eps).rsqrt()
        return (normal * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)

    @classmethod
    def replace_in(cls, network: nn.Module) -> None:
        """Every batch normalisation in `network`, which keeps its parameters and their names."""
        for parent in list(network.modules()):
            for name, norm in list(parent.named_children()):
                if type(norm) is nn.BatchNorm1d:
                    own = cls(norm.num_features, norm.eps, norm.momentum)
                    own.load_state_dict(norm.state_dict())
                    setattr(parent, name, own.train(norm.training))
