"""A small report with everything in it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.left_out import LeftOut, LeftOutCount
from cell_assets.evaluation.scores.task_scores import Baseline
from cell_assets.evaluation.scores.tasks import about_to_divide, column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import (
    EmbeddingEvaluation,
    EvaluationSettings,
    evaluate_embedding,
)
from cell_assets.ledger.records import ReadReceipt
from cell_assets.reporting.embedding_figures import Colouring, PatchStrip, Projection
from cell_assets.reporting.embedding_report import EmbeddingPictures, embedding_figures
from cell_assets.reporting.html import ReportContent
from cell_assets_tests.evaluation.movies import informative_features, track_table


def small_evaluation(simulated: bool = True) -> EmbeddingEvaluation:
    """Infection can be probed, division cannot (nothing divides), lengths serve as baseline."""
    cells = track_table()
    features = informative_features((cells["infection_state"] == "infected").to_numpy()) + 0.5
    settings = EvaluationSettings("dynaclr", SplitUnit.TRACK, 5.0, simulated, n_resamples=50, max_lag=4)
    return evaluate_embedding(
        features,
        cells,
        [column_labels(cells, "infection_state", "infected"), about_to_divide(cells, 5.0, 10.0)],
        settings,
        baselines=[Baseline("length_alone", "cell length alone", cells["length_um"].to_numpy())],
    )


def small_pictures() -> EmbeddingPictures:
    cells = track_table()
    rng = np.random.default_rng(0)
    return EmbeddingPictures(
        projections=(Projection("PCA", rng.normal(size=(len(cells), 2)), ("PC 1", "PC 2")),),
        colourings=(
            Colouring("infection_state", cells["infection_state"]),
            Colouring("time (h)", cells["t"] / 12),
        ),
        history=pd.DataFrame({"epoch": [0, 1], "train_loss": [0.5, 0.3], "val_loss": [0.6, None]}),
        strips=tuple(
            PatchStrip(
                task,
                rng.normal(size=(8, 2, 16, 16)),
                ("phase", "sensor"),
                np.linspace(-35.0, 0.0, 8),
                rng.random(8),
                "P",
            )
            for task in ("about_to_divide", "infection_state")
        ),
    )


def small_report(simulated: bool = True) -> ReportContent:
    evaluation = small_evaluation(simulated)
    return ReportContent(
        title="DynaCLR on <E1> & more",
        subtitle="40 tracks",
        evaluation=evaluation,
        left_out=LeftOut(
            True,
            400,
            12,
            ("plate P2",),
            (LeftOutCount("P1", "focus_slope", "2 frames", 12),),
            ("P1 A/1/000 t=3: focus_slope in GFP is -4, below -3.5",),
            1,
        ),
        figures=embedding_figures(evaluation, small_pictures()),
        inputs=(ReadReceipt(17, "raw_acquisition", "P1", "ab" * 32),),
        parameters={"training": {"epochs": 2, "preset": "quick"}, "seed": 0},
    )


def renumbered(report: ReportContent) -> ReportContent:
    """The same report from another database, where artifacts have other ids."""
    return replace(report, inputs=tuple(replace(r, artifact_id=r.artifact_id + 99) for r in report.inputs))
