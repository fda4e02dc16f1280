"""A report on profiles of wells, from the folders that it reads to the folder that is published. No Dagster here."""

from pathlib import Path

from cell_assets.assets.profile_costs import costs_of
from cell_assets.assets.profile_outputs import ProfileReportOutput, cell_tables
from cell_assets.assets.relevant_cell_pictures import FilmedPlates, relevant_cell_pictures
from cell_assets.evaluation.profiling.published_profiles import (
    ProfileFolders,
    PublishedProfiles,
    study_published_profiles,
)
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import NumberDraft
from cell_assets.methods.registry import MethodEntry, load_trainable
from cell_assets.reporting.profile_report import ProfileSources, write_profile_report
from cell_assets.reporting.relevance_page import RelevancePage

MEAN_PROFILES = "mean_profiles"
"""In place of a method, in the names of numbers."""


def write_profiles_report(
    out: Path,
    entry: MethodEntry | None,
    experiment: str,
    output: ProfileReportOutput,
    scratch: Path,
    ledger: Ledger,
) -> tuple[NumberDraft, ...]:
    """Study, draw and write; returns the numbers that the report states.

    Args:
        entry: of the method whose profiles it is about; None for those without learning.
        scratch: where cells of filmed plates are written as tables while they are read.
        ledger: says what it cost to make what the report rests on.

    Raises:
        BadInputError: the profiles cannot be compared.
    """
    method = MEAN_PROFILES if entry is None else entry.name
    with cell_tables(output.cells, scratch) as tables:
        folders = ProfileFolders(
            mean_profiles={plate: read.folder for plate, read in output.mean_profiles.items()},
            learned={method: {plate: read.folder for plate, read in output.learned.items()}}
            if output.learned
            else {},
            well_manifest=None if output.manifest is None else output.manifest.folder,
            supervised=None if output.supervised is None else output.supervised.folder,
            cells={one.plate: one.path for one in tables},
        )
        found = study_published_profiles(method, folders, output.study)
    trained = (
        () if output.checkpoint is None else load_trainable(method).training_notes(output.checkpoint.folder)
    )
    title = "Profiles without learning" if entry is None else entry.title.split(":")[0]
    write_profile_report(
        out,
        f"{title} on {experiment}",
        method,
        found.study,
        (*trained, *found.notes),
        ProfileSources(
            output.receipts,
            output.parameters,
            found.records,
            found.selections,
            costs_of(ledger, output.receipts, None if entry is None else entry.name),
        ),
        headline=None if entry is None else method,
        relevance=_relevance_page(method, found, output),
    )
    return found.numbers


def _relevance_page(
    method: str, found: PublishedProfiles, output: ProfileReportOutput
) -> RelevancePage | None:
    if found.relevance is None:
        return None
    plates = FilmedPlates(
        {plate: read.folder for plate, read in output.learned.items()},
        {key: read.folder for key, read in output.tables.items()},
        {plate: read.folder for plate, read in output.raw.items()},
    )
    return RelevancePage(
        found.relevance,
        relevant_cell_pictures(found.study, method, plates, found.relevance.parameters),
    )
