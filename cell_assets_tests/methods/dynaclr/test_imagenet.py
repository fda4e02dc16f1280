"""ImageNet weights in foreign key names: all mapped, or named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.imagenet import load_imagenet
from cell_assets.methods.dynaclr.network import Backbone, NetworkConfig

CONFIG = NetworkConfig(channels=1, depth=5, widths=(4, 6, 8, 10), blocks=(1, 2, 1, 1))


def foreign_weights(names: str) -> dict[str, Tensor]:
    """A file of CONFIG's backbone as timm or torchvision would write it, filled with random numbers."""
    timm = names == "timm"
    generator = torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = {}

    def both(key: str, weight: tuple[int, ...]) -> None:
        shapes[f"{key}.weight"], shapes[f"{key}.bias"] = weight, weight[:1]

    both("stem.0" if timm else "features.0.0", (4, 3, 4, 4))
    both("stem.1" if timm else "features.0.1", (4,))
    for i, (width, count) in enumerate(zip(CONFIG.widths, CONFIG.blocks, strict=True)):
        if i:
            both(f"stages.{i}.downsample.0" if timm else f"features.{2 * i}.0", (CONFIG.widths[i - 1],))
            entry = f"stages.{i}.downsample.1" if timm else f"features.{2 * i}.1"
            both(entry, (width, CONFIG.widths[i - 1], 2, 2))
        for j in range(count):
            block = f"stages.{i}.blocks.{j}" if timm else f"features.{2 * i + 1}.{j}"
            parts = (
                ("conv_dw", "norm", "mlp.fc1", "mlp.fc2") if timm else (f"block.{n}" for n in (0, 2, 3, 5))
            )
            sizes = ((width, 1, 7, 7), (width,), (4 * width, width), (width, 4 * width))
            for part, size in zip(parts, sizes, strict=True):
                both(f"{block}.{part}", size)
            scale = (f"{block}.gamma", (width,)) if timm else (f"{block}.layer_scale", (width, 1, 1))
            shapes[scale[0]] = scale[1]
    both("head.norm" if timm else "classifier.0", (10,))
    both("head.fc" if timm else "classifier.2", (7, 10))
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("names", "some_key", "left_out"),
    [
        ("timm", "stages.1.blocks.1.mlp.fc2.weight", ("head.fc.bias", "head.fc.weight", "stem.0.bias")),
        ("torchvision", "features.3.1.block.5.weight", ("classifier.2.bias", "classifier.2.weight")),
    ],
)
def test_all_keys_find_their_place(
    names: str, some_key: str, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    weights = foreign_weights(names)
    save_file(weights, tmp_path / "w.safetensors")
    backbone = Backbone(CONFIG)
    loaded = load_imagenet(backbone, tmp_path / "w.safetensors")
    assert set(left_out) < set(loaded.left_out)
    assert len(loaded.left_out) == 4
    ours = backbone.state_dict()
    assert len(ours) == len(weights) - 4
    torch.testing.assert_close(ours["stages.1.blocks.1.contract.weight"], weights[some_key])
    # Nothing was left at its start value or used twice.
    assert sum(float(t.sum()) for t in ours.values()) == pytest.approx(
        sum(float(t.sum()) for key, t in weights.items() if key not in loaded.left_out), rel=1e-4
    )


def test_both_name_styles_hold_the_same_network(tmp_path: Path) -> None:
    states = []
    for names in ("timm", "torchvision"):
        save_file(foreign_weights(names), tmp_path / f"{names}.safetensors")
        backbone = Backbone(CONFIG)
        load_imagenet(backbone, tmp_path / f"{names}.safetensors")
        states.append(backbone.state_dict())
    for key, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][key])


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    weights = foreign_weights("timm") | {
        "stages.0.blocks.0.attn.qkv.weight": torch.zeros(2),
        "grn": torch.zeros(1),
    }
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(BadInputError, match=r"no place for: grn, stages\.0\.blocks\.0\.attn\.qkv\.weight;"):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.safetensors")


def test_missing_keys_are_named(tmp_path: Path) -> None:
    weights = foreign_weights("timm")
    del weights["stages.2.blocks.0.norm.bias"]
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(BadInputError, match=r"lack stages\.2\.blocks\.0\.norm\.bias;"):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.safetensors")


def test_other_sizes_are_refused(tmp_path: Path) -> None:
    weights = foreign_weights("timm") | {"stem.1.weight": torch.zeros(5)}
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(
        BadInputError, match=r"stem\.1\.weight has shape \(5,\) where the backbone has \(4,\)"
    ):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.safetensors")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"stem.1.weight": torch.zeros(4)}, tmp_path / "w.pth")
    with pytest.raises(BadInputError, match="cannot be read as safetensors"):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.pth")
