"""Predictions: the mean over a nucleus' pixels, by hand, and a row for every cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cell_assets.evaluation.scores.predicted_states import PREDICTED_COLUMNS, read_predicted_states
from cell_assets.methods.state_segmentation.checkpoint import load_checkpoint
from cell_assets.methods.state_segmentation.fovs import SegmentedFovs
from cell_assets.methods.state_segmentation.network import UNet, UNetConfig
from cell_assets.methods.state_segmentation.prediction import class_probability, of_labels, predict
from cell_assets.methods.state_segmentation.targets import footprints
from cell_assets.methods.state_segmentation.training import train
from cell_assets_tests.methods.state_segmentation.toy_fovs import STATES, film, fov_of, small, toy_fovs


def test_of_labels_is_b_over_a_and_b_of_the_mean_over_pixels() -> None:
    probability = np.array(
        [
            [[0.8, 0.1, 0.0]],
            [[0.1, 0.6, 0.5]],
            [[0.1, 0.3, 0.5]],
        ]
    )
    covers = footprints(np.array([[[3, 3, 0]], [[0, 7, 7]]]))
    # Label 3: A (.1 + .6) / 2, B (.1 + .3) / 2. Label 7: A (.6 + .5) / 2, B (.3 + .5) / 2.
    assert of_labels(probability, covers) == pytest.approx({3: 0.2 / 0.55, 7: 0.4 / 0.95})


def test_a_prediction_is_the_mean_over_the_nucleus(tmp_path: Path) -> None:
    fovs = toy_fovs(2)
    train(fovs, STATES, small(max_steps=2), tmp_path)
    table = predict(tmp_path, fovs, tmp_path).table
    network, _ = load_checkpoint(tmp_path)
    fov = fovs.fovs[1]
    row = table[(table["plate"] == "P2") & (table["track_id"] == 5) & (table["t"] == 2)]
    with torch.no_grad():
        soft = torch.softmax(network(torch.from_numpy(fov.image(2))[None])[0].double(), 0).numpy()
    inside = fov.read_labels(2)[0] == 50
    a, b = soft[1][inside].mean(), soft[2][inside].mean()
    assert float(row["probability"].iloc[0]) == pytest.approx(b / (a + b), rel=1e-6)


def test_there_is_a_row_for_every_cell_with_a_label_or_without(tmp_path: Path) -> None:
    cells, images, labels = film()
    cells.loc[(cells["track_id"] == 2) & (cells["t"] == 1), "label"] = pd.NA
    fovs = SegmentedFovs((fov_of(cells, images, labels),), ("RFP",))
    train(fovs, STATES, small(max_steps=1), tmp_path)
    predict(tmp_path, fovs, tmp_path)
    read = read_predicted_states(tmp_path)
    table = read.table
    assert tuple(table.columns) == PREDICTED_COLUMNS
    keys = ["plate", "fov_name", "track_id", "t", "split"]
    pd.testing.assert_frame_equal(table[keys], cells[keys])
    assert table.loc[~table["segmented"], ["track_id", "t"]].to_numpy().tolist() == [[2, 1]]
    assert table["probability"].between(0, 1).all()
    assert (read.record.column, read.record.negative, read.record.positive) == (
        "brightness",
        "dark",
        "bright",
    )


def test_a_frame_of_any_size_is_predicted_whole() -> None:
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=2, base_width=8, depth=3)).eval()
    image = np.random.default_rng(0).normal(size=(2, 37, 50)).astype(np.float32)
    found = class_probability(network, image)
    assert found.shape == (3, 37, 50)
    assert found.sum(axis=0) == pytest.approx(np.ones((37, 50)))


def test_the_network_joins_what_it_saw_at_each_resolution() -> None:
    """Five levels of double convolutions, counted by hand for widths 8, 16, 32."""
    network = UNet(UNetConfig(channels=1, base_width=8, depth=2))

    def double(entering: int, leaving: int) -> int:
        return 9 * leaving * (entering + leaving) + 2 * 3 * leaving

    expected = double(1, 8) + double(8, 16) + double(16, 32) + double(48, 16) + double(24, 8) + 3 * 9
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    # A change of one pixel reaches the far corner through the coarsest level, and its neighbours through the first.
    images = torch.zeros(2, 1, 16, 16)
    images[1, 0, 0, 0] = 10
    with torch.no_grad():
        seen = network(images)
    assert seen.shape == (2, 3, 16, 16) and not torch.equal(seen[0], seen[1])
