"""Reading a report folder back: what it states, and the predictions and curves behind it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import pandas as pd

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import NumberDraft

NUMBERS_FILE, PREDICTIONS = "numbers.json", "predictions"
DISPLACEMENT_FILE, EXPLAINED_FILE = "displacement.parquet", "explained_variance.parquet"
TRAJECTORIES_FILE, HELD_OUT_FILE = "division_trajectories.parquet", "held_out_cells.parquet"
ONSETS = "onsets"


def file_stem(name: str) -> str:
    """The name of a task or figure as that of a file, without extension: states and columns are people's words, such
    as `not infected` or `dead/alive`, and no two of them get the same file."""
    return quote(name, safe=" ")


@dataclass(frozen=True)
class PublishedReport:
    """What a report folder holds, its pictures apart."""

    simulated: bool
    split: SplitStatement
    numbers: tuple[NumberDraft, ...]
    predictions: dict[str, pd.DataFrame]
    """By task."""
    displacement: pd.DataFrame
    """Without rows in reports of an earlier version, as is `explained`."""
    explained: pd.DataFrame
    trajectories: pd.DataFrame | None = None
    """Every point that the figure of divisions draws, as `reporting.division_figure.trajectory_table` makes them; None
    in reports of an earlier version."""
    held_out_cells: pd.DataFrame | None = None
    """Where the test cells lie, see `held_out_cells.held_out_cells`; None in reports of an earlier version."""
    onsets: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Of every track, by annotation column, or column of independent plates."""


def read_report(folder: Path) -> PublishedReport:
    """A folder that `reporting.report.write_report` wrote."""
    document = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
    split = document["split"]
    predictions = {
        unquote(path.stem): pd.read_parquet(path) for path in sorted((folder / PREDICTIONS).glob("*.parquet"))
    }
    displacement, explained = (
        pd.read_parquet(folder / name) if (folder / name).exists() else pd.DataFrame()
        for name in (DISPLACEMENT_FILE, EXPLAINED_FILE)
    )
    onsets = {
        unquote(path.stem): pd.read_parquet(path) for path in sorted((folder / ONSETS).glob("*.parquet"))
    }
    trajectories, held_out = (
        pd.read_parquet(folder / name) if (folder / name).exists() else None
        for name in (TRAJECTORIES_FILE, HELD_OUT_FILE)
    )
    return PublishedReport(
        document["simulated"],
        SplitStatement(
            **split | {"unit": SplitUnit(split["unit"]), "fit_splits": tuple(split["fit_splits"])}
        ),
        tuple(NumberDraft(**one) for one in document["numbers"]),
        predictions,
        displacement,
        explained,
        trajectories,
        held_out,
        onsets,
    )
