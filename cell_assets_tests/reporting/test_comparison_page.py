"""The page of several trainings: their rows, the gains that are told from 0, and figures of what reports hold."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.studies.training_comparison import ReportedTraining, paired_gains
from cell_assets.reporting.comparison_page import ComparisonContent, comparison_figures, render_comparison
from cell_assets_tests.evaluation.studies.test_training_comparison import SPLIT, training


def with_curves(one: ReportedTraining) -> ReportedTraining:
    minutes = np.arange(1, 5) * 30.0
    displacement = pd.concat(
        [
            pd.DataFrame({"lag_min": minutes, "mean": 0.1, "low": 0.05, "high": 0.2}).assign(
                space="features", curve=curve
            )
            for curve in ("displacement", "from_first")
        ]
    )
    explained = pd.DataFrame({"direction": [1, 2], "share": [0.8, 0.2]})
    return replace(one, report=replace(one.report, displacement=displacement, explained=explained))


def page(*trainings: ReportedTraining) -> str:
    numbers = paired_gains(trainings, "dynaclr", seed=0, n_resamples=200)
    content = ComparisonContent(
        "T & U", "2 trainings", True, SPLIT, trainings, numbers, comparison_figures(trainings), (), (), {}
    )
    return render_comparison(content)


def test_every_training_has_its_row_and_what_is_told_from_nothing_a_card() -> None:
    made = page(training("A <b>", set(range(6))), training("B", set()), training("C", {0, 1, 2, 3, 4, 6}))
    assert re.findall(r"<tr><td>([^<]+)</td>", made)[:3] == ["A &lt;b&gt;", "B", "C"]
    assert "Simulated data." in made
    # B gains over A in every resample; C errs as often as A does.
    cards = re.findall(r'class="card">.*?</div>', made, re.DOTALL)
    assert len(cards) == 1 and "gain of B over A" in cards[0]


def test_curves_are_drawn_of_those_reports_that_hold_them() -> None:
    first, second = training("A", {0}), training("B", set())
    assert [one.name for one in comparison_figures([first, second])] == ["scores"]
    figures = comparison_figures([first, with_curves(second)])
    assert [one.name for one in figures] == ["scores", "displacement", "explained_variance"]
    again = comparison_figures([first, with_curves(second)])
    assert [one.png for one in again] == [one.png for one in figures]
