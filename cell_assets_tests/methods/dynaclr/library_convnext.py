"""ConvNeXt-Tiny as timm and torchvision have it: names and shapes of its weights, and what it answers.

The files in `library_convnext/` are what the libraries themselves said; the test suite reads them and needs neither.
To write them again where both are installed:

    python -m cell_assets_tests.methods.dynaclr.library_convnext
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "library_convnext"
LIBRARIES = ("timm", "torchvision")


class LibraryConvnext(BaseModel):
    """`convnext_tiny` of one library."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    shapes: dict[str, tuple[int, ...]]
    """Of every tensor of the state dict, in its order."""
    features: tuple[float, ...]
    """(768,) what the network gives before its classifier of `after_stem()`, with `weights(shapes)`, in float64."""

    @classmethod
    def of(cls, library: str) -> "LibraryConvnext":
        return cls.model_validate_json((FOLDER / f"{library}.json").read_bytes())


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights of mean 0 and variance 1 / fan-in; each depends on its place and its shape alone."""
    made = {}
    for place, (key, shape) in enumerate(shapes.items()):
        fan_in = max(int(np.prod(shape[1:])), 1)
        # Unlike numpy's newer generators, this one gives the same numbers in every version.
        drawn = np.random.RandomState(place).standard_normal(shape) / np.sqrt(fan_in)
        made[key] = torch.from_numpy(drawn.astype(np.float32))
    return made


def after_stem() -> Tensor:
    """(1, Y=16, X=8, 96): one image as the stem's convolution might leave it."""
    return torch.from_numpy(np.random.RandomState(1000).standard_normal((1, 16, 8, 96)))


def _recorded(version: str, network: nn.Module, layers: tuple[nn.Module, ...]) -> LibraryConvnext:
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict(weights(shapes))
    network.eval().double()
    x = after_stem().permute(0, 3, 1, 2)
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
    return LibraryConvnext(version=version, shapes=shapes, features=tuple(x.flatten().tolist()))


def main() -> None:
    """Ask the libraries."""
    import timm
    import torchvision

    of_timm, of_torchvision = timm.create_model("convnext_tiny"), torchvision.models.convnext_tiny()
    recorded = {
        "timm": _recorded(
            timm.__version__,
            of_timm,
            (of_timm.stem[1], of_timm.stages, of_timm.head.global_pool, of_timm.head.norm),
        ),
        "torchvision": _recorded(
            torchvision.__version__.partition("+")[0],
            of_torchvision,
            (
                of_torchvision.features[0][1],
                *of_torchvision.features[1:],
                of_torchvision.avgpool,
                of_torchvision.classifier[0],
            ),
        ),
    }
    for library, one in recorded.items():
        (FOLDER / f"{library}.json").write_text(one.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
