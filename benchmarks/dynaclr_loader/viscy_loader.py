"""VisCy 0.4.1's own triplet data module on a plate: triplets a second, read alone and ready for the network.

Runs in an environment of its own (see README.md); `run.py` starts it and reads the JSON line that it prints.
"""

import json
import sys
import time

import numpy as np
import torch
from viscy.data.triplet import TripletDataModule
from viscy.transforms import (
    BatchedRandAdjustContrastd,
    BatchedRandAffined,
    BatchedRandGaussianNoised,
    BatchedRandGaussianSmoothd,
    BatchedRandScaleIntensityd,
    NormalizeSampled,
)


def main(plate: str, tracks: str, depth: int, stored: int, side: int, batch: int, batches: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    phase, reporter = ["Phase"], ["RFP"]
    module = TripletDataModule(
        data_path=plate,
        tracks_path=tracks,
        source_channel=[*phase, *reporter],
        z_range=(0, depth),
        initial_yx_patch_size=(stored, stored),
        final_yx_patch_size=(side, side),
        split_ratio=0.5,
        batch_size=batch,
        num_workers=1,
        time_interval=1,
        normalizations=[
            NormalizeSampled(phase, "fov_statistics", "mean", "std"),
            NormalizeSampled(reporter, "fov_statistics", "median", "iqr"),
        ],
        # The paper's Table 2 with VisCy's probabilities. Axes are (z, y, x); kornia takes factors of
        # scale, and shear by planes, backwards (zy, zx, yz, yx, xz, xy).
        augmentations=[
            BatchedRandAffined(
                [*phase, *reporter],
                prob=0.8,
                rotate_range=[3.14159, 0.0, 0.0],
                shear_range=[0.0, 0.0, 0.0, 0.01, 0.0, 0.01],
                scale_range=[[1.0, 1.0], [0.7, 1.3], [0.7, 1.3]],
            ),
            BatchedRandAdjustContrastd([*phase, *reporter], prob=0.5, gamma=(0.8, 1.2)),
            BatchedRandScaleIntensityd(phase, prob=0.5, factors=0.5),
            BatchedRandScaleIntensityd(reporter, prob=0.7, factors=0.5),
            BatchedRandGaussianSmoothd(
                [*phase, *reporter], prob=0.5, sigma_x=(0.25, 0.75), sigma_y=(0.25, 0.75), sigma_z=(0.0, 0.0)
            ),
            BatchedRandGaussianNoised(phase, prob=0.5, mean=0.0, std=0.2),
            BatchedRandGaussianNoised(reporter, prob=0.5, mean=0.0, std=0.5),
        ],
    )
    module.trainer = None
    module.setup("fit")
    print(
        json.dumps({"read": rates(module, batches, ready=False), "ready": rates(module, batches, ready=True)})
    )


def rates(module: TripletDataModule, batches: int, ready: bool) -> list[float]:
    """Triplets a second of each batch after the first."""
    found: list[float] = []
    while len(found) < batches:
        before = None
        for read in module.train_dataloader():
            if ready:
                done = module.on_after_batch_transfer(read, 0)
                assert done["anchor"].shape[-1] == module.yx_patch_size[0]
            now = time.perf_counter()
            if before is not None:
                found.append(len(read["anchor"]) / (now - before))
            before = now
            if len(found) >= batches:
                break
    return found


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
