"""A screen that comes as tables of single cells, from its files to profiles of wells, in one lab."""

import csv
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from copairs.map import average_precision
from scipy.stats import spearmanr

from cell_assets.assets.inputs import standing_plates
from cell_assets.assets.profile_costs import costs_of
from cell_assets.assets.table_request import TableRequest, TableRows
from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.ingesting_tables import ingest_tables
from cell_assets.automation.running import RunRequest, plan_experiment
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.evaluation.profiling.mean_profiles import read_plate_profiles, read_profiles_record
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COUNT,
    DIGEST,
    IS_CONTROL,
    MOA,
    read_well_manifest,
)
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.profiles import Profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import Question, retrieve
from cell_assets.imaging.feature_tables.feature_table import read_feature_table_record
from cell_assets.imaging.features.plate_features import read_features
from cell_assets.reporting.wording import seconds_text, value_text
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets.store.room import said_bytes
from cell_assets.store.store import Store
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    opened,
    run,
)
from cell_assets_tests.end_to_end.screen import (
    CELLS,
    COLUMNS,
    N_COMPOUNDS,
    N_WELLS,
    TRAINING,
    table_of_plate,
    table_requests,
    write_screen,
)
from cell_assets_tests.evaluation.profiling.pycytominer_opening import opened_by_pycytominer
from cell_assets_tests.imaging.feature_tables.cytominer_database import (
    MISSING,
    WHOLE,
    WITHOUT_NUCLEUS,
    write_cytominer_database,
)
from cell_assets_tests.shared_data import shared_data

CHOICES: dict[str, object] = {
    "training": {"cytosummary": {"preset": "quick", "changes": TRAINING}},
    "well_split": {"held_out_plates": ["P2"], "val_fraction": 0.2, "test_fraction": 0.2},
    "profile_report": {"study": {"n_resamples": 100}},
}
ASKED = RunRequest(experiment="S1", method="cytosummary", choices=CHOICES)


