"""Training from cells of several plates to a network."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.cytosummary.batches import EpochSets, require_share_for_each
from cell_assets.methods.cytosummary.building import SetNetwork, network_of
from cell_assets.methods.cytosummary.lightning_module import CytoSummaryModule, Epoch, SetData
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.distributed import world_size
from cell_assets.methods.execution import prepared
from cell_assets.methods.pace import Pace
from cell_assets.methods.resuming import ResumeFile, SaveForResume


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    network: SetNetwork
    """In evaluation mode, on the CPU."""
    history: tuple[Epoch, ...]
    kept_epoch: int
    """Whose weights the network has."""


def train_network(
    plates: Sequence[PlateCells],
    compounds: Sequence[str],
    parameters: TrainingParameters,
    validation: Sequence[PlateCells] = (),
    progress: ProgressSink | None = None,
    resume: ResumeFile | None = None,
) -> Trained:
    """Learn from the wells of `compounds` on `plates`; controls among them are not looked at.

    Equal inputs and parameters give equal weights in an equal environment, also after an interruption.

    Args:
        validation: plates of the wells alone that decide which epoch is kept, of compounds that are not learned from.
        progress: called after every batch.

    Raises:
        BadInputError: plates differ in features, a compound has no well there, no plate holds two to compare, a batch
            holds fewer compounds than there are `devices`, or other than so many processes train.
    """
    if parameters.devices != world_size():
        raise BadInputError(
            f"devices={parameters.devices} was asked for and {world_size()} of them train; start several as "
            "CytoSummaryMethod.train does"
        )
    wells = trained_wells(plates, compounds)
    if parameters.devices > 1:
        # Refused here, and not once Lightning runs.
        require_share_for_each(EpochSets(plates, wells, parameters, epoch=0), parameters.devices)
    with (
        prepared(parameters.device, parameters.threads, parameters.seed),
        ExitStack() as stack,
    ):
        network = network_of(parameters, plates[0].features.shape[1])
        fingerprint = "" if resume is None else resume.fingerprint
        module = CytoSummaryModule(network, parameters, validation, fingerprint)
        callbacks: list[Callback] = [_BatchProgress(progress, parameters.max_epochs)]
        if resume is not None:
            callbacks.append(SaveForResume(resume))
        trainer = L.Trainer(
            accelerator="gpu" if parameters.device.value == "cuda" else "cpu",
            devices=parameters.devices // parameters.num_nodes,
            num_nodes=parameters.num_nodes,
            strategy="ddp" if parameters.devices > 1 else "auto",
            plugins=LightningEnvironment() if parameters.devices > 1 else None,
            use_distributed_sampler=False,
            max_epochs=parameters.max_epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=resume is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=stack.enter_context(tempfile.TemporaryDirectory()),
        )
        saved = None if resume is None else resume.saved_state()
        trainer.fit(module, datamodule=SetData(plates, wells, parameters), ckpt_path=saved, weights_only=True)
    network = module.network.cpu()
    if module.kept is not None:
        network.load_state_dict(module.kept.weights)
    kept_epoch = module.history[-1].epoch if module.kept is None else module.kept.epoch
    return Trained(network.eval(), tuple(module.history), kept_epoch)


class _BatchProgress(Callback):
    """Batches that are done, of all; every epoch has as many."""

    def __init__(self, sink: ProgressSink | None, max_epochs: int) -> None:
        self.max_epochs = max_epochs
        self.pace = Pace(sink, 0, "batches")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        of_epoch = int(trainer.num_training_batches)
        done = trainer.current_epoch * of_epoch + batch_idx + 1
        self.pace(done, self.max_epochs * of_epoch, f"epoch {trainer.current_epoch + 1}")
