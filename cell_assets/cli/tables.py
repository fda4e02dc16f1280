"""`cell-assets ingest-table`: plates that come as tables of features, without their images."""

import json
from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON, EXPERIMENT, absolute_text


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@EXPERIMENT
@click.option(
    "--plate",
    metavar="P",
    help="Name of the plate in the lab. May be left out with --rows wells: every plate of the table then comes in "
    "under the name that it has there.",
)
@click.option(
    "--rows",
    type=click.Choice(["cells", "wells"]),
    default="cells",
    show_default=True,
    help="What a row is: a single cell (SQLite of CellProfiler's ExportToDatabase or of cytominer-database, "
    "CellProfiler's folder of CSV, CytoTable's Parquet, AnnData's .h5ad of counts with plate and well in obs), or a "
    "well's profile (CSV or Parquet as pycytominer writes it).",
)
@click.option(
    "--source-plate", metavar="NAME", help="What the table calls the plate, where it holds several."
)
@click.option(
    "--plate-map", type=click.Path(path_type=Path), help="CSV: well, compound|gene|guide|virus, dose, moa …"
)
@click.option("--treatment-column", metavar="NAME", help="Column of the treatment, instead of a plate map.")
@click.option(
    "--treatment-kind",
    type=click.Choice(["compound", "gene", "guide", "virus"]),
    default="compound",
    show_default=True,
    help="What that column names.",
)
@click.option("--dose-column", metavar="NAME", help="Column of the dose.")
@click.option("--dose-unit", metavar="UNIT", help="Its unit, such as µM.")
@click.option("--moa-column", metavar="NAME", help="Column of the mechanism of action.")
@click.option(
    "--control", "controls", multiple=True, metavar="NAME", help="A treatment that is a negative control."
)
@click.option(
    "--counts",
    type=click.Choice(["log-per-10k", "as-they-are"]),
    help="What becomes of counts in AnnData, which must be said: log1p of counts per 10,000 of the cell, or nothing.",
)
@click.option(
    "--variable-genes", type=click.IntRange(min=1), metavar="N", help="Keep the N most variable genes."
)
@click.option("--layer", metavar="NAME", help="Layer of AnnData that holds the counts, instead of X.")
@AS_JSON
def ingest_table(
    source: Path,
    experiment: str,
    plate: str | None,
    rows: str,
    source_plate: str | None,
    plate_map: Path | None,
    treatment_column: str | None,
    treatment_kind: str,
    dose_column: str | None,
    dose_unit: str | None,
    moa_column: str | None,
    controls: tuple[str, ...],
    counts: str | None,
    variable_genes: int | None,
    layer: str | None,
    as_json: bool,
) -> None:
    """Bring in a plate as a table of features, of single cells or of wells.

    \b
    Example:
      cell-assets ingest-table plate1.sqlite --experiment S1 --plate P1 --plate-map map.csv
      cell-assets ingest-table profiles.csv --rows wells --experiment S2 --control DMSO \\
        --treatment-column Metadata_Compound --moa-column Metadata_moa
      cell-assets ingest-table screen.h5ad --counts log-per-10k --experiment S3 --plate D1 --source-plate donor_1 \\
        --treatment-column Metadata_guide --treatment-kind guide --control NTC
    """
    from cell_assets.assets.table_request import TableRequest, TableRows
    from cell_assets.automation.ingesting_tables import ingest_tables
    from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters
    from cell_assets.imaging.feature_tables.treatments import TreatmentColumns
    from cell_assets.imaging.plate_map import PerturbationType

    if counts is None and (variable_genes is not None or layer is not None):
        raise click.UsageError(
            "--variable-genes and --layer are of counts; say what becomes of these with --counts"
        )
    if plate is None and rows == TableRows.CELLS:
        raise click.UsageError("name the plate with --plate")
    names = [(plate, source_plate)] if plate is not None else [(name, name) for name in plates_of(source)]
    normalized = (
        None
        if counts is None
        else CountParameters(
            normalization=CountNormalization(counts), variable_genes=variable_genes, layer=layer
        )
    )
    requests = [
        TableRequest(
            source=str(source.absolute()),
            experiment=experiment,
            plate=name,
            rows=TableRows(rows),
            source_plate=in_source,
            plate_map=absolute_text(plate_map),
            counts=normalized,
            columns=TreatmentColumns(
                treatment=treatment_column,
                kind=PerturbationType(treatment_kind),
                dose=dose_column,
                dose_unit=dose_unit,
                moa=moa_column,
                controls=controls,
            ),
        )
        for name, in_source in names
    ]
    with open_lab() as session:
        results = ingest_tables(session, requests)
    if as_json:
        click.echo(json.dumps([result.model_dump() for result in results], indent=1))
        return
    for result in results:
        click.echo(result.sentence())
    click.echo(f"next: cell-assets run --experiment {experiment} --method cytosummary")


def plates_of(source: Path) -> list[str]:
    """Every plate that a table of wells holds."""
    from cell_assets.imaging.feature_tables.well_table import read_well_table

    return read_well_table(source).plates
