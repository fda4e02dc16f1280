"""Training: what counts in the loss, that it learns, and that equal parameters give equal bytes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import Progress
from cell_assets.methods.state_segmentation.checkpoint import load_checkpoint, save_checkpoint
from cell_assets.methods.state_segmentation.fovs import SegmentedFovs
from cell_assets.methods.state_segmentation.network import UNet, UNetConfig
from cell_assets.methods.state_segmentation.parameters import ClassWeights
from cell_assets.methods.state_segmentation.prediction import predict
from cell_assets.methods.state_segmentation.targets import IGNORED
from cell_assets.methods.state_segmentation.tiles import SplitFrames, class_weights, epoch_batches
from cell_assets.methods.state_segmentation.training import state_loss, train
from cell_assets_tests.methods.state_segmentation.toy_fovs import STATES, film, fov_of, small, toy_fovs


def digests(folder: Path) -> Mapping[str, str]:
    return {path.name: blake3(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def folder_in(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def balanced_accuracy(table: pd.DataFrame, cells: pd.DataFrame) -> float:
    """Over test cells, with one half as the threshold."""
    keys = ["plate", "fov_name", "track_id", "t"]
    test = table[table["split"] == "test"].merge(cells[[*keys, "is_bright"]], on=keys)
    called = test["probability"].to_numpy(np.float64) >= 0.5
    truth = test["is_bright"].to_numpy()
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)


def test_equal_parameters_give_equal_bytes(tmp_path: Path) -> None:
    first, again, other = (folder_in(tmp_path, name) for name in ("first", "again", "other"))
    train(toy_fovs(1), STATES, small(max_steps=3), first)
    torch.rand(1000)
    train(toy_fovs(1), STATES, small(max_steps=3), again)
    assert digests(first) == digests(again)
    assert set(digests(first)) == {"model.safetensors", "config.json", "history.parquet"}
    train(toy_fovs(1), STATES, small(max_steps=3, seed=1), other)
    assert digests(other)["model.safetensors"] != digests(first)["model.safetensors"]


def test_bright_and_dark_nuclei_of_tracks_never_seen_are_told_apart(tmp_path: Path) -> None:
    fovs = toy_fovs(3)
    trained, untrained = folder_in(tmp_path, "trained"), folder_in(tmp_path, "untrained")
    said: list[Progress] = []
    result = train(fovs, STATES, small(), trained, said.append)
    learned = balanced_accuracy(predict(trained, fovs, trained).table, fovs.cells())
    assert learned > 0.95
    assert result.history[-1].train_loss < result.history[0].train_loss / 2
    assert (said[-1].done, said[-1].total) == (len(said), len(said)) and said[-1].per_second > 0
    losses = pd.read_parquet(trained / "history.parquet")["val_loss"]
    assert result.config.best_epoch == losses.idxmin() + 1

    torch.manual_seed(0)
    save_checkpoint(UNet(result.config.network), result.config, untrained)
    guessed = balanced_accuracy(predict(untrained, fovs, untrained).table, fovs.cells())
    # It calls all nuclei the same, or nearly.
    assert abs(guessed - 0.5) < 0.2


def test_what_lies_under_a_test_nucleus_does_not_change_the_loss(tmp_path: Path) -> None:
    cells, images, labels = film()
    changed = images.copy()
    for row in cells[cells["split"] == "test"].itertuples():
        changed[row.t][:, labels[row.t, 0] == row.label] = 9000
    moved_states = cells.assign(state=cells["state"].where(cells["split"] != "test", 3 - cells["state"]))
    histories = []
    for number, (table, pixels) in enumerate(((cells, images), (moved_states, changed))):
        fovs = SegmentedFovs((fov_of(table, pixels, labels),), ("RFP",))
        histories.append(train(fovs, STATES, small(max_steps=4), folder_in(tmp_path, str(number))).history)
    assert histories[0] == histories[1]
    # Of a train nucleus the same change is seen.
    track = cells["track_id"] == 1
    seen = images.copy()
    for row in cells[track].itertuples():
        seen[row.t][:, labels[row.t, 0] == row.label] = 9000
    fovs = SegmentedFovs((fov_of(cells, seen, labels),), ("RFP",))
    assert train(fovs, STATES, small(max_steps=4), folder_in(tmp_path, "seen")).history != histories[0]


def test_ignored_pixels_have_no_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    classes = torch.randint(0, 3, (2, 4, 4), dtype=torch.int8)
    classes[0, :2] = IGNORED
    state_loss(logits, classes, torch.tensor([0.2, 1.0, 3.0])).backward()
    assert logits.grad is not None
    touched = (logits.grad != 0).any(dim=1)
    assert torch.equal(touched, classes != IGNORED)


def test_the_loss_is_the_weighted_mean_over_pixels_that_count() -> None:
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, :, 0, 0] = torch.tensor([2.0, 0.0, 0.0])
    classes = torch.tensor([[[0, 1, 2, IGNORED]]], dtype=torch.int8)
    known = -np.log(np.exp(2) / (np.exp(2) + 2))
    by_hand = (0.5 * known + 1 * np.log(3) + 4 * np.log(3)) / 5.5
    assert float(state_loss(logits, classes, torch.tensor([0.5, 1.0, 4.0]))) == pytest.approx(
        by_hand, rel=1e-6
    )
    nothing = torch.full((1, 1, 4), IGNORED)
    assert float(state_loss(logits, nothing, torch.ones(3))) == 0.0


def test_class_weights_are_the_inverse_of_pixel_counts() -> None:
    frames = SplitFrames(toy_fovs(1).fovs, "train")
    counts = frames.pixel_counts()
    # Twelve nuclei of 36 pixels, of which half are of train tracks, in each of three frames.
    assert counts[1] + counts[2] == 3 * 6 * 36 and counts[0] == 3 * (48 * 48 - 12 * 36)
    assert class_weights(counts, ClassWeights.INVERSE_FREQUENCY) == pytest.approx(counts.sum() / (3 * counts))
    assert class_weights(counts, ClassWeights.EQUAL) == (1.0, 1.0, 1.0)


def test_every_tile_holds_a_nucleus_that_counts_and_its_classes_lie_on_its_pixels() -> None:
    frames = SplitFrames(toy_fovs(2).fovs, "train")
    for epoch in range(4):
        batches = list(epoch_batches(frames, small(), np.random.default_rng(epoch), augmented=True))
        assert sum(len(batch.images) for batch in batches) == len(frames) == 6
        for batch in batches:
            assert batch.images.shape[1:] == (1, 32, 32)
            for image, classes in zip(batch.images, batch.classes, strict=True):
                assert (classes > 0).any()
                # A nucleus is 20 or 60 grey values above the ground, 0.5 and 1.5 when normalised.
                assert image[0][classes == 0].mean() < 0.2 < image[0][classes > 0].mean()


def test_a_frame_smaller_than_a_tile_is_padded_with_what_does_not_count() -> None:
    frames = SplitFrames(toy_fovs(1).fovs, "train")
    (batch,) = epoch_batches(frames, small(tile_px=64), np.random.default_rng(0), augmented=False)
    assert (batch.classes[:, 48:] == IGNORED).all() and (batch.classes[:, :, 48:] == IGNORED).all()
    assert (batch.images[:, :, 48:] == 0).all()


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    # At such a rate the loss soon rises again.
    parameters = small(max_epochs=30, learning_rate=0.3, early_stopping_patience=2)
    result = train(toy_fovs(1), STATES, parameters, tmp_path)
    losses = [one.val_loss for one in result.history]
    assert len(losses) < 30 and result.config.best_epoch == len(losses) - 2
    assert None not in losses and min(losses) == losses[-3]  # type: ignore[type-var]


def test_a_state_without_a_train_nucleus_is_refused(tmp_path: Path) -> None:
    cells, images, labels = film()
    moved = cells.assign(split=np.where(cells["is_bright"], "test", cells["split"]))
    fovs = SegmentedFovs((fov_of(moved, images, labels),), ("RFP",))
    with pytest.raises(
        BadInputError, match="no segmented nucleus of a train track is annotated brightness bright"
    ):
        train(fovs, STATES, small(), tmp_path)


def test_without_val_annotations_it_says_so_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    fov = toy_fovs(1).fovs[0]
    kept = replace(fov, cells=fov.cells[fov.cells["split"] != "val"])
    result = train(SegmentedFovs((kept,), ("RFP",)), STATES, small(max_epochs=2), tmp_path)
    assert "does not stop early" in result.messages[0]
    assert result.config.best_epoch == 2 and [one.val_loss for one in result.history] == [None, None]


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    result = train(toy_fovs(1), STATES, small(max_steps=1), tmp_path)
    other = UNet(UNetConfig(channels=2, base_width=8, depth=2))
    save_checkpoint(other, result.config, tmp_path)
    with pytest.raises(BadInputError, match="train again"):
        load_checkpoint(tmp_path)
