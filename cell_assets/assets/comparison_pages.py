"""Trainings side by side, from the reports that are read to the folder that is published. No Dagster here."""

from pathlib import Path

from cell_assets.assets.comparison_output import ComparisonOutput
from cell_assets.audit.counting import counted
from cell_assets.errors import BadInputError
from cell_assets.evaluation.studies.training_comparison import paired_gains, reported_trainings
from cell_assets.ledger.records import NumberDraft
from cell_assets.reporting.compared_track_figures import without_held_out_cells
from cell_assets.reporting.comparison_page import ComparisonContent, comparison_figures, render_comparison
from cell_assets.reporting.division_grid import without_trajectories
from cell_assets.reporting.pixel_study_folder import write_pixel_study

FORMAT_NAME, FORMAT_VERSION = "cell_assets.comparison", "1"


def write_comparison(
    out: Path, method: str, title: str, experiment: str, output: ComparisonOutput
) -> tuple[NumberDraft, ...]:
    """Read, pair, draw and write; returns the numbers that the page states.

    Raises:
        BadInputError: there is one training only.
    """
    if len(output.trainings) < 2:
        raise BadInputError(
            f"{experiment} has {counted(len(output.trainings), 'training')} of its newest manifest with a report, and "
            "two are needed to compare; train again with another strategy, channels or seed, and make the report"
        )
    trainings = reported_trainings(
        [one.report.folder for one in output.trainings], [one.parameters for one in output.trainings]
    )
    numbers = paired_gains(
        trainings, method, seed=output.settings.seed, n_resamples=output.settings.n_resamples
    )
    notes = [
        f"{training.label}: report {one.report.receipt.digest[:12]}."
        for training, one in zip(trainings, output.trainings, strict=True)
    ]
    if output.n_of_other_manifests:
        notes.append(
            f"{counted(output.n_of_other_manifests, 'training')} of earlier manifests left out: other cells, or "
            "another split."
        )
    without = [one.label for one in trainings if not len(one.report.displacement)]
    if without:
        notes.append(f"No curves of {'; '.join(without)}: their reports are of an earlier version.")
    notes += [*without_held_out_cells(trainings), *without_trajectories(trainings)]
    content = ComparisonContent(
        title=f"{title.split(':')[0]}: trainings of {experiment} side by side",
        subtitle=counted(len(trainings), "training"),
        simulated=any(one.report.simulated for one in trainings),
        split=trainings[-1].report.split,
        trainings=trainings,
        numbers=numbers,
        figures=comparison_figures(trainings),
        notes=tuple(notes),
        inputs=output.receipts,
        parameters=output.parameters,
    )
    write_pixel_study(
        out,
        render_comparison(content),
        content,
        FORMAT_NAME,
        FORMAT_VERSION,
        trainings=[one.label for one in trainings],
    )
    return numbers
