"""Trainings side by side: what tells them apart, and gains counted by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.published_report import PublishedReport
from cell_assets.evaluation.studies.training_comparison import (
    ReportedTraining,
    paired_gains,
    shared_tasks,
    training_labels,
)
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import NumberDraft

SPLIT = SplitStatement(SplitUnit.FOV, ("train", "val"), "test", 4, 12, 24, 0)


def training(label: str, wrong: set[int], n_fovs: int = 12, unlabelled: int = 0) -> ReportedTraining:
    """Two cells in each FOV, infected and clean; the probe errs on the infected one of the FOVs in `wrong`."""
    rows = [
        {
            "plate": "P1",
            "fov_name": f"A/1/{fov:03d}",
            "track_id": track,
            "t": 0,
            "label": pd.NA if fov < unlabelled else track == 1,
            "probability": 0.9 if track == 1 and fov not in wrong else 0.1,
        }
        for fov in range(n_fovs)
        for track in (0, 1)
    ]
    predictions = pd.DataFrame(rows).astype({"label": "boolean"})
    stated = NumberDraft("dynaclr/infection_state", "balanced_accuracy", "test FOVs", 0.5, n_fovs, "FOVs")
    curves = pd.DataFrame()
    return ReportedTraining(
        label, PublishedReport(False, SPLIT, (stated,), {"infection_state": predictions}, curves, curves)
    )


def test_labels_say_what_differs_and_nothing_else() -> None:
    same = {"preset": "quick", "tau_min": "30.0", "initial": "scratch"}
    labels = training_labels(
        [
            {**same, "strategy": "classical", "channels": '["Phase", "RFP"]', "seed": "0"},
            {**same, "preset": "paper", "strategy": "cell-aware", "channels": '["Phase"]', "seed": "1"},
            {**same, "strategy": "cell-aware", "channels": "[]", "seed": "1"},
        ]
    )
    assert labels == (
        "classical, Phase + RFP, seed 0",
        "cell-aware, Phase, seed 1",
        "cell-aware, channels all, seed 1",
    )
    assert training_labels(
        [{"widths": "[48, 96]", "flip": "true"}, {"widths": "[8, 16]", "flip": "false"}]
    ) == (
        "widths 48 + 96, flip true",
        "widths 8 + 16, flip false",
    )
    assert training_labels([same, same, {**same, "learning_rate": "0.0005"}]) == (
        "as trained",
        "as trained (2)",
        "learning_rate 0.0005",
    )


def test_gains_are_over_the_first_on_the_same_cells() -> None:
    first, second, third = (
        training("A, 1", {0, 1, 2}),
        training("B", set()),
        training("C + D", {5}, unlabelled=2),
    )
    assert shared_tasks([first, second, third]) == ("infection_state",)
    gains = paired_gains([first, second, third], "dynaclr", seed=0, n_resamples=200)
    assert [one.name for one in gains] == [
        "infection_state_balanced_accuracy_gain_of_B_over_A_1",
        "infection_state_balanced_accuracy_gain_of_C_D_over_A_1",
    ]
    # A finds 9 of 12 infected cells and spares all clean ones, B finds 12.
    assert gains[0].value == pytest.approx((1 - 9 / 12) / 2)
    assert gains[0].ci_low is not None and gains[0].ci_low <= gains[0].value <= gains[0].ci_high
    assert (gains[0].report, gains[0].split, gains[0].unit, gains[0].n) == (
        "dynaclr/comparison",
        "test FOVs",
        "FOVs",
        12,
    )
    # Of the ten FOVs that both label, A misses one and C another.
    assert gains[1].value == pytest.approx(0) and gains[1].n == 10


def test_labels_that_differ_are_not_compared() -> None:
    first, second = training("A", set()), training("B", {3})
    turned = second.report.predictions["infection_state"].assign(
        label=lambda cells: ~cells["label"], probability=np.nan
    )
    other = replace(second, report=replace(second.report, predictions={"infection_state": turned}))
    (gain,) = paired_gains([first, other], "dynaclr", seed=0, n_resamples=50)
    assert gain.why_missing == "no test cell has the same label in both reports"


def test_a_task_that_one_report_lacks_is_not_shared() -> None:
    first, second = training("A", set()), training("B", set())
    without = replace(second, report=replace(second.report, predictions={}))
    assert shared_tasks([first, without]) == ()
    assert paired_gains([first, without], "dynaclr", seed=0, n_resamples=50) == ()
