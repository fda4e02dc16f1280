"""Relevance as it is published: against scipy, pandas and retrieval by hand, where debris is what is irrelevant."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.dropped_cells import KeptCells
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
    ProfileStudyParameters,
    RelevanceParameters,
    RuleParameters,
)
from cell_assets.evaluation.profiling.published_relevance import (
    RelevanceFolders,
    RelevanceStudy,
    study_relevance,
)
from cell_assets.evaluation.profiling.relevance_numbers import relevance_numbers
from cell_assets.evaluation.profiling.relevance_table import RelevanceScore
from cell_assets.evaluation.retrieval.profiles import Profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import Question, retrieve
from cell_assets_tests.evaluation.profiling.relevance_screen import (
    CELLS,
    DEBRIS,
    DEBRIS_FEATURE,
    N_FEATURES,
    cells_of,
    published,
)

ALL_FEATURES = ProfileSelectionParameters(steps=())
QUESTION = Question("Metadata_MoA", apart=("Metadata_Perturbation",), unit="Metadata_Perturbation")


def studied(
    folders: dict[str, RelevanceFolders],
    batch_of_plate: dict[str, str] | None = None,
    asked: RelevanceParameters | None = None,
) -> RelevanceStudy:
    parameters = ProfileReportParameters(
        study=ProfileStudyParameters(n_resamples=200, batch_of_plate=batch_of_plate or {}),
        selection=ALL_FEATURES,
    )
    return study_relevance(folders, parameters, asked or RelevanceParameters())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RelevanceFolders]:
    return published(tmp_path_factory.mktemp("screen"))


@pytest.fixture(scope="module")
def study(folders: dict[str, RelevanceFolders]) -> RelevanceStudy:
    return studied(folders)


def means_found(folders: dict[str, RelevanceFolders], plates: range, without_debris: bool) -> float:
    """Mean average precision of mechanisms by means of wells, each plate in spreads of its controls."""
    parts = []
    for plate in plates:
        table, debris = cells_of(plate)
        kept = table[~debris] if without_debris else table
        features = [name for name in table.columns if name.startswith("Cells_")]
        means = kept[features].astype(np.float32).astype(np.float64).groupby(kept["Metadata_Well"]).mean()
        control = means.loc[["C0", "C1", "C2", "C3"]]
        spread = 1.4826 * (control - control.median()).abs().median()
        known = pd.read_parquet(folders[f"P{plate}"].profiles / "profiles.parquet")
        scaled = (means - control.median()) / spread
        parts.append(known.drop(columns="Learned_0").join(scaled, on="Metadata_Well"))
    wells = Profiles.of_table(pd.concat(parts, ignore_index=True))
    treated = wells.select(~wells.metadata["Metadata_IsControl"].to_numpy(bool))
    value = retrieve(
        treatment_profiles(treated, ["Metadata_Perturbation"]), QUESTION
    ).mean_average_precision.value
    assert value is not None
    return value


def test_correlations_are_scipys_over_all_wells(
    study: RelevanceStudy, folders: dict[str, RelevanceFolders]
) -> None:
    assert [len(study.correlations[score]) for score in RelevanceScore] == [N_FEATURES] * 4
    for score in RelevanceScore:
        found = {one.feature: one.correlation for one in study.correlations[score]}
        for feature in (DEBRIS_FEATURE, "Cells_Shape_3", "Cells_Shape_66"):
            expected = []
            for plate, one in enumerate(folders.values()):
                relevance = pd.read_parquet(one.profiles / "relevance.parquet")
                keys = ["Metadata_Well", "Metadata_ObjectNumber"]
                joined = relevance.merge(cells_of(plate)[0], on=keys).groupby("Metadata_Well")
                expected += [spearmanr(of[score.value], of[feature]).statistic for _, of in joined]
            assert found[feature].value == pytest.approx(np.mean(expected), abs=1e-6)
            assert found[feature].n_units == len(expected) == 80
    assert study.correlations[RelevanceScore.COMBINED][-1].feature == DEBRIS_FEATURE
    assert len(study.shown()) == 10 and study.shown()[-1] == DEBRIS_FEATURE


def test_means_without_the_least_relevant_are_those_without_debris(
    study: RelevanceStudy, folders: dict[str, RelevanceFolders]
) -> None:
    found = study.dropping.found
    everything, clean = (means_found(folders, range(4), without) for without in (False, True))
    assert found[KeptCells.ALL].value == pytest.approx(everything)
    for without_debris in (KeptCells.WITHOUT_LEAST_RELEVANT, KeptCells.WITHOUT_LEAST_BY_LESSER_RANK):
        assert found[without_debris].value == pytest.approx(clean)
    assert clean > everything + 0.1
    gains = study.dropping.gains
    assert gains[KeptCells.ALL].value == pytest.approx(clean - everything)
    for rival in (KeptCells.WITHOUT_RANDOM, KeptCells.WITHOUT_MOST_RELEVANT):
        value = found[rival].value
        assert value is not None and gains[rival].value == pytest.approx(clean - value) and value < clean
    assert gains[KeptCells.ALL].n_units == 8 and study.dropping.plates == ("P0", "P1", "P2", "P3")


def test_a_rule_is_made_of_some_plates_and_judged_on_the_others(
    study: RelevanceStudy, folders: dict[str, RelevanceFolders]
) -> None:
    rule = study.rule
    assert rule is not None and study.why_no_rule is None
    assert (rule.learned_on, rule.applied_to) == (("P0", "P2"), ("P1", "P3"))
    assert rule.rule.features == (DEBRIS_FEATURE,) and rule.foretells is RelevanceScore.COMBINED
    # Debris is 6 to 7 and cells 0 to 1, in spreads of the plate's.
    values = cells_of(0)[0][DEBRIS_FEATURE]
    ((condition,),) = rule.rule.clauses
    threshold = condition.threshold * values.std(ddof=0) + values.mean()
    assert condition.side == ">" and 1 < threshold < 6
    assert rule.left_out.value == pytest.approx(DEBRIS / CELLS)
    assert rule.least_relevant.value == 1 and rule.kept_whole == 0
    found = rule.dropping
    clean = found.found[KeptCells.BY_RULE].value
    applied = {plate: folders[plate] for plate in ("P1", "P3")}
    assert found.plates == tuple(applied)
    assert clean == pytest.approx(means_found(folders, range(1, 4, 2), True))
    assert found.gains[KeptCells.ALL].value == pytest.approx(
        (clean or 0) - means_found(folders, range(1, 4, 2), False)
    )


def test_equal_folders_give_equal_studies_in_any_order(
    study: RelevanceStudy, folders: dict[str, RelevanceFolders]
) -> None:
    again = studied(dict(reversed(folders.items())))
    assert relevance_numbers(again, "m") == relevance_numbers(study, "m")


def test_numbers_state_what_the_page_shows(study: RelevanceStudy) -> None:
    numbers = {(one.report, one.name): one for one in relevance_numbers(study, "cytosummary")}
    assert len(numbers) == 4 * 10 + (5 + 1 + 4) + 2 + (3 + 1 + 2)
    one = numbers["cytosummary/relevance_of_features", f"combined_with_{DEBRIS_FEATURE}"]
    assert (one.n, one.unit, one.split) == (80, "wells", "all wells")
    gain = numbers["cytosummary/quality_rule", "gain_of_by_rule_over_without_random"]
    assert gain.unit == "compounds" and gain.value is not None and gain.value > 0
    assert numbers["cytosummary/quality_rule", "share_of_cells_left_out"].value == pytest.approx(0.2)


def test_plates_that_are_held_out_are_those_that_a_rule_is_applied_to(tmp_path: Path) -> None:
    found = studied(published(tmp_path, 3, ("P0",)))
    assert found.rule is not None
    assert (found.rule.learned_on, found.rule.applied_to) == (("P1", "P2"), ("P0",))


def test_batches_are_on_one_side(folders: dict[str, RelevanceFolders]) -> None:
    found = studied(folders, {"P0": "x", "P1": "x", "P2": "y", "P3": "x"})
    assert found.rule is not None
    assert (found.rule.learned_on, found.rule.applied_to) == (("P0", "P1", "P3"), ("P2",))


def test_batches_that_the_manifest_says_are_on_one_side(tmp_path: Path) -> None:
    folders = published(tmp_path)
    for plate, one in folders.items():
        file = one.profiles / "profiles.parquet"
        pd.read_parquet(file).assign(Metadata_Batch="y" if plate == "P2" else "x").to_parquet(file)
    found = studied(folders)
    assert found.rule is not None
    assert (found.rule.learned_on, found.rule.applied_to) == (("P0", "P1", "P3"), ("P2",))


def test_why_there_is_no_rule(folders: dict[str, RelevanceFolders]) -> None:
    alone = studied({"P0": folders["P0"]})
    assert alone.rule is None and alone.why_no_rule is not None
    assert alone.why_no_rule.startswith("there is one plate or batch")
    assert alone.dropping.found[KeptCells.ALL].value is not None
    # A tree of which every leaf holds nearly half of the cells cannot tell a fifth.
    coarse = studied(folders, asked=RelevanceParameters(rule=RuleParameters(min_leaf=0.49)))
    assert coarse.rule is None and coarse.why_no_rule is not None
    assert coarse.why_no_rule.startswith("no 2 conditions on features pick cells of which more than 50%")
    for number in relevance_numbers(coarse, "m"):
        if number.report == "m/quality_rule":
            assert number.value is None and number.why_missing == coarse.why_no_rule


def test_cells_without_relevance_and_their_reason(tmp_path: Path) -> None:
    folders = published(tmp_path, 2)
    for one in folders.values():
        file = one.profiles / "relevance.parquet"
        pd.read_parquet(file).head(0).to_parquet(file)
        (one.profiles / "profiles.json").write_text(json.dumps({"without_relevance": {"A0": "nobody asked"}}))
    found = studied(folders)
    assert found.why_without == {"P0": "nobody asked", "P1": "nobody asked"} and found.plates == ()
    assert found.shown() == () and found.rule is None
    for number in relevance_numbers(found, "m"):
        assert number.value is None and number.why_missing == "no cell has a relevance: nobody asked"


def test_mechanisms_that_nobody_knows_leave_the_rule_and_no_gain(tmp_path: Path) -> None:
    folders = published(tmp_path, 2)
    for one in folders.values():
        file = one.profiles / "profiles.parquet"
        wells = pd.read_parquet(file)
        wells["Metadata_MoA"] = pd.array([None] * len(wells), "string")
        wells.to_parquet(file)
    found = studied(folders)
    assert found.rule is not None and found.rule.left_out.value == pytest.approx(0.2)
    for dropping in (found.dropping, found.rule.dropping):
        assert {one.why_missing for one in dropping.found.values()} == {
            "no well has a compound of known mechanism"
        }


def test_relevance_of_other_cells_is_refused(tmp_path: Path) -> None:
    folders = published(tmp_path, 2)
    file = folders["P1"].profiles / "relevance.parquet"
    relevance = pd.read_parquet(file)
    for broken, said in (
        (
            relevance.assign(row=relevance["row"].to_numpy()[::-1]),
            "plate P1: its relevance is of other cells",
        ),
        (relevance.assign(row=relevance["row"] + 1), "plate P1: its relevance is of other cells"),
        (relevance.drop(columns="row"), "the relevance of plate P1's cells lacks row"),
    ):
        broken.to_parquet(file)
        with pytest.raises(BadInputError, match=said):
            studied(folders)
    (folders["P0"].profiles / "relevance.parquet").unlink()
    (folders["P0"].profiles / "profiles.json").write_text("{}")
    with pytest.raises(BadInputError, match="is no record of wells without relevance"):
        studied(folders)


def test_cells_that_lack_a_feature_are_left_out_and_counted(tmp_path: Path) -> None:
    folders = published(tmp_path, 2)
    table, _ = cells_of(0)
    table.loc[[3, 5, 8], "Cells_Shape_0"] = np.nan
    table.to_parquet(tmp_path / "again.parquet")
    from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table

    write_feature_table(open_source(tmp_path / "again.parquet"), folders["P0"].cells)
    found = studied(folders)
    assert [(one.cells, one.wells, one.lacking) for one in found.plates] == [(797, 20, 3), (800, 20, 0)]
