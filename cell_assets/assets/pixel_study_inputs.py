"""What every study reads that goes from what a report states back to the pixels. No Dagster here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cell_assets.assets.inputs import (
    ReadTable,
    ReportInputs,
    read_report_inputs,
    table_receipts,
    tables_with_patches,
)
from cell_assets.ledger.records import ReadReceipt
from cell_assets.store.store import Store

if TYPE_CHECKING:
    from cell_assets.evaluation.studies.published_study import StudiedFolders

PROBE_SEED = "probe_seed"
"""Among the recorded parameters: the report's seed, by which its probes choose their strength."""


@dataclass(frozen=True)
class PixelStudyInputs:
    """What the report reads of embeddings, split and states, and the patches."""

    report: ReportInputs
    tables: Mapping[tuple[str, str], ReadTable]
    """By plate and position, with what their patches are read from."""

    def receipts(self) -> tuple[ReadReceipt, ...]:
        """All of them, each once, as input edges."""
        return tuple(dict.fromkeys((*self.report.receipts(), *table_receipts(self.tables))))

    def folders(self) -> "StudiedFolders":
        """What the report's probes are fitted from."""
        # Imports scikit-learn, which loading the definitions must not.
        from cell_assets.evaluation.studies.published_study import StudiedFolders

        report = self.report
        return StudiedFolders(
            embeddings={plate: read.folder for plate, read in report.embeddings.items()},
            raw={plate: read.folder for plate, read in report.raw.items()},
            manifest=report.manifest.folder,
            annotations={key: read.folder for key, read in report.annotations.items()},
        )


def read_pixel_study_inputs(store: Store, method: str, experiment: str) -> PixelStudyInputs:
    """The newest of everything.

    Raises:
        NotFoundError: something has not been made yet.
    """
    report = read_report_inputs(store, method, experiment)
    return PixelStudyInputs(report, tables_with_patches(store, experiment, report.tables))
