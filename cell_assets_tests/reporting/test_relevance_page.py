"""What cells have to say, on the page of a report: its numbers, its words, its picture and its files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
    RelevanceParameters,
)
from cell_assets.evaluation.profiling.profile_study import study_profiles
from cell_assets.evaluation.profiling.published_relevance import RelevanceStudy, study_relevance
from cell_assets.evaluation.profiling.quality_rule import read_quality_rule
from cell_assets.evaluation.profiling.relevance_numbers import relevance_numbers
from cell_assets.reporting.cell_ends import CellEnds
from cell_assets.reporting.profile_report import ProfileSources, write_profile_report
from cell_assets.reporting.relevance_page import RelevancePage, RelevantCellPictures
from cell_assets.reporting.wording import value_text
from cell_assets_tests.evaluation.profiling.relevance_screen import DEBRIS_FEATURE, N_FEATURES, published
from cell_assets_tests.evaluation.profiling.screens import QUICK, profiles, screen

NO_IMAGES = RelevantCellPictures(why_none="Plates P0 and P1 came as tables.")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> RelevanceStudy:
    parameters = ProfileReportParameters(
        study=QUICK.model_copy(update={"simulated": True}), selection=ProfileSelectionParameters(steps=())
    )
    return study_relevance(
        published(tmp_path_factory.mktemp("screen"), 2), parameters, RelevanceParameters(features_shown=2)
    )


def written(out: Path, page: RelevancePage) -> str:
    found = study_profiles({"mean": profiles(screen(), 0), "cytosummary": profiles(screen(), 1)}, QUICK)
    out.mkdir()
    write_profile_report(out, "A screen", "cytosummary", found, [], ProfileSources((), {}), relevance=page)
    return (out / "report.html").read_text(encoding="utf-8")


def test_page_numbers_and_files(study: RelevanceStudy, tmp_path: Path) -> None:
    text = written(tmp_path / "one", RelevancePage(study, NO_IMAGES))
    rule = study.rule
    assert rule is not None
    for said in (
        "1600 cells of 40 wells on 2 plates have a relevance and are looked at.",
        f"All {N_FEATURES} stand in",
        f"<td><code>{DEBRIS_FEATURE}</code></td>",
        "not shown in images. Plates P0 and P1 came as tables.",
        "without 20 % of every well’s",
        f"Leave out cells with {DEBRIS_FEATURE} &gt; ",
        "Made of the combined relevance on plate P0, and applied to plate P1, of whose cells it leaves out a share of "
        "0.200",
        "a share of 1 (95 % interval 1 to 1) is among the least relevant of its well; 20 % would be by chance.",
    ):
        assert said in text, said
    for number in relevance_numbers(study, "cytosummary"):
        assert f"<code>{number.name}</code>" in text and value_text(number.value) in text
        assert number.split.endswith("(simulated)")
    for gain in (study.dropping.gains, rule.dropping.gains):
        for estimate in gain.values():
            assert estimate.value is not None and f"{estimate.value:+.3f}" in text
    assert read_quality_rule(tmp_path / "one" / "quality_rule.json") == rule.rule
    table = pd.read_parquet(tmp_path / "one" / "relevance_correlations.parquet")
    assert table.groupby("score").size().to_dict() == dict.fromkeys(
        ("activation", "combined", "lesser_rank", "sensitivity"), N_FEATURES
    )
    lowest = table[table["score"] == "combined"].iloc[-1]
    assert lowest["feature"] == DEBRIS_FEATURE and lowest["wells"] == 40
    assert lowest["low"] <= lowest["rank_correlation"] <= lowest["high"] < -0.4
    assert not (tmp_path / "one" / "figures" / "relevant_cells.png").exists()
    assert written(tmp_path / "two", RelevancePage(study, NO_IMAGES)) == text


def test_cells_are_drawn_where_they_were_filmed(study: RelevanceStudy, tmp_path: Path) -> None:
    dark, bright = np.zeros((3, 1, 8, 8)), np.ones((3, 1, 8, 8))
    ends = CellEnds("A/1", dark, bright, ("DNA",), "least", "most")
    pictures = RelevantCellPictures((ends,), ("taxol in well A/1 of plate P0",))
    text = written(tmp_path / "one", RelevancePage(study, pictures))
    assert "From above: taxol in well A/1 of plate P0." in text and "not shown in images" not in text
    assert (tmp_path / "one" / "figures" / "relevant_cells.png").exists()


def test_where_there_is_no_rule_the_page_says_why(study: RelevanceStudy, tmp_path: Path) -> None:
    without = replace(study, rule=None, why_no_rule="nobody could tell")
    text = written(tmp_path / "one", RelevancePage(without, NO_IMAGES))
    assert "There is none: nobody could tell." in text and "needs no network" not in text
    assert "not computed: nobody could tell" in text
    assert not (tmp_path / "one" / "quality_rule.json").exists()
