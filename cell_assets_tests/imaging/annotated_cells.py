"""A family small enough to join by hand, and files about it."""

from pathlib import Path

import pandas as pd

from cell_assets.imaging.annotation_files import ReadingChoices, read_annotation_csv
from cell_assets.imaging.annotation_joining import JoinedAnnotations, join_annotations
from cell_assets.imaging.track_tables import NO_PARENT, TRACK_COLUMNS

PLATE_NAME = "P1"
POSITION = "A/1/000"


def family() -> pd.DataFrame:
    """Track 3 lives at t=0..2 at (10, 10) and divides into 8 at (6, 10) and 9 at (14, 10), t=3..4; 9 divides at
    once into 20 at (14, 6) and 21 at (14, 14), t=5. Track 5 stays at (30, 30) from t=0 to t=5."""
    lives = {
        3: (NO_PARENT, range(3), (10.0, 10.0)),
        8: (3, range(3, 5), (6.0, 10.0)),
        9: (3, range(3, 5), (14.0, 10.0)),
        20: (9, range(5, 6), (14.0, 6.0)),
        21: (9, range(5, 6), (14.0, 14.0)),
        5: (NO_PARENT, range(6), (30.0, 30.0)),
    }
    rows = [
        {"fov_name": POSITION, "track_id": track, "t": t, "parent_track_id": parent, "z": 0.0, "y": y, "x": x}
        for track, (parent, life, (y, x)) in lives.items()
        for t in life
    ]
    table = pd.DataFrame(rows).assign(id=range(len(rows)), parent_id=NO_PARENT)
    return table[list(TRACK_COLUMNS)]


def joined(
    folder: Path, text: str, tracks: pd.DataFrame | None = None, choices: ReadingChoices | None = None
) -> JoinedAnnotations:
    """What `labels.csv` with this text says of the family."""
    path = folder / "labels.csv"
    path.write_text(text)
    given = read_annotation_csv(path, PLATE_NAME, POSITION, choices or ReadingChoices())
    return join_annotations(given, family() if tracks is None else tracks)


def cells_of(found: JoinedAnnotations, column: str) -> dict[tuple[int, int], tuple[str, str]]:
    """State and join by (track, t)."""
    return {(row["track_id"], row["t"]): (row[column], row["join"]) for row in found.cells.to_dict("records")}
