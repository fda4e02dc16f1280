"""Training tiles: which frames hold annotated nuclei, where a tile is cut, and how it is turned and scaled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_assets.methods.state_segmentation.fovs import LEARNED_FROM, FloatArray, SegmentedFov
from cell_assets.methods.state_segmentation.parameters import ClassWeights, StateSegmentationParameters
from cell_assets.methods.state_segmentation.targets import IGNORED, STATE_B, target

KEPT_BYTES = 2 * 2**30
"""Frames that stay in memory once they are prepared; further ones are read anew in every epoch."""

ClassArray = NDArray[np.int8]


@dataclass(frozen=True)
class Frame:
    """One frame as it is learned from."""

    image: FloatArray
    """(C, Y, X), normalised; 0 where hidden."""
    classes: ClassArray
    """(Y, X)"""
    places: NDArray[np.int64]
    """(K, 2) centroids (y, x) of the nuclei that count, to the nearest pixel."""


@dataclass(frozen=True)
class Batch:
    """Tiles of one step."""

    images: FloatArray
    """(N, C, side, side)"""
    classes: ClassArray
    """(N, side, side)"""


class SplitFrames:
    """Every frame with a nucleus of one split that has an annotated state, in the order of FOVs and time."""

    def __init__(self, fovs: Sequence[SegmentedFov], split: str) -> None:
        self._fovs = fovs
        self._split = split
        self._kept: dict[int, Frame] = {}
        self._kept_bytes = 0
        self._frames = [
            (number, int(t))
            for number, fov in enumerate(fovs)
            for t in sorted(fov.cells.loc[self._counts(fov), "t"].unique())
        ]
        self.n_nuclei = sum(int(self._counts(fov).sum()) for fov in fovs)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, place: int) -> Frame:
        if place in self._kept:
            return self._kept[place]
        frame = self._prepared(*self._frames[place])
        n_bytes = frame.image.nbytes + frame.classes.nbytes
        if self._kept_bytes + n_bytes <= KEPT_BYTES:
            self._kept[place] = frame
            self._kept_bytes += n_bytes
        return frame

    def pixel_counts(self) -> NDArray[np.int64]:
        """(3,) pixels of each class in all frames, without those that are ignored."""
        counts = np.zeros(STATE_B + 1, np.int64)
        for place in range(len(self)):
            classes = self[place].classes
            counts += np.bincount(classes[classes != IGNORED].astype(np.int64), minlength=len(counts))
        return counts

    def _counts(self, fov: SegmentedFov) -> NDArray[np.bool_]:
        cells = fov.cells
        wanted = (cells["split"] == self._split) & (cells["state"] != IGNORED) & cells["label"].notna()
        return wanted.to_numpy(dtype=np.bool_)

    def _prepared(self, number: int, t: int) -> Frame:
        fov = self._fovs[number]
        here = (fov.cells["t"] == t).to_numpy()
        wanted = target(*fov.nuclei(t), self._split, LEARNED_FROM)
        # Nuclei of test tracks are neither targets nor context: what lies under them does not reach the loss.
        image = np.where(wanted.hidden, np.float32(0), fov.image(t))
        places = fov.cells.loc[here & self._counts(fov), ["y", "x"]].to_numpy(np.float64)
        return Frame(image, wanted.classes, np.floor(places + 0.5).astype(np.int64))


def class_weights(counts: NDArray[np.int64], rule: ClassWeights) -> tuple[float, ...]:
    """Weight of background, state A and state B; a class without pixels gets 0."""
    if rule is ClassWeights.EQUAL:
        return (1.0,) * len(counts)
    total = int(counts.sum())
    return tuple(total / (len(counts) * int(n)) if n else 0.0 for n in counts)


def epoch_batches(
    frames: SplitFrames, parameters: StateSegmentationParameters, rng: np.random.Generator, augmented: bool
) -> Iterator[Batch]:
    """One tile of every frame, each around a nucleus that counts, in shuffled order; the last batch may be smaller."""
    order = rng.permutation(len(frames))
    for start in range(0, len(order), parameters.batch_size):
        tiles = [
            _tile(frames[place], parameters, rng, augmented)
            for place in order[start : start + parameters.batch_size]
        ]
        yield Batch(np.stack([image for image, _ in tiles]), np.stack([classes for _, classes in tiles]))


def _tile(
    frame: Frame, parameters: StateSegmentationParameters, rng: np.random.Generator, augmented: bool
) -> tuple[FloatArray, ClassArray]:
    image, classes = cut(frame, parameters.tile_px, rng)
    if not augmented:
        return image, classes
    turns, flips = int(rng.integers(4)), bool(rng.integers(2))
    factors = 1 + rng.uniform(-parameters.intensity_scale, parameters.intensity_scale, (len(image), 1, 1))
    image, classes = turned(image, turns, flips), turned(classes, turns, flips)
    return (image * factors).astype(np.float32), classes


def cut(frame: Frame, side: int, rng: np.random.Generator) -> tuple[FloatArray, ClassArray]:
    """A square of a frame that holds a drawn nucleus' centroid, anywhere in it; beyond the frame all is ignored."""
    image, classes = frame.image, frame.classes
    missing = [max(0, side - extent) for extent in classes.shape]
    if any(missing):
        below = [(0, extent) for extent in missing]
        image = np.pad(image, [(0, 0), *below])
        classes = np.pad(classes, below, constant_values=IGNORED)
    place = frame.places[rng.integers(len(frame.places))]
    extents = np.array(classes.shape)
    lowest = np.maximum(place - side + 1, 0)
    highest = np.minimum(place, extents - side)
    # At the far edge a tile that ends with the frame is the only one.
    lowest = np.minimum(lowest, highest)
    y, x = (int(one) for one in rng.integers(lowest, highest + 1))
    return image[:, y : y + side, x : x + side], classes[y : y + side, x : x + side]


def turned(pixels: NDArray[Any], turns: int, flips: bool) -> NDArray[Any]:
    """Quarter turns of the last two axes, then a mirror of the last."""
    rotated = np.rot90(pixels, turns, axes=(-2, -1))
    return rotated[..., ::-1] if flips else rotated
