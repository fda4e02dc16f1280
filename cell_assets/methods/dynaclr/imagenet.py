"""ImageNet weights of ConvNeXt from a local file, in timm's or torchvision's key names.

Nothing is downloaded here. Every key is mapped, left out because the paper removes its module, or named in
the error.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.network import Backbone
from cell_assets.store.file_digest import digest_file


class InitialWeights(BaseModel):
    """Which file a backbone started from, as its checkpoint records it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blake3: str
    left_out: tuple[str, ...]
    """Keys of the file that have no place here: the classifier and the 2-D stem convolution."""


_TIMM_BLOCK = {
    "conv_dw": "depthwise",
    "norm": "norm",
    "mlp.fc1": "expand",
    "mlp.fc2": "contract",
    "gamma": "layer_scale",
}
_TORCHVISION_BLOCK = {"block.0": "depthwise", "block.2": "norm", "block.3": "expand", "block.5": "contract"}
_REMOVED = re.compile(r"(stem\.0|head\.fc|features\.0\.0|classifier\.2)\.(weight|bias)")


def backbone_key(key: str) -> str | None:
    """Name of a timm or torchvision ConvNeXt tensor in `Backbone`, or None when it has none."""
    patterns = (
        (r"stem\.1\.(\w+)", r"stem_norm.\1"),
        (r"head\.norm\.(\w+)", r"norm.\1"),
        (r"stages\.(\d)\.downsample\.0\.(\w+)", r"stages.\1.downsample.norm.\2"),
        (r"stages\.(\d)\.downsample\.1\.(\w+)", r"stages.\1.downsample.conv.\2"),
        (r"features\.0\.1\.(\w+)", r"stem_norm.\1"),
        (r"classifier\.0\.(\w+)", r"norm.\1"),
    )
    for pattern, ours in patterns:
        if match := re.fullmatch(pattern, key):
            return match.expand(ours)
    if match := re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.+?)(\.weight|\.bias)?", key):
        part = _TIMM_BLOCK.get(match[3])
        return part and f"stages.{match[1]}.blocks.{match[2]}.{part}{match[4] or ''}"
    if match := re.fullmatch(r"features\.(\d)\.(\d+)\.(block\.\d)(\.weight|\.bias)", key):
        part = _TORCHVISION_BLOCK.get(match[3])
        return part and f"stages.{(int(match[1]) - 1) // 2}.blocks.{match[2]}.{part}{match[4]}"
    if match := re.fullmatch(r"features\.(\d)\.(\d+)\.layer_scale", key):
        return f"stages.{(int(match[1]) - 1) // 2}.blocks.{match[2]}.layer_scale"
    if match := re.fullmatch(r"features\.([246])\.([01])\.(\w+)", key):
        part = "norm" if match[2] == "0" else "conv"
        return f"stages.{int(match[1]) // 2}.downsample.{part}.{match[3]}"
    return None


def weights_digest(path: Path | None, expected: str | None) -> str:
    """BLAKE3 of the file of weights, hexadecimal.

    Raises:
        BadInputError: it is not given or cannot be read, or it is not the one that is expected.
    """
    if path is None:
        raise BadInputError(f"ImageNet weights with BLAKE3 {expected} are needed; give them as imagenet_file")
    try:
        found = digest_file(path)
    except OSError as error:
        raise BadInputError(
            f"imagenet_file={path} cannot be read ({error.strerror}); give a local file of ConvNeXt weights"
        ) from error
    if expected is not None and expected != found:
        raise BadInputError(
            f"weights {path.name} have BLAKE3 {found} and imagenet_blake3 says {expected}; give that file"
        )
    return found


def _read(path: Path) -> Mapping[str, Tensor]:
    unreadable: tuple[type[Exception], ...]
    if path.suffix == ".safetensors":
        unreadable = (SafetensorError, OSError)
    elif path.suffix in (".pth", ".pt"):
        # What PyTorch raises for a file that is not its own, or that holds more than tensors.
        unreadable = (
            *(pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, OSError),
            *(EOFError, LookupError, ValueError),
        )
    else:
        raise BadInputError(f"weights {path.name} are neither .safetensors nor .pth; give one of these")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_packed(path)
        given = torch.load(path, map_location="cpu", weights_only=True)
    except unreadable as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"weights {path.name} cannot be read as tensors by name ({reason}); save the bare state dict again"
        ) from error
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise BadInputError(
            f"weights {path.name} hold more than tensors by name; save the bare state dict again"
        )
    return given


def _refuse_packed(path: Path) -> None:
    """PyTorch stores tensors as they are; one that is packed may unpack to more than any memory holds."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        packed = [one.filename for one in archive.infolist() if one.file_size != one.compress_size]
    if packed:
        raise ValueError(f"{packed[0]} in it is packed, as PyTorch packs nothing")


def load_imagenet(backbone: Backbone, path: Path) -> InitialWeights:
    """Fills `backbone` from a `.safetensors` file, or from a `.pth` file, of which only tensors are unpickled.

    Raises:
        BadInputError: the file cannot be read so, a key is unknown, a tensor of the backbone is missing,
            or a shape differs (the parameters' widths and blocks are not those of the file).
    """
    given = _read(path)
    wanted = backbone.state_dict()
    found: dict[str, Tensor] = {}
    left_out = []
    for key, tensor in given.items():
        name = backbone_key(key)
        if name is None and _REMOVED.fullmatch(key):
            left_out.append(key)
            continue
        if name is None or name not in wanted:
            unknown = [k for k in given if backbone_key(k) not in wanted and not _REMOVED.fullmatch(k)]
            raise BadInputError(
                f"weights {path.name} hold keys that this backbone has no place for: "
                f"{', '.join(sorted(unknown))}; give ConvNeXt weights of the same blocks in timm's or "
                "torchvision's names"
            )
        if tensor.numel() != wanted[name].numel() or tensor.squeeze().shape != wanted[name].squeeze().shape:
            raise BadInputError(
                f"weights {path.name}: {key} has shape {tuple(tensor.shape)} where the backbone has "
                f"{tuple(wanted[name].shape)}; set widths and blocks to those of the file"
            )
        found[name] = tensor.reshape(wanted[name].shape)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise BadInputError(f"weights {path.name} lack {', '.join(missing)}; give a whole ConvNeXt file")
    backbone.load_state_dict(found)
    return InitialWeights(blake3=digest_file(path), left_out=tuple(sorted(left_out)))
