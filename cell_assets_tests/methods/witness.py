"""What each process of a real training saw and did: noted from inside it, and read back for a test."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from pydantic import BaseModel

from cell_assets.methods.contract import ProgressSink, TrainingResult
from cell_assets.methods.distributed import rank
from cell_assets.methods.launching import Team, train_together
from cell_assets.methods.processor import Device

TrainInto = Callable[..., TrainingResult]
"""`train(parameters, out, progress=...)`, which can be pickled."""

Identity = Callable[[Any, int], list[int]]
"""A number for each thing that a process learns from in a batch of that number in its epoch."""


@dataclass(frozen=True)
class Witness:
    """One process's account of one training."""

    seen: list[list[int]]
    """By epoch, what `identity` says of every batch."""
    gradients: list[Mapping[str, np.ndarray]]
    """By step, as the optimizer gets them."""
    history: list[dict[str, Any]]
    """The module's own, as this process has it."""
    numbers: dict[str, float]
    """Of the trained network's buffers, summed, by name."""

    def first_steps(self, n: int) -> "Witness":
        """The same with the gradients of `n` steps."""
        return replace(self, gradients=self.gradients[:n])


class _Notes:
    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.seen: dict[int, list[int]] = {}
        self.gradients: list[dict[str, np.ndarray]] = []

    def on_train_batch_start(self, module: L.LightningModule, batch: Any, number: int) -> None:
        self.seen.setdefault(module.current_epoch, []).extend(self.identity(batch, number))

    def on_before_optimizer_step(self, module: L.LightningModule, _: torch.optim.Optimizer) -> None:
        self.gradients.append(
            {
                name: value.grad.numpy().copy()
                for name, value in module.named_parameters()
                if value.grad is not None
            }
        )

    def write(self, module: L.LightningModule, folder: Path) -> None:
        folder.mkdir()
        history = [one.model_dump() if isinstance(one, BaseModel) else vars(one) for one in module.history]
        buffers = {name: float(value.double().sum()) for name, value in module.named_buffers()}
        account = {
            "seen": [self.seen[epoch] for epoch in sorted(self.seen)],
            "history": history,
            "numbers": buffers,
        }
        (folder / "account.json").write_text(json.dumps(account))
        for step, one in enumerate(self.gradients):
            np.savez(folder / f"{step:04}.npz", **one)


def noting(
    train: TrainInto,
    module: type[L.LightningModule],
    identity: Identity,
    trainings: Sequence[tuple[BaseModel, Path]],
    *,
    progress: ProgressSink | None,
) -> TrainingResult:
    """Trains one after the other, each into its folder; every process leaves its account beside it."""
    for parameters, out in trainings:
        notes = _Notes(identity)

        def finish(self: L.LightningModule, notes: _Notes = notes, out: Path = out) -> None:
            notes.write(self, out.with_name(f"{out.name}_{rank()}"))

        hooks: dict[str, Any] = {
            "on_train_batch_start": lambda self, batch, i, notes=notes: notes.on_train_batch_start(
                self, batch, i
            ),
            "on_before_optimizer_step": lambda self, o, notes=notes: notes.on_before_optimizer_step(self, o),
            "on_fit_end": finish,
        }
        for name, hook in hooks.items():
            setattr(module, name, hook)
        try:
            result = train(parameters, out, progress=progress)
        finally:
            for name in hooks:
                delattr(module, name)
    return result


def together(
    train: TrainInto,
    module: type[L.LightningModule],
    identity: Identity,
    trainings: Sequence[tuple[BaseModel, Path]],
    devices: int,
) -> None:
    """`noting` in as many processes, which are started once for all trainings; of one, in this one."""
    for _, out in trainings:
        out.mkdir()
    each = partial(noting, train, module, identity, trainings)
    if devices == 1:
        each(progress=None)
    else:
        train_together(each, Team(devices, Device.CPU))


def account(out: Path, of_rank: int) -> Witness:
    """What that process noted of the training into `out`."""
    folder = out.with_name(f"{out.name}_{of_rank}")
    said = json.loads((folder / "account.json").read_text())
    gradients = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            gradients.append({name: arrays[name] for name in arrays.files})
    return Witness(said["seen"], gradients, said["history"], said["numbers"])


def assert_same_gradients(one: Witness, other: Witness) -> None:
    """At every step, of every parameter, to 1e-5 of the parameter's largest.

    A bias before a normalisation, or that moves what is compared all alike, has a gradient of 0: of that only rounding
    is left, which differs, and is asked to stay below a millionth of the step's largest.
    """
    assert len(one.gradients) == len(other.gradients) > 0
    for left, right in zip(one.gradients, other.gradients, strict=True):
        assert left.keys() == right.keys()
        noise = 1e-6 * max(np.abs(gradient).max() for gradient in left.values())
        assert noise > 0
        for name, expected in left.items():
            largest = np.abs(expected).max()
            if largest < noise:
                assert np.abs(right[name]).max() < noise, name
            else:
                np.testing.assert_allclose(right[name], expected, rtol=0, atol=1e-5 * largest, err_msg=name)
