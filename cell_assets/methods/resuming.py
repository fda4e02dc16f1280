"""A training that was killed goes on from its last saved epoch, and ends in the bytes of one that was not."""

import time
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

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
        """The saved state of this very training, or None; another training's state is left to be overwritten."""
        if not self.path.exists():
            return None
        saved = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        return self.path if saved.get(FINGERPRINT) == self.fingerprint else None


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
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.path)
        self.saved = time.monotonic()
