"""Write a report folder: page, figures, numbers and predictions, byte for byte the same again."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.evaluation.studies.published_report import (
    DISPLACEMENT_FILE,
    EXPLAINED_FILE,
    HELD_OUT_FILE,
    NUMBERS_FILE,
    ONSETS,
    PREDICTIONS,
    TRAJECTORIES_FILE,
    file_stem,
)
from cell_assets.reporting.html import ReportContent, render_html

FORMAT_NAME = "cell_assets.report"
FORMAT_VERSION = "1"


def write_report(out: Path, report: ReportContent) -> None:
    """Write `report.html`, `figures/*.png`, `numbers.json` and `predictions/*.parquet` into the folder `out`.

    And the curves of displacement over time and of explained variance, `displacement.parquet` and
    `explained_variance.parquet`; `division_trajectories.parquet` where divisions were looked for (without rows where
    none was seen), `held_out_cells.parquet` where it was made, `onsets/*.parquet` where tracks have onsets,
    `suspicious_steps.parquet` where steps were scored, and `dynamics.html` where there is an animated page.

    Nothing in the files depends on when, where or by which run they were written. Raises `BadInputError`
    before writing anything when two figures or tasks have one name.
    """
    figures = {figure.name: figure.png for figure in report.figures}
    tasks = (*report.evaluation.tasks, *report.evaluation.further, *report.further_tasks)
    predictions = {task.name: task.predictions for task in tasks}
    _require_names_apart("figure", [figure.name for figure in report.figures])
    _require_names_apart("onset table", list(report.onsets))
    _require_names_apart("task", [task.name for task in tasks])
    page = render_html(report)
    for folder in ("figures", PREDICTIONS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(page, encoding="utf-8")
    (out / NUMBERS_FILE).write_text(_numbers_document(report), encoding="utf-8")
    for name, png in figures.items():
        (out / "figures" / f"{file_stem(name)}.png").write_bytes(png)
    for name, frame in predictions.items():
        _write_parquet(out / PREDICTIONS / f"{file_stem(name)}.parquet", frame)
    _write_parquet(out / DISPLACEMENT_FILE, _displacement(report.evaluation))
    _write_parquet(out / EXPLAINED_FILE, _explained(report.evaluation))
    if report.dynamics_page is not None:
        (out / "dynamics.html").write_text(report.dynamics_page, encoding="utf-8")
    if report.trajectories is not None:
        _write_parquet(out / TRAJECTORIES_FILE, report.trajectories)
    if report.held_out_cells is not None:
        _write_parquet(out / HELD_OUT_FILE, report.held_out_cells)
    if report.suspicious_steps is not None:
        _write_parquet(out / "suspicious_steps.parquet", report.suspicious_steps)
    for name, frame in report.onsets.items():
        (out / ONSETS).mkdir(exist_ok=True)
        _write_parquet(out / ONSETS / f"{file_stem(name)}.parquet", frame)


def _numbers_document(report: ReportContent) -> str:
    """The numbers with the split and the word about simulation, as sorted JSON."""
    evaluation = report.evaluation
    document = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "simulated": evaluation.settings.simulated,
        "split": asdict(evaluation.split),
        "numbers": [asdict(number) for number in evaluation.numbers],
        "notes": list(evaluation.notes),
        "left_out": asdict(report.left_out),
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _displacement(evaluation: EmbeddingEvaluation) -> pd.DataFrame:
    """Eq. 3 (`displacement`) and Eq. 2 (`from_first`) of every space."""
    columns = ["lag_min", "mean", "low", "high"]
    curves = [
        pd.DataFrame({column: getattr(curve, column) for column in columns}).assign(
            space=one.space, curve=name
        )
        for one in evaluation.dynamics
        if one.dynamics is not None
        for name, curve in (
            ("displacement", one.dynamics.displacement),
            ("from_first", one.dynamics.from_first),
        )
    ]
    named = ["space", "curve", *columns]
    return pd.concat(curves, ignore_index=True)[named] if curves else pd.DataFrame(columns=named)


def _explained(evaluation: EmbeddingEvaluation) -> pd.DataFrame:
    share = np.zeros(0) if evaluation.spectrum is None else evaluation.spectrum.explained
    return pd.DataFrame({"direction": np.arange(1, len(share) + 1), "share": share})


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    frame.reset_index(drop=True).to_parquet(path, engine="pyarrow", compression="zstd", index=False)


def _require_names_apart(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(f"{what} name {twice[0]} is given more than once; give each its own")
