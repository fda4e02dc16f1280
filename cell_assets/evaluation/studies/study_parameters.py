"""What a person may choose about a report; apart from the study itself, which imports scikit-learn."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Confounder(BaseModel):
    """A passing condition in which cells may look as if they were in a state: `column` is `value`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: str
    """Annotation column, for example `division_state`."""
    value: str
    """For example `mitosis`."""


class DisruptionParameters(BaseModel):
    """False tracking errors that are put into tracks taken as true, to see whether they would be found."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share_of_tracks: float = Field(default=0.5, gt=0, le=1)
    """Share of tracks that take part in one injected error of a kind, each in at most one."""
    max_distance_um: float = Field(default=30.0, gt=0)
    """Centroids of the two cells are at most so far apart in the frame of the error: trackers confuse neighbours."""
    nearest: int = Field(default=3, ge=1)
    """The partner is drawn among the so many cells that come nearest to the track's."""
    max_merged_frames: int = Field(default=3, ge=1)
    """A merged track is its neighbour for 1 to so many frames."""


class StudyParameters(BaseModel):
    """How an embedding is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    horizon_min: float | None = Field(default=None, gt=0)
    """How soon "about to divide" is; None: one interval between frames, so the last frame before the division."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of tracks."""
    max_lag: int = Field(default=10, ge=1)
    """Longest lag of the smoothness curve, in frames."""
    folds: int | None = Field(default=None, ge=2)
    """Score every task a second time on all cells, by probes that learned from no relative of the cell: the number of
    folds of lineages. For plates too small to hold a test set back."""
    neighbours: int = Field(default=20, ge=1)
    """Nearest cells of other FOVs that vote for a cell's state."""
    identity_gap_frames: int = Field(default=5, ge=1)
    """A cell is looked for among those at least so many frames earlier or later."""
    confounder: Confounder | None = None
    """Where false calls of a state are counted apart; None: `division_state` is `mitosis`, where that is annotated."""
    unused_states: tuple[str, ...] = ()
    """Annotated values, of any column, that are taken as if nobody had annotated the cell, such as `unknown`: by the
    report, by attribution and the study of bleaching, whose probes are the report's, and by the supervised baseline."""
    seed: int = Field(default=0, ge=0)
    """Of folds, resamples, injected errors and projections."""
    disruptions: DisruptionParameters = DisruptionParameters()
    """How tracking errors are put in."""
    independent_plates: tuple[str, ...] = ()
    """Plates of other experiments that the model and its probes are applied to as they are (paper, section 3.2: one
    filmed every 2 h instead of 30 min); nothing is learned from them."""

    @field_validator("independent_plates")
    @classmethod
    def _named_once(cls, plates: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(plates)) < len(plates):
            raise ValueError("a plate is named twice; name each once")
        return plates
