"""An experiment's tolerance to photobleaching, from what it reads to the folder that is published. No Dagster here."""

from pathlib import Path

from cell_assets.assets.bleaching_output import BleachingOutput
from cell_assets.assets.inputs import training_tables
from cell_assets.audit.counting import counted
from cell_assets.evaluation.pixels.bleaching_parameters import ALL_LIGHT
from cell_assets.evaluation.pixels.bleaching_scores import (
    CELLS_FILE,
    TRACKS_FILE,
    bleaching_notes,
    bleaching_numbers,
    dimmed_scores,
    draw_cells,
    numbers_without_light,
    numbers_without_probe,
    refuse_other_features,
    steps_of_tracks,
)
from cell_assets.evaluation.pixels.state_heads import possible_heads
from cell_assets.evaluation.resampling import stated_split
from cell_assets.evaluation.studies.evaluate import canonical_order
from cell_assets.evaluation.studies.published_study import read_studied
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.ledger.records import NumberDraft
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.registry import load_bleachable
from cell_assets.reporting.bleaching_page import BleachingContent, bleaching_figure, render_bleaching
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.pixel_study_folder import write_pixel_study

FORMAT_NAME, FORMAT_VERSION = "cell_assets.bleaching", "1"
_ONE_STEP = (
    "All cells are dimmed alike, whenever they were filmed, and nothing learns from dimmed cells. A film that bleaches "
    "also changes its FOVs' medians and contrasts, by which patches are normalised; that is not in these numbers."
)


def write_bleaching(
    out: Path,
    method: str,
    title: str,
    experiment: str,
    output: BleachingOutput,
    progress: ProgressSink | None = None,
) -> tuple[NumberDraft, ...]:
    """Dim, embed, score, draw and write; returns the numbers that the page states.

    Where nothing that the model sees can bleach, numbers have no value and say so, and no scores are written.

    Raises:
        BadInputError: embeddings and checkpoint do not belong together.
    """
    inputs, settings = output.inputs, output.settings
    studied = read_studied(
        inputs.folders(), f"the study of bleaching of {experiment}", experiment, output.unused_states
    )
    heads = possible_heads(studied, output.probe_seed)
    columns = tuple(head.column for head in heads.heads)
    manifest = studied.manifest
    split = stated_split(heads.split.short, manifest.simulated)
    rows = draw_cells(heads, settings)
    drawn = heads.cells.iloc[rows]
    features = load_bleachable(method).embed_dimmed(
        inputs.report.checkpoint.folder,
        training_tables(inputs.tables),
        studied.frozen,
        drawn,
        settings,
        output.embedding,
        progress,
    )
    notes = [*studied.known.notes]
    figures: tuple[ReportFigure, ...] = ()
    if isinstance(features, str):
        numbers = numbers_without_light(features, columns, method, split, settings)
    else:
        embedded = studied.embedded
        published = embedded.features[canonical_order(embedded.cells)]
        refuse_other_features(heads, published, rows, features[ALL_LIGHT])
        cells = dimmed_scores(heads, rows, features)
        tracks = steps_of_tracks(embedded.cells, embedded.features, drawn)
        write_parquet(cells, out / CELLS_FILE)
        write_parquet(tracks, out / TRACKS_FILE)
        numbers = bleaching_numbers(cells, tracks, columns, method, split, heads.split.unit, settings)
        figures = (bleaching_figure(columns, numbers),)
        notes += bleaching_notes(cells, columns, heads.split.unit)
    numbers += numbers_without_probe(heads.without, method, split, settings)
    n_test = int(heads.test.sum())
    content = BleachingContent(
        title=f"{title.split(':')[0]}: tolerance to photobleaching on {experiment}",
        subtitle=f"{counted(len(rows), 'test cell image')} of {n_test} dimmed, {manifest.split_statement()}",
        simulated=manifest.simulated,
        split=heads.split,
        columns=columns,
        without=heads.without,
        cells_sentence=f"{len(rows)} of {counted(n_test, 'test cell image')} were taken"
        + (f", drawn at random with seed {settings.seed}." if len(rows) < n_test else "."),
        interval_min=studied.interval_min,
        numbers=numbers,
        figures=figures,
        notes=(*notes, _ONE_STEP),
        inputs=output.receipts,
        settings=settings,
        parameters=output.parameters,
    )
    write_pixel_study(
        out,
        render_bleaching(content),
        content,
        FORMAT_NAME,
        FORMAT_VERSION,
        columns=list(columns),
        without_probe=dict(heads.without),
    )
    return numbers
