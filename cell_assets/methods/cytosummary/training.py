"""Training from cells of several plates to a network."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L

from cell_assets.methods.cytosummary.building import SetNetwork, network_of
from cell_assets.methods.cytosummary.lightning_module import CytoSummaryModule, Epoch, SetData
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.execution import prepared


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
) -> Trained:
    """Learn from the wells of `compounds` on `plates`; controls among them are not looked at.

    Equal inputs and parameters give equal weights in an equal environment.

    Args:
        validation: plates of the wells alone that decide which epoch is kept, of compounds that are not learned from.

    Raises:
        BadInputError: plates differ in features, a compound has no well there, or no plate holds two to compare.
    """
    wells = trained_wells(plates, compounds)
    with (
        prepared(parameters.device, parameters.threads, parameters.seed),
        tempfile.TemporaryDirectory() as root,
    ):
        module = CytoSummaryModule(
            network_of(parameters, plates[0].features.shape[1]), parameters, validation
        )
        trainer = L.Trainer(
            accelerator="gpu" if parameters.device.value == "cuda" else "cpu",
            devices=1,
            max_epochs=parameters.max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=root,
        )
        trainer.fit(module, datamodule=SetData(plates, wells, parameters))
    network = module.network.cpu()
    if module.kept is not None:
        network.load_state_dict(module.kept.weights)
    kept_epoch = module.history[-1].epoch if module.kept is None else module.kept.epoch
    return Trained(network.eval(), tuple(module.history), kept_epoch)
