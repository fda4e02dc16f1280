"""ImageNet weights in foreign key names: all mapped, or named."""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from safetensors.torch import save_file
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.checkpoint import load_checkpoint
from cell_assets.methods.dynaclr.imagenet import load_imagenet
from cell_assets.methods.dynaclr.method import METHOD
from cell_assets.methods.dynaclr.network import Backbone, NetworkConfig
from cell_assets.methods.dynaclr.parameters import TrainingParameters
from cell_assets.methods.dynaclr.patches import PatchSource
from cell_assets.methods.dynaclr.training import train_on
from cell_assets_tests.anonymous_memory import Peak
from cell_assets_tests.methods.dynaclr.library_convnext import LIBRARIES, LibraryConvnext, after_stem, weights
from cell_assets_tests.methods.dynaclr.synthetic_cells import manifest_of, open_table
from cell_assets_tests.methods.dynaclr.test_training import digests

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


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_backbone_answers_as_the_librarys_own_network(library: str, suffix: str, tmp_path: Path) -> None:
    recorded = LibraryConvnext.of(library)
    file = save(weights(recorded.shapes), tmp_path / f"w.{suffix}")
    backbone = Backbone(NetworkConfig(channels=2, depth=15)).eval()
    loaded = load_imagenet(backbone, file)
    removed = ("stem.0", "head.fc") if library == "timm" else ("features.0.0", "classifier.2")
    assert loaded.left_out == tuple(sorted(f"{part}.{of}" for part in removed for of in ("weight", "bias")))
    assert len(backbone.state_dict()) == len(recorded.shapes) - len(loaded.left_out)
    with torch.no_grad():
        features = backbone.double()(after_stem())
    expected = torch.tensor([recorded.features], dtype=torch.float64)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-9)


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


def save(weights: dict[str, Tensor], path: Path) -> Path:
    """As safetensors or, by its suffix, as PyTorch's own format."""
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("names", ["timm", "torchvision"])
def test_a_state_dict_of_pytorch_gives_the_same_network(names: str, tmp_path: Path) -> None:
    weights, states = foreign_weights(names), []
    for name in ("w.safetensors", "w.pth"):
        backbone = Backbone(CONFIG)
        load_imagenet(backbone, save(weights, tmp_path / name))
        states.append(backbone.state_dict())
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key])


class Bomb:
    """Runs code where a pickle is trusted."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"stem.1.weight": torch.zeros(4)}}, "hold more than tensors by name"),
        ([torch.zeros(4)], "hold more than tensors by name"),
        (b"", "cannot be read as tensors by name"),
        (b"\x80\x02no pickle at all", "cannot be read as tensors by name"),
        (b"PK\x03\x04no zip at all", "cannot be read as tensors by name"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.pt"])
def test_other_files_of_pytorch_are_refused(content: object, message: str, name: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(BadInputError, match=message):
        load_imagenet(Backbone(CONFIG), tmp_path / name)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    torch.save({"stem.1.weight": Bomb(tmp_path / "victim")}, tmp_path / "w.pth")
    with pytest.raises(BadInputError, match="cannot be read as tensors by name"):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.pth")
    assert not (tmp_path / "victim").exists()


def test_a_tensor_that_would_unpack_to_gigabytes_is_refused(tmp_path: Path) -> None:
    torch.save({"stem.1.weight": torch.zeros(2**20)}, tmp_path / "honest.pth")
    path = tmp_path / "w.pth"
    with (
        zipfile.ZipFile(tmp_path / "honest.pth") as honest,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for one in honest.infolist():
            how = zipfile.ZIP_DEFLATED if one.filename.endswith("data/0") else zipfile.ZIP_STORED
            packed.writestr(one.filename, honest.read(one), how)
    assert path.stat().st_size < 2**14
    with pytest.raises(BadInputError, match=r"data/0 in it is packed, as PyTorch packs nothing"):
        load_imagenet(Backbone(CONFIG), path)


def test_a_tensor_that_claims_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    claims = json.dumps({"a": {"dtype": "F32", "shape": [25 * 10**8], "data_offsets": [0, 10**10]}}).encode()
    for header in (struct.pack("<Q", 10**10) + b"{}", struct.pack("<Q", len(claims)) + claims):
        path.write_bytes(header)
        with Peak() as peak, pytest.raises(BadInputError, match="cannot be read as tensors by name"):
            load_imagenet(Backbone(CONFIG), path)
        assert peak.mib < 100


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for name in ("w.onnx", "w.ckpt", "w.npy", "w.joblib"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "victim")))
        with pytest.raises(BadInputError, match=rf"{name} are neither \.safetensors nor \.pth"):
            load_imagenet(Backbone(CONFIG), tmp_path / name)
    assert not (tmp_path / "victim").exists()
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(BadInputError, match="cannot be read as tensors by name"):
        load_imagenet(Backbone(CONFIG), tmp_path / "w.safetensors")


@pytest.mark.parametrize("names", ["timm", "torchvision"])
def test_training_starts_from_the_file_and_says_so(names: str, tmp_path: Path) -> None:
    made = []
    for place in ("here", "there"):
        (tmp_path / place / "out").mkdir(parents=True)
        file = save(foreign_weights(names), tmp_path / place / "w.pth")
        made.append(trained_from(file, tmp_path / place / "out"))
    assert made[0] == made[1], "where the file lies decides nothing"

    out = tmp_path / "here" / "out"
    network, config = load_checkpoint(out)
    digest = blake3((tmp_path / "here" / "w.pth").read_bytes()).hexdigest()
    assert config.initial_weights is not None
    assert config.initial_weights.blake3 == config.parameters.imagenet_blake3 == digest
    key = "stages.1.blocks.1.mlp.fc2.weight" if names == "timm" else "features.3.1.block.5.weight"
    trained = network.backbone.state_dict()["stages.1.blocks.1.contract.weight"]
    torch.testing.assert_close(trained, foreign_weights(names)[key])
    assert digest in METHOD.training_notes(out)[1]


def trained_from(file: Path, out: Path) -> Mapping[str, str]:
    """Digests of a checkpoint that took one step, of next to no length, from `file`."""
    parameters = TrainingParameters.quick().model_dump() | {
        "initial": "imagenet",
        "imagenet_file": file,
        "learning_rate": 1e-9,
        "weight_decay": 0.0,
        "widths": CONFIG.widths,
        "blocks": CONFIG.blocks,
        "patch_side_px": 32,
        "max_steps": 1,
    }
    source = PatchSource([open_table()])
    train_on(source, manifest_of(source), TrainingParameters.model_validate(parameters), out)
    return digests(out)
