"""A training that was killed goes on from its last saved epoch, and ends in the bytes of one that was not."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from cell_assets.errors import BadInputError
from cell_assets.methods.distributed import gathered

RESUME_FILE = "resume.ckpt"
FINGERPRINT = "cell_assets_fingerprint"
"""Key of a saved state, which a module writes: everything that decides the weights of its training."""
SECONDS_BETWEEN_SAVES = 60.0
"""A ConvNeXt-Tiny with AdamW's moments is 340 MB; saving it after every short epoch would cost more than
the epoch. The result does not depend on when a training was saved."""


@dataclass(frozen=True)
class ResumeFile:
    """Where an interrupted training is saved between epochs, and goes on from."""

    path: Path
    fingerprint: str
    """Of this training."""

    def saved_state(self) -> Path | None:
        """The saved state of this very training, or None; another training's state is left to be overwritten.

        All processes that train together must call this.

        Raises:
            BadInputError: they have other inputs, or other states to go on from.
        """
        epochs = self._epochs()
        if len(set(gathered((self.fingerprint, epochs)))) > 1:
            raise BadInputError(
                "the machines that train together have other inputs or processors, or other epochs to go on from; let "
                "them be alike and share one CELL_ASSETS_HOME"
            )
        return None if epochs is None else self.path

    def remarks(self) -> tuple[str, ...]:
        """For a person, before the training starts: whether it goes on from a saved state, and from which epoch."""
        epochs = self._epochs()
        return (
            ()
            if epochs is None
            else (f"it went on after epoch {epochs}, where an interrupted attempt stood",)
        )

    def remove(self) -> None:
        """Remove the state, and what attempts left that were killed while they saved."""
        for left in (self.path, *self.path.parent.glob(f"{self.path.stem}.*partial")):
            left.unlink(missing_ok=True)

    def _epochs(self) -> int | None:
        """How many were finished when the state of this very training was saved; None: there is no such state."""
        if not self.path.exists():
            return None
        saved = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        return int(saved["epoch"]) + 1 if saved.get(FINGERPRINT) == self.fingerprint else None


class SaveForResume(Checkpoint):
    """Saves between epochs, whole or not at all, and no more often than it pays.

    A `Checkpoint`, because Lightning calls these after the module has closed its epoch.
    """

    def __init__(self, file: ResumeFile) -> None:
        self.path = file.path
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # All devices take part in saving, so that the first one's clock decides for all.
        if gathered(time.monotonic() - self.saved)[0] < SECONDS_BETWEEN_SAVES:
            return
        # Two attempts may be under way for a while: the one whose pod is asked to leave, and the next one.
        partial = self.path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.path)
        self.saved = time.monotonic()
