"""The network that parameters ask for."""

from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.parameters import Summary, TrainingParameters
from cell_assets.methods.cytosummary.summary_network import SummaryNet

SetNetwork = CytoSummaryNet | SummaryNet
"""Takes cells and counts, and `profiles_of` wells."""


def network_of(parameters: TrainingParameters, features: int) -> SetNetwork:
    """With random weights, for cells of that many features."""
    config = NetworkConfig(
        features=features,
        cell_width=parameters.cell_width,
        hidden_width=parameters.hidden_width,
        profile_width=parameters.profile_width,
    )
    if parameters.summary is Summary.LEARNED:
        return CytoSummaryNet(config)
    return SummaryNet(config, parameters.summary)
