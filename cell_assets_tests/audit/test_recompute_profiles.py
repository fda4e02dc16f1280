"""Numbers of reports on profiles computed anew by what their record says, and not by what is the default today."""

from dataclasses import replace
from pathlib import Path

from cell_assets.audit.recompute import Outcome, recompute
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
)
from cell_assets.evaluation.profiling.published_profiles import SIMILARITY_FUSION, study_published_profiles
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import PlateDraft, WellDraft
from cell_assets.store.store import Store
from cell_assets_tests.evaluation.profiling.screens import QUICK, with_fusion
from cell_assets_tests.ledger.making import receipt
from cell_assets_tests.store.drafts import FORMAT, fill, publish, run_draft


def test_a_record_that_says_nothing_of_fusing_similarities_fused_none(tmp_path: Path) -> None:
    folders, _ = with_fusion(tmp_path / "profiles")
    parameters = ProfileReportParameters(study=QUICK, selection=ProfileSelectionParameters(steps=()))
    report = f"mean_profiles/{SIMILARITY_FUSION}/mechanism"
    stated = next(
        one
        for one in study_published_profiles("mean_profiles", folders, parameters).numbers
        if one.report == report
    )
    says_it = parameters.model_dump(mode="json")
    says_nothing = {name: value for name, value in says_it.items() if name != "similarity_fusion"}
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        store = Store(tmp_path / "store", ledger)
        read, found = [], []
        for plate, folder in folders.mean_profiles.items():
            ledger.register_plate(PlateDraft("E1", plate, "src", "ctc", (WellDraft("A/1"),), ("A/1/000",)))
            files = {one.name: one.read_bytes() for one in folder.iterdir()}
            read.append(receipt(publish(store, plate, files, asset="mean_profiles")))
        for recorded in (says_it, says_nothing):
            with store.write("mean_profiles_report", "E1") as staged:
                fill(staged.path, {"report.html": b"<html>"})
                draft = replace(run_draft(), parameters=recorded)
                store.publish(staged, draft, read, FORMAT, [stated], experiment="E1")
            (number,) = ledger.numbers("E1")
            found.append(recompute(store, number.id))
    assert [one.outcome for one in found] == [Outcome.SAME, Outcome.NOT_COMPUTED]
    assert found[1].ways[0].why_missing == (
        f"the study as it is today states no {report} {stated.name}, {stated.split}"
    )
