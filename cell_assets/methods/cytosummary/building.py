"""The network that parameters ask for."""

import torch

from cell_assets.methods.cytosummary.conditioned_network import ConditionedNet
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.parameters import Conditioning, Summary, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.summary_network import SummaryNet

PlateNetwork = CytoSummaryNet | SummaryNet
"""Takes cells and counts, and `profiles_of` wells."""
SetNetwork = PlateNetwork | ConditionedNet
"""What is trained: a network for all plates, or one that makes a network of a plate's controls."""


def network_of(parameters: TrainingParameters, features: int) -> SetNetwork:
    """With random weights, for cells of that many features."""
    config = NetworkConfig(
        features=features,
        cell_width=parameters.cell_width,
        hidden_width=parameters.hidden_width,
        profile_width=parameters.profile_width,
    )
    if parameters.summary is not Summary.LEARNED:
        return SummaryNet(config, parameters.summary)
    return (
        ConditionedNet(config) if parameters.conditioning is Conditioning.LEARNED else CytoSummaryNet(config)
    )


def on_plate(network: SetNetwork, plate: PlateCells) -> PlateNetwork:
    """The network for this plate's cells."""
    if isinstance(network, ConditionedNet):
        return network.on_plate(torch.from_numpy(plate.seen_controls()))
    return network
