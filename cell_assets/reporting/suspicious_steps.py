"""The table of steps that a person should look at, in words."""

from dataclasses import dataclass

import pandas as pd

from cell_assets.reporting.wording import value_text

_YES_NO = {True: "yes", False: "no"}


@dataclass(frozen=True)
class SuspiciousStep:
    """One line of the table."""

    plate: str
    fov_name: str
    track_id: str
    t: str
    score: str
    motion_score: str
    displacement: str
    displacement_um: str
    division: str
    above_threshold: str


def suspicious_rows(steps: pd.DataFrame | None) -> list[SuspiciousStep]:
    """`TrackDisruptions.suspicious` as it is read by people; what is not known is a dash."""
    if steps is None:
        return []
    return [
        SuspiciousStep(
            plate=str(row["plate"]),
            fov_name=str(row["fov_name"]),
            track_id=str(row["track_id"]),
            t=str(row["t"]),
            score=f"{row['score']:.1f}",
            motion_score="–" if pd.isna(row["motion_score"]) else f"{row['motion_score']:.1f}",
            displacement=value_text(float(row["displacement"])),
            displacement_um=value_text(float(row["displacement_um"])),
            division=_division(row["minutes_to_division"]),
            above_threshold=_YES_NO.get(row["above_threshold"], "–"),
        )
        for row in steps.astype({"above_threshold": object}).to_dict("records")
    ]


def _division(minutes: float) -> str:
    """When the track divides after the step, which is then no tracking error but a cell that rounds up."""
    if pd.isna(minutes):
        return "–"
    return f"{minutes:g} min later" if minutes else "right after"
