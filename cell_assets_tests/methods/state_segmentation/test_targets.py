"""Class images, pixel by pixel."""

import numpy as np
import pandas as pd

from cell_assets.methods.state_segmentation.targets import (
    BACKGROUND,
    IGNORED,
    STATE_A,
    STATE_B,
    footprints,
    nuclei,
    target,
)

VISIBLE = ("train", "val")
_, A, B, X = BACKGROUND, STATE_A, STATE_B, IGNORED


def cells(*rows: tuple[int, str, int]) -> pd.DataFrame:
    """`label`, `split` and `state` of the cells of one frame."""
    return pd.DataFrame(rows, columns=["label", "split", "state"])


def test_each_kind_of_nucleus_gets_what_it_must() -> None:
    labels = np.array(
        [
            [
                [0, 0, 5, 5, 0, 6],
                [7, 7, 0, 0, 0, 6],
                [8, 0, 9, 9, 0, 0],
            ]
        ]
    )
    found = target(
        footprints(labels),
        cells(
            (5, "train", STATE_A),
            (6, "train", STATE_B),
            (7, "train", IGNORED),  # not annotated
            (8, "test", STATE_B),
        ),  # label 9 is of no cell
        "train",
        VISIBLE,
    )
    assert found.classes.tolist() == [
        [0, 0, A, A, 0, B],
        [X, X, 0, 0, 0, B],
        [X, 0, X, X, 0, 0],
    ]
    assert found.hidden.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 0],
    ]


def test_nuclei_of_the_other_split_are_seen_and_do_not_count() -> None:
    labels = np.array([[[1, 2, 0]]])
    table = cells((1, "train", STATE_A), (2, "val", STATE_B))
    training = target(footprints(labels), table, "train", VISIBLE)
    validation = target(footprints(labels), table, "val", VISIBLE)
    assert training.classes.tolist() == [[A, X, 0]]
    assert validation.classes.tolist() == [[X, B, 0]]
    assert not training.hidden.any() and not validation.hidden.any()


def test_nuclei_above_each_other_count_where_they_agree() -> None:
    labels = np.array(
        [
            [[1, 1, 0, 0, 0]],
            [[0, 2, 2, 3, 4]],
            [[0, 0, 3, 3, 5]],
        ]
    )
    table = cells(
        (1, "train", STATE_A),
        (2, "train", STATE_A),
        (3, "train", STATE_B),
        (4, "train", STATE_B),
        (5, "test", STATE_B),
    )
    found = target(footprints(labels), table, "train", VISIBLE)
    assert found.classes.tolist() == [[A, A, X, B, X]]
    assert found.hidden.astype(int).tolist() == [[0, 0, 0, 0, 1]]


def test_a_label_that_two_cells_share_counts_where_they_agree() -> None:
    labels = np.array([[[1, 2, 3, 0]]])
    table = cells(
        (1, "train", STATE_A),
        (1, "train", STATE_B),
        (2, "train", STATE_B),
        (2, "train", STATE_B),
        (3, "train", STATE_B),
        (3, "test", STATE_B),
    )
    found = target(footprints(labels), table, "train", VISIBLE)
    assert found.classes.tolist() == [[X, B, X, 0]]
    assert found.hidden.astype(int).tolist() == [[0, 0, 1, 0]]


def test_a_frame_without_labels_or_without_cells() -> None:
    empty = target(footprints(np.zeros((2, 3, 3), int)), cells((1, "train", STATE_A)), "train", VISIBLE)
    assert (empty.classes == BACKGROUND).all() and not empty.hidden.any()
    nobody = target(footprints(np.array([[[0, 4]]])), cells(), "train", VISIBLE)
    assert nobody.classes.tolist() == [[0, X]] and nobody.hidden.tolist() == [[False, True]]


def test_a_cell_without_a_label_stands_with_a_disk_that_is_no_background() -> None:
    labels = np.zeros((1, 5, 7), int)
    labels[0, 2, 3:] = 4
    given = pd.DataFrame(
        {
            "label": pd.array([4, pd.NA, 9, pd.NA], dtype="Int64"),  # 9 is nowhere in this frame
            "y": [2.0, 2.0, 0.0, 2.0],
            "x": [5.0, 2.0, 6.0, 4.0],
            "split": ["train", "train", "test", "train"],
            "state": [STATE_A, STATE_B, STATE_B, IGNORED],
        }
    )
    covers, found = nuclei(labels, given, radius_px=1.0)
    assert found["label"].tolist() == [4, -1, -2, -3]
    pixels = {
        label: [divmod(int(one), 7) for one in covers.pixel[covers.label == label]] for label in (-1, -2, -3)
    }
    assert pixels[-1] == [(1, 2), (2, 1), (2, 2), (3, 2)]  # (2, 3) is under label 4
    assert pixels[-2] == [(0, 5), (0, 6), (1, 6)]
    assert pixels[-3] == [(1, 4), (2, 4), (3, 4)]  # its own centroid, though under label 4
    wanted = target(covers, found, "train", VISIBLE)
    assert wanted.classes.tolist() == [
        [0, 0, 0, 0, 0, X, X],
        [0, 0, X, 0, X, 0, X],
        [0, X, X, A, X, A, A],
        [0, 0, X, 0, X, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert np.argwhere(wanted.hidden).tolist() == [[0, 5], [0, 6], [1, 6]]


def test_footprints_are_the_pixels_below_each_label_once() -> None:
    labels = np.zeros((3, 4, 5), np.uint32)
    labels[:2, 1, 2] = 9
    labels[2, 1, 2] = 4
    labels[0, 3, 4] = 4
    found = footprints(labels)
    assert list(zip(found.label.tolist(), found.pixel.tolist(), strict=True)) == [(4, 7), (4, 19), (9, 7)]
    assert found.shape == (4, 5)
