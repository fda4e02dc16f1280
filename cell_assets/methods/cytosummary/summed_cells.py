"""φ of every cell, summed over sets: forward and backward pass in one go, so that memory is seldom read.

PyTorch's own operations, one after another over all cells of a batch, write and read some 660 MB (80,000 cells x 2048
in float32) at every one of linear layer, leaky ReLU, product with the counts and their gradients. Here all of that is
done to some cells while they are in the cache.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVE_SLOPE = 0.01
"""Of the leaky ReLU."""
CELLS_AT_ONCE = {"cpu": 8192, "cuda": 65536}
"""φ of these in bfloat16 is 32 MB on a CPU; a GPU wants few and large products."""


class Counts(NamedTuple):
    """How often each of S sets holds each of U cells: the K counts that are not 0, cell by cell."""

    of_set: Tensor
    """(K,) which set."""
    starts: Tensor
    """(U + 1,) where the counts of each cell begin, and K."""
    times: Tensor
    """(K,) in float32."""
    n_sets: int

    @classmethod
    def of(cls, dense: Tensor) -> "Counts":
        """Of a matrix (S, U)."""
        cell, of_set = dense.T.nonzero(as_tuple=True)
        starts = F.pad((dense != 0).sum(0).cumsum(0), (1, 0))
        return cls(of_set, starts, dense[of_set, cell].float(), len(dense))

    def dense(self) -> Tensor:
        """(S, U)."""
        sets, held = self.between(0, len(self.starts) - 1)
        return held.new_zeros(self.n_sets, held.shape[1]).index_copy_(0, sets, held)

    def of_cells(self, begin: int, end: int) -> "Counts":
        """Of the same sets, over the cells from `begin` to before `end` alone."""
        own = slice(int(self.starts[begin]), int(self.starts[end]))
        starts = self.starts[begin : end + 1] - self.starts[begin]
        return Counts(self.of_set[own], starts, self.times[own], self.n_sets)

    def between(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Sets (s,) that hold some of the cells from `begin` to before `end`, and how often (s, n) they hold each."""
        own = slice(int(self.starts[begin]), int(self.starts[end]))
        sets, row = self.of_set[own].unique(return_inverse=True)
        cell = torch.arange(end - begin, device=row.device).repeat_interleave(
            self.starts[begin : end + 1].diff(), output_size=len(row)
        )
        held = self.times.new_zeros(len(sets), end - begin)
        held[row, cell] = self.times[own]
        return sets, held


def summed_cells(cells: Tensor, counts: Counts, weight: Tensor, bias: Tensor) -> Tensor:
    """(S, W) in float32: leaky ReLU of `cells @ weight.T + bias`, summed by `counts` over cells.

    Products run in the precision of autocast where it is on, and in float32 otherwise; sums over blocks of cells, and
    gradients of weights over them, are float32. Where cells are ordered by well, a block's are of few wells and so in
    few sets: the products with counts are small ones.

    Args:
        cells: (U, D).
        weight: (W, D).
        bias: (W,).
    """
    device = cells.device.type
    half = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if half else torch.float32
    summed: Tensor = _SummedCells.apply(cells, counts, weight, bias, dtype)
    return summed


class _SummedCells(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cells: Tensor, counts: Counts, weight: Tensor, bias: Tensor, dtype: torch.dtype
    ) -> Tensor:
        of_cells = torch.empty(len(cells), len(weight), dtype=dtype, device=cells.device)
        sums = torch.zeros(counts.n_sets, len(weight), device=cells.device)
        weight, bias = weight.to(dtype), bias.to(dtype)
        for begin, end in _blocks(cells):
            of_block = of_cells[begin:end]
            torch.addmm(bias, cells[begin:end].to(dtype), weight.T, out=of_block)
            F.leaky_relu_(of_block, NEGATIVE_SLOPE)
            sets, held = counts.between(begin, end)
            sums[sets] += (held.to(dtype) @ of_block).float()
        ctx.save_for_backward(cells, weight, of_cells)
        ctx.counts = counts
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cells, weight, of_cells = ctx.saved_tensors
        of_sums = grads[0].to(weight.dtype)
        of_weight = torch.zeros(weight.shape, device=cells.device)
        of_bias = torch.zeros(len(weight), device=cells.device)
        of_input = torch.empty_like(cells) if ctx.needs_input_grad[0] else None
        for begin, end in _blocks(cells):
            sets, held = ctx.counts.between(begin, end)
            of_linear = torch.ops.aten.leaky_relu_backward(
                held.to(weight.dtype).T @ of_sums[sets], of_cells[begin:end], NEGATIVE_SLOPE, True
            )
            of_weight += of_linear.T @ cells[begin:end].to(weight.dtype)
            of_bias += of_linear.sum(0, dtype=torch.float32)
            if of_input is not None:
                of_input[begin:end] = of_linear @ weight
        return of_input, None, of_weight, of_bias, None


def _blocks(cells: Tensor) -> Iterator[tuple[int, int]]:
    at_once = CELLS_AT_ONCE[cells.device.type]
    for begin in range(0, len(cells), at_once):
        yield begin, min(begin + at_once, len(cells))