@pytest.fixture(scope="module")
def screen(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three plates, brought in and run."""
    settings = new_lab()
    files = write_screen(tmp_path_factory.mktemp("screen"))
    with opened(settings) as session:
        results = ingest_tables(session, table_requests(files))
        assert tuple(result.wells for result in results) == N_WELLS
        outcome = run(session, ASKED)
        assert outcome.failed == (), outcome.failed
    return settings


def test_cells_are_published_as_they_came(screen: Settings) -> None:
    with opened(screen) as session:
        folder, _ = session.store.read("single_cell_features", "P1")
        found, source = pd.read_parquet(folder / "cells.parquet"), table_of_plate(1)
        assert set(found["Metadata_Plate"]) == {"P1"}
        assert set(found["Metadata_SourcePlate"]) == {"screen 1"}
        assert found["Metadata_Well"].iloc[0] == "A/1" and found["Metadata_SourceWell"].iloc[0] == "A01"
        for name in [name for name in source.columns if name.startswith("Cells_")]:
            np.testing.assert_array_equal(found[name], source[name].astype(np.float32))
        plate = session.ledger.plate("P1")
        assert plate is not None and plate.draft.positions == ()
        assert [well.perturbation for well in plate.draft.wells if well.is_control] == ["DMSO"] * 3


def test_the_manifest_holds_every_well_once_with_its_cells(screen: Settings) -> None:
    with opened(screen) as session:
        folder, _ = session.store.read("well_manifest", "S1")
        record, wells = read_well_manifest(folder)
        assert len(wells) == sum(N_WELLS)
        assert set(wells[COUNT]) == {CELLS}
        assert wells[DIGEST].nunique() == len(wells)
        assert wells.loc[wells[IS_CONTROL].astype(bool), MOA].unique().tolist() == ["none"]
        digests = {one.partition: one.digest for one in session.ledger.artifacts("single_cell_features")}
        assert record.plates == digests


def test_profiles_stand_for_every_well_of_every_plate(screen: Settings) -> None:
    with opened(screen) as session:
        for plate, n_wells in zip(("P0", "P1", "P2"), N_WELLS, strict=True):
            folder, _ = session.store.read("cytosummary_profiles", f"S1|{plate}")
            profiles = pd.read_parquet(folder / "profiles.parquet")
            assert len(profiles) == n_wells
            assert profiles[COMPOUND].nunique() == N_COMPOUNDS + 1
            features = profiles[[name for name in profiles.columns if not name.startswith("Metadata_")]]
            assert features.shape[1] == TRAINING["profile_width"]
            assert np.isfinite(features.to_numpy()).all()
        model = session.ledger.latest("cytosummary_checkpoint", "S1")
        assert model is not None
        (version,) = session.ledger.model_versions([model.artifact.id])
        assert version.registered_name == "S1.cytosummary"


def test_pycytominer_and_copairs_read_them_as_their_own(screen: Settings) -> None:
    with opened(screen) as session:
        folder, _ = session.store.read("cytosummary_profiles", "S1|P0")
        known, features = opened_by_pycytominer(folder / "profiles.parquet", TRAINING["profile_width"])
        without, _ = session.store.read("mean_profiles", "P0")
        for representation, n_features in read_profiles_record(without).features.items():
            opened_by_pycytominer(without / f"{representation}.parquet", n_features)
    assert len(known) == N_WELLS[0]
    found = average_precision(known, features.to_numpy(), [MOA], [COMPOUND], [], [MOA], progress_bar=False)
    treated = found[~known[IS_CONTROL].to_numpy(bool)]
    assert (treated["n_pos_pairs"] == 1).all() and treated["average_precision"].between(0, 1).all()


def test_real_tables_come_in_as_sql_and_arrow_count_them(screen: Settings) -> None:
    database = shared_data("cellprofiler_sqlite") / "all_cellprofiler.sqlite"
    parquet = shared_data("nf1_cell_painting") / "Plate_2_with_image_data_shrunken.parquet"
    for plate, source in (("real1", database), ("real2", parquet)):
        said = cell_assets(screen, "ingest-table", str(source), "--experiment", "real", "--plate", plate)
        assert said.code == 0, said.err
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
        (cells,) = sql.execute(
            "SELECT count(*) FROM Per_Cytoplasm WHERE Cytoplasm_Parent_Cells > 0"
        ).fetchone()
        (nuclei,) = sql.execute("SELECT count(*) FROM Per_Nuclei").fetchone()
    with opened(screen) as session:
        one, other = (
            read_feature_table_record(session.store.read("single_cell_features", plate)[0])
            for plate in ("real1", "real2")
        )
    assert (one.cells, one.left_over) == (cells, {"Nuclei": nuclei - cells}) == (242, {"Nuclei": 191})
    assert other.cells == pq.ParquetFile(parquet).metadata.num_rows == 5


def test_a_database_as_pycytominer_reads_it_comes_in_by_command(
    new_lab: Callable[[], Settings], tmp_path: Path
) -> None:
    settings = new_lab()
    source = write_cytominer_database(tmp_path / "SQ0001.sqlite", ("d8", "0a", "41", "b2"))
    asked = ("ingest-table", str(source), "--experiment", "lincs", "--plate", "SQ0001")
    said = cell_assets(settings, *asked)
    assert said.code == 0, said.err
    with closing(sqlite3.connect(source)) as sql:
        of_wells = sql.execute(
            "SELECT 'SQ0001|' || substr(Metadata_Well, 1, 1) || '/' || CAST(substr(Metadata_Well, 2) AS INTEGER), "
            "count(*) FROM Image i JOIN Cytoplasm y USING (TableNumber, ImageNumber) "
            "JOIN Nuclei n ON n.TableNumber = y.TableNumber AND n.ImageNumber = y.ImageNumber "
            "AND n.ObjectNumber = Cytoplasm_Parent_Nuclei GROUP BY 1"
        ).fetchall()
        sql.execute("DROP TABLE Nuclei")
    with opened(settings) as session:
        record = read_feature_table_record(session.store.read("single_cell_features", "SQ0001")[0])
    assert (record.cells, record.missing) == (WHOLE, MISSING)
    assert record.wells == dict(of_wells) and len(of_wells) == 2
    assert record.left_over["Cells"] == WITHOUT_NUCLEUS
    refused = cell_assets(settings, *asked[:-1], "SQ0002")
    assert (
        refused.code != 0
        and f"{source}: has no table Nuclei; write it with cytominer-database" in refused.err
    )


def test_profiles_without_learning_stand_beside_them(screen: Settings) -> None:
    with opened(screen) as session:
        folder, _ = session.store.read("mean_profiles", "P1")
        for representation in Representation:
            profiles = read_plate_profiles(folder, representation)
            assert len(profiles) == N_WELLS[1]
        mean = read_plate_profiles(folder, Representation.MEAN)
        source = table_of_plate(1).groupby("Metadata_Well")["Cells_Shape_0"].mean()
        control = source[["A01", "A02", "A03"]]
        spread = 1.4826 * (control - control.median()).abs().median()
        expected = (source - control.median()) / spread
        np.testing.assert_allclose(mean.features[:, mean.names.index("Cells_Shape_0")], expected, rtol=1e-3)


def test_every_number_of_both_reports_can_be_computed_anew(screen: Settings) -> None:
    with opened(screen) as session:
        for asset, of_report in (
            ("mean_profiles_report", "mean_profiles/mean/mechanism"),
            ("cytosummary_report", "cytosummary/cytosummary/mechanism"),
        ):
            stated = session.ledger.latest(asset, "S1")
            assert stated is not None
            numbers = session.ledger.numbers_of_runs([stated.run.id])
            (number,) = (
                one
                for one in numbers
                if one.draft.report == of_report
                and one.draft.name == "mean_average_precision"
                and one.draft.split == "all compounds"
            )
            assert number.draft.value is not None and 0 < number.draft.value <= 1
            assert recompute(session.store, number.id).agrees
            page = (session.store.path_of(stated.artifact) / "report.html").read_text(encoding="utf-8")
            assert value_text(number.draft.value) in page
        splits = {one.draft.split for one in numbers}
        assert any("held out" in split for split in splits), splits


def test_the_report_says_what_time_and_size_its_profiles_took(screen: Settings) -> None:
    with opened(screen) as session:
        stated = session.ledger.latest("cytosummary_report", "S1")
        assert stated is not None
        page = (session.store.path_of(stated.artifact) / "report.html").read_text(encoding="utf-8")
        receipts = [session.store.receipt(one) for one in stated.inputs]
        costs = {one.what: one for one in costs_of(session.ledger, receipts, "cytosummary")}
        partitions = [f"P{n}" for n in range(3)]
        for what, asset, keys in (
            ("single cells", "single_cell_features", partitions),
            ("profiles without learning", "mean_profiles", partitions),
            ("training", "cytosummary_checkpoint", ["S1"]),
            ("profiles by cytosummary", "cytosummary_profiles", [f"S1|{one}" for one in partitions]),
        ):
            made = list(session.ledger.latest_many(asset, keys).values())
            folders = [session.store.path_of(one.artifact) for one in made]
            files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
            assert costs[what].n_outputs == len(keys) == len(made)
            assert costs[what].n_bytes == sum(file.stat().st_size for file in files)
            took = sum((one.run.ended - one.run.started).total_seconds() for one in made)
            assert costs[what].seconds == pytest.approx(took)
            for said in (what, seconds_text(took), said_bytes(round(costs[what].n_bytes / len(keys)))):
                assert f">{said}</td>" in page, said
        assert list(costs) == [
            "single cells",
            "profiles without learning",
            "training",
            "profiles by cytosummary",
        ]


def test_the_report_says_what_the_cells_have_to_say(screen: Settings) -> None:
    with opened(screen) as session:
        stated = session.ledger.latest("cytosummary_report", "S1")
        assert stated is not None
        folder = session.store.path_of(stated.artifact)
        numbers = {
            (one.draft.report, one.draft.name): one for one in session.ledger.numbers_of_runs([stated.run.id])
        }
        correlations = pd.read_parquet(folder / "relevance_correlations.parquet")
        assert correlations.groupby("score").size().to_dict() == dict.fromkeys(
            ("activation", "combined", "lesser_rank", "sensitivity"), 12
        )
        combined = correlations[correlations["score"] == "combined"].set_index("feature")
        assert (combined["wells"] == N_WELLS[1] + N_WELLS[2]).all()
        expected = correlation_of(session.store, "Cells_Shape_3")
        assert combined.loc["Cells_Shape_3", "rank_correlation"] == pytest.approx(expected)
        first = combined.index[0]
        for report, name in (
            ("relevance_of_features", f"combined_with_{first}"),
            ("relevance_dropped", "gain_of_without_least_relevant_over_without_random"),
            ("quality_rule", "gain_of_by_rule_over_without_random"),
        ):
            assert recompute(session.store, numbers[f"cytosummary/{report}", name].id).agrees, name
        assert (
            numbers["cytosummary/relevance_of_features", f"combined_with_{first}"].draft.value
            == (combined["rank_correlation"].iloc[0])
        )
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "No cell of plate P0 has one: no compound has two wells on the plate" in page
        assert "Plates P0, P1, P2 came as tables of features, so there are no images of the cells." in page
        assert "applied to plate P2" in page or "There is none" in page


def correlation_of(store: Store, feature: str) -> float:
    """Mean over all wells of scipy's rank correlation with the combined relevance, by who the cells are."""
    found = []
    for plate, n_wells in (("P1", N_WELLS[1]), ("P2", N_WELLS[2])):
        relevance = pd.read_parquet(
            store.read("cytosummary_profiles", f"S1|{plate}")[0] / "relevance.parquet"
        )
        cells = pd.read_parquet(store.read("single_cell_features", plate)[0] / "cells.parquet")
        keys = ["Metadata_Well", "Metadata_ImageNumber", "Metadata_ObjectNumber"]
        joined = relevance.merge(cells, on=keys)
        assert len(joined) == len(relevance) == n_wells * CELLS
        found += [
            spearmanr(one["combined"], one[feature]).statistic for _, one in joined.groupby("Metadata_Well")
        ]
    return float(np.mean(found))


def test_profiles_that_came_ready_are_reported_as_they_are(screen: Settings, tmp_path: Path) -> None:
    wells = [table_of_plate(plate).groupby("Metadata_Well", as_index=False) for plate in (0, 1)]
    known = ["Metadata_Plate", "Metadata_Compound", "Metadata_Concentration", "Metadata_moa"]
    features = [name for name in table_of_plate(0).columns if name.startswith("Cells_")]
    profiles = pd.concat([one[known].first().assign(**one[features].mean()[features]) for one in wells])
    profiles.to_csv(tmp_path / "profiles.csv", index=False)
    said = cell_assets(
        screen,
        *("ingest-table", str(tmp_path / "profiles.csv"), "--rows", "wells", "--experiment", "S4"),
        *("--treatment-column", "Metadata_Compound", "--moa-column", "Metadata_moa", "--control", "DMSO"),
    )
    assert said.code == 0, said.err
    assert f"plate screen 1: {N_WELLS[1]} wells" in said.out
    with opened(screen) as session:
        folder, _ = session.store.read("mean_profiles", "screen 1")
        found = read_plate_profiles(folder, Representation.MEAN)
        own = profiles[profiles["Metadata_Plate"] == "screen 1"]
        np.testing.assert_array_equal(found.features, own[features].to_numpy())
        asked = RunRequest(experiment="S4", method="cytosummary")
        assert run(session, asked).failed == ()
        assert session.ledger.latest("cytosummary_checkpoint", "S4") is None
        stated = session.ledger.latest("mean_profiles_report", "S4")
        assert stated is not None
        (precision,) = (
            one.draft.value
            for one in session.ledger.numbers_of_runs([stated.run.id])
            if (one.draft.report, one.draft.name, one.draft.split)
            == ("mean_profiles/mean/mechanism", "mean_average_precision", "all compounds")
        )
        expected = retrieve(
            treatment_profiles(Profiles.of_table(treated_of(profiles)), ["Metadata_Compound"]),
            Question("Metadata_moa", apart=("Metadata_Compound",)),
        ).mean_average_precision.value
        assert precision == pytest.approx(expected)
        assert run(session, asked).dagster_runs == ()


def test_a_supervised_control_stands_beside_profiles_that_came_ready(
    screen: Settings, tmp_path: Path
) -> None:
    """Ten compounds on two plates, five mechanisms; heads of two folds."""
    known = ["Metadata_Plate", "Metadata_Compound", "Metadata_Concentration", "Metadata_moa"]
    features = [name for name in table_of_plate(0).columns if name.startswith("Cells_")]
    wells = [table_of_plate(plate).groupby("Metadata_Well", as_index=False) for plate in (0, 1)]
    profiles = pd.concat([one[known].first().assign(**one[features].mean()[features]) for one in wells])
    profiles["Metadata_Plate"] = profiles["Metadata_Plate"].replace({"screen 0": "V0", "screen 1": "V1"})
    profiles.to_csv(tmp_path / "profiles.csv", index=False)
    requests = [
        TableRequest(
            source=str(tmp_path / "profiles.csv"),
            experiment="S8",
            plate=plate,
            source_plate=plate,
            rows=TableRows.WELLS,
            columns=COLUMNS,
        )
        for plate in ("V0", "V1")
    ]
    control = {"folds": 2, "max_epochs": 2}
    choices = {**CHOICES, "well_split": {"held_out_plates": []}, "supervised_profiles": control}
    asked = RunRequest(experiment="S8", method="cytosummary", choices=choices)
    with opened(screen) as session:
        ingest_tables(session, requests)
        assert run(session, asked).failed == ()
        stated = session.ledger.latest("mean_profiles_report", "S8")
        made = session.ledger.latest("supervised_profiles", "S8")
        assert stated is not None and made is not None
        assert made.artifact.digest in {one.digest for one in stated.inputs}
        numbers = {
            (one.draft.report.removeprefix("mean_profiles/"), one.draft.name): one
            for one in session.ledger.numbers_of_runs([stated.run.id])
            if one.draft.split == "all compounds"
        }
        own, mean = (
            numbers[f"{name}/mechanism", "mean_average_precision"].draft.value
            for name in ("mean_supervised", "mean")
        )
        gain = numbers["mean_supervised/mechanism", "gain_over_mean"]
        assert own is not None and mean is not None and gain.draft.ci_low is not None
        assert gain.draft.value == pytest.approx(own - mean)
        assert recompute(session.store, gain.id).agrees
        folder = session.store.path_of(made.artifact)
        page = (session.store.path_of(stated.artifact) / "report.html").read_text(encoding="utf-8")
        assert "Supervised (mean supervised): 2 heads" in page and "<td>mean supervised</td>" in page
        # What the report states is what the published profiles say.
        table, moa = {}, []
        for fold, file in enumerate(sorted(folder.glob("mean_fold*.parquet"))):
            one = pd.read_parquet(file)
            treated = one[~one[IS_CONTROL].to_numpy(bool)]
            medians = treated.groupby(COMPOUND)[[c for c in one if not c.startswith("Metadata_")]].median()
            asking = treated.loc[treated["Metadata_HeldOut"], COMPOUND].unique()
            moa = treated.groupby(COMPOUND)[MOA].first().loc[medians.index]
            unit = medians.to_numpy() / np.linalg.norm(medians, axis=1, keepdims=True)
            for place in np.flatnonzero(medians.index.isin(asking)):
                others = np.delete(np.arange(len(unit)), place)
                order = others[np.argsort(-(unit[others] @ unit[place]), kind="stable")]
                (rank,) = np.flatnonzero(moa.iloc[order] == moa.iloc[place])
                table[medians.index[place]] = (fold, 1 / (rank + 1))
        assert len(table) == N_COMPOUNDS and {fold for fold, _ in table.values()} == {0, 1}
        assert own == pytest.approx(np.mean([precision for _, precision in table.values()]))
        assert run(session, asked).dagster_runs == ()
        # Another choice of features is another control, and no report rests on the old one.
        other = {**choices, "profile_report": {"selection": {"steps": []}}}
        assert run(session, RunRequest(experiment="S8", method="cytosummary", choices=other)).failed == ()
        again = session.ledger.latest("supervised_profiles", "S8")
        assert again is not None and again.run.id != made.run.id


def treated_of(profiles: pd.DataFrame) -> pd.DataFrame:
    return profiles[profiles["Metadata_Compound"] != "DMSO"].drop(columns=["Metadata_Well", "Metadata_Plate"])


def test_a_second_run_makes_nothing(screen: Settings) -> None:
    with opened(screen) as session:
        assert run(session, ASKED).dagster_runs == ()
        assert_dagster_agrees(session)
        assert_published_is_whole(session)
        assert_nothing_left(session)


def test_the_plan_says_that_plates_have_no_images(screen: Settings) -> None:
    with opened(screen) as session:
        text = plan_experiment(session, ASKED).text()
    assert "plate P0: came as a table, without images" in text


def test_another_split_makes_another_manifest_and_another_model(screen: Settings) -> None:
    with opened(screen) as session:
        before = session.ledger.latest("cytosummary_checkpoint", "S1")
        changed = {**CHOICES, "well_split": {"seed": 5}}
        assert run(session, RunRequest(experiment="S1", method="cytosummary", choices=changed)).failed == ()
        after = session.ledger.latest("cytosummary_checkpoint", "S1")
        assert before is not None and after is not None
        assert before.artifact.digest != after.artifact.digest
        again = {**CHOICES, "well_split": {"seed": 0}}
        assert run(session, RunRequest(experiment="S1", method="cytosummary", choices=again)).failed == ()
        back = session.ledger.latest("cytosummary_checkpoint", "S1")
        assert back is not None and back.artifact.digest == before.artifact.digest


def test_the_audit_says_what_is_held_out(screen: Settings) -> None:
    said = cell_assets(screen, "leakage", "S1")
    assert said.code == 0
    assert "compound 0 of 2 on both sides" in said.out
    assert "no leakage" in said.out


def test_a_method_for_images_has_nothing_to_look_at(screen: Settings) -> None:
    said = cell_assets(screen, "run", "--experiment", "S1")
    assert said.code == 1
    assert "came as tables of features, so there are no images to look at" in said.err


def test_what_cannot_be_brought_in_costs_nothing(screen: Settings, tmp_path: Path) -> None:
    (file,) = write_screen(tmp_path, 1)
    (asked,) = table_requests([file])
    with opened(screen) as session:
        before = len(session.ledger.artifacts())
        for request, said in (
            (asked.model_copy(update={"plate": "P0", "experiment": "S2"}), "belongs to experiment S1"),
            (
                asked.model_copy(update={"plate": "P0", "source_plate": "screen 0"}),
                "with other source, source_plate",
            ),
            (
                asked.model_copy(update={"plate": "P9", "source": str(tmp_path / "none.parquet")}),
                "no such file",
            ),
            (asked.model_copy(update={"plate": "P9", "source_plate": "x"}), "holds no plate x"),
        ):
            with pytest.raises((BadInputError, CellAssetsError), match=said):
                ingest_tables(session, [request])
        assert session.ledger.plate("P9") is None
        assert len(session.ledger.artifacts()) == before
        assert_nothing_left(session)


def test_a_copy_of_a_plate_under_another_name_is_refused(screen: Settings, tmp_path: Path) -> None:
    file, *_ = write_screen(tmp_path, 1)
    requests = [
        request.model_copy(update={"plate": name})
        for request in table_requests([file], "S3")
        for name in ("Q0", "Q1")
    ]
    with opened(screen) as session:
        ingest_tables(session, requests)
        choices = {**CHOICES, "well_split": {"held_out_plates": ["Q1"]}}
        outcome = run(session, RunRequest(experiment="S3", method="cytosummary", choices=choices))
        assert "13 wells hold the same cells as another (Q1|A/1 and Q0|A/1" in outcome.failed[0]
        assert session.ledger.latest("well_manifest", "S3") is None


def test_a_withdrawn_plate_is_profiled_no_more(screen: Settings, tmp_path: Path) -> None:
    files = write_screen(tmp_path, 2)
    requests = [
        request.model_copy(update={"plate": name})
        for request, name in zip(table_requests(files, "S5"), ("W0", "W1"), strict=True)
    ]
    with opened(screen) as session:
        ingest_tables(session, requests)
    said = cell_assets(screen, "impact", "W1", "--tombstone", "--why", "the wrong cells")
    assert said.code == 0, said.err
    with opened(screen) as session:
        assert [plate.draft.name for plate in standing_plates(session.store, "S5")] == ["W0"]
        asked = RunRequest(experiment="S5", method="cytosummary")
        assert "W1" not in plan_experiment(session, asked).text()


def test_a_plate_that_came_as_profiles_has_no_cells_to_measure(screen: Settings, tmp_path: Path) -> None:
    table_of_plate(0).groupby("Metadata_Well", as_index=False).first().to_csv(tmp_path / "w.csv", index=False)
    request = TableRequest(
        source=str(tmp_path / "w.csv"), experiment="S6", plate="R0", rows=TableRows.WELLS, columns=COLUMNS
    )
    with opened(screen) as session:
        ingest_tables(session, [request])
        with session.executor() as executor:
            outcome = executor.materialise(["single_cell_features"], partition="R0")
        assert (
            outcome.error is not None and "came as a table of wells, so there are no images" in outcome.error
        )


def test_cells_of_a_filmed_plate_are_learned_from_like_any_other(screen: Settings, tmp_path: Path) -> None:
    """Wells of one simulated culture; what each was treated with is made up."""
    simulate(
        tmp_path / "plate",
        SimulationParameters(
            seed=5,
            wells_per_condition=4,
            fovs_per_well=1,
            time_points=2,
            shape_zyx=(1, 64, 64),
            voxel_um_zyx=(3.0, 1.0, 1.0),
            cells_per_fov=8,
        ),
    )
    plate = PlateFolder(tmp_path / "plate")
    wells = sorted({row["well"] for row in csv.DictReader((tmp_path / "plate/plate_map.csv").open())})
    treatments = ["DMSO,true"] * 4 + ["a,false", "b,false", "a,false", "b,false"]
    plate_map = tmp_path / "map.csv"
    plate_map.write_text(
        "well,compound,is_control\n"
        + "".join(f"{well},{said}\n" for well, said in zip(wells, treatments, strict=True))
    )
    request = plate.request("S7", "F0").model_copy(update={"plate_map": str(plate_map), "states": None})
    choices = {
        **CHOICES,
        "well_split": {"val_fraction": 0.0, "test_fraction": 0.0},
        "fovs": {"patches": {"side_px": 32}},
    }
    with opened(screen) as session:
        ingest_plate(session, request)
        outcome = run(session, RunRequest(experiment="S7", method="cytosummary", choices=choices))
        assert outcome.failed == (), outcome.failed
        cells = read_features(session.store.read("single_cell_features", "F0")[0])
        folder, _ = session.store.read("cytosummary_profiles", "S7|F0")
        profiles = pd.read_parquet(folder / "profiles.parquet")
        assert profiles[COMPOUND].value_counts().to_dict() == {"DMSO": 4, "a": 2, "b": 2}
        measured = cells["Metadata_ObjectNumber"].notna().groupby(cells["Metadata_Well"]).sum()
        _, manifest = read_well_manifest(session.store.read("well_manifest", "S7")[0])
        assert dict(zip(manifest["Metadata_Well"], manifest[COUNT], strict=True)) == measured.to_dict()
        stated = session.ledger.latest("cytosummary_report", "S7")
        assert stated is not None
        report = session.store.path_of(stated.artifact)
        assert (report / "figures" / "relevant_cells.png").exists()
        assert "not shown in images" not in (report / "report.html").read_text(encoding="utf-8")
        numbers = {
            (one.draft.report, one.draft.name): one for one in session.ledger.numbers_of_runs([stated.run.id])
        }
        feature = pd.read_parquet(report / "relevance_correlations.parquet")["feature"].iloc[0]
        number = numbers["cytosummary/relevance_of_features", f"combined_with_{feature}"]
        assert recompute(session.store, number.id).agrees
        gain = numbers["cytosummary/relevance_dropped", "gain_of_without_least_relevant_over_all_cells"].draft
        assert gain.value is None and gain.why_missing is not None and "mechanism" in gain.why_missing
        assert recompute(session.store, numbers[gain.report, gain.name].id).agrees
