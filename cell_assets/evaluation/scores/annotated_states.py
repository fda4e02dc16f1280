"""States of cells from their two sources: a table given with the plate, and annotations handed in later."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cell_assets.evaluation.scores.tasks import without_states
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history

KEYS = ["plate", "fov_name", "track_id", "t"]

_NAMED = 3
"""So many cells, of each column, whose given state an annotation replaces stand in a note."""


@dataclass(frozen=True)
class AnnotatedStates:
    """What is known of cells' states, and where from."""

    states: pd.DataFrame | None
    """`plate, fov_name, track_id, t` and one column per kind of state; None where nobody said anything."""
    notes: tuple[str, ...]
    """Sentences for a report: of each column, how many labels came from where; empty without annotations
    and states."""


def annotated_states(
    given: Mapping[str, pd.DataFrame],
    annotations: Mapping[tuple[str, str], Path],
    cells: pd.DataFrame,
    unused_states: Collection[str] = (),
) -> AnnotatedStates:
    """Join what was given at ingest with annotations; where both name a state of one cell, the annotation holds.

    It is the later word, of a named person with a reason. Notes say how often it took the place of another, and
    name the first few cells with both states, the file and the person.

    Args:
        given: `fov_name, track_id, t` and one column per kind of state, by plate.
        annotations: folders of the asset, by plate and position.
        cells: `plate, fov_name, track_id, t` of the cell images that the labels are for; only theirs are counted.
        unused_states: values, of any column, that say nothing of a cell; they are counted and not known.

    Raises:
        BadInputError: a folder is none of annotations.
    """
    histories = {key: read_annotation_history(folder) for key, folder in sorted(annotations.items())}
    at_ingest = _long([frame.assign(plate=plate) for plate, frame in given.items()])
    by_people = _long([_of_position(plate, history) for (plate, _), history in histories.items()])
    if at_ingest.empty and by_people.empty:
        return AnnotatedStates(None, _unjoined_notes(histories))
    key = [*KEYS, "column"]
    both = at_ingest.merge(by_people, on=key, how="outer", suffixes=("_given", "_said"))
    both["state"] = both["state_said"].where(both["state_said"].notna(), both["state_given"])
    states = both.pivot(index=KEYS, columns="column", values="state").reset_index()
    states.columns.name = None
    for name in _numeric_columns(given.values()).intersection(states.columns) - set(by_people["column"]):
        states[name] = pd.to_numeric(states[name])
    embedded = both.merge(cells[KEYS].drop_duplicates(), on=KEYS)
    return AnnotatedStates(
        without_states(states, unused_states),
        (*_source_notes(both, embedded, histories), *_unjoined_notes(histories)),
    )


def _of_position(plate: str, history: AnnotationHistory) -> pd.DataFrame:
    return history.cells[["track_id", "t", *history.record.states]].assign(
        plate=plate, fov_name=history.record.position
    )


def _long(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """`KEYS, column, state` with states as text, without what is not annotated."""
    long = [
        frame.melt(id_vars=KEYS, var_name="column", value_name="state").dropna(subset="state")
        for frame in frames
    ]
    if not long:
        return pd.DataFrame(columns=[*KEYS, "column", "state"])
    return pd.concat(
        [
            one.astype({"column": object}).assign(state=[_text(state) for state in one["state"]])
            for one in long
        ],
        ignore_index=True,
    )


def _text(state: object) -> str:
    """A whole number that a column with blanks made a float is written as it was given."""
    return str(int(state)) if isinstance(state, float) and state.is_integer() else str(state)


def _numeric_columns(frames: Iterable[pd.DataFrame]) -> set[str]:
    """Columns that are measurements wherever they are given, and stay numbers."""
    numeric: set[str] = set()
    other: set[str] = set()
    for frame in frames:
        for name in frame.columns.difference(KEYS):
            (numeric if pd.api.types.is_numeric_dtype(frame[name]) else other).add(str(name))
    return numeric - other


def _source_notes(
    both: pd.DataFrame, embedded: pd.DataFrame, histories: Mapping[tuple[str, str], AnnotationHistory]
) -> list[str]:
    notes = []
    for column, rows in both.groupby("column", sort=True):
        used = embedded[embedded["column"] == column]
        said = used["state_said"].notna()
        replaced = said & used["state_given"].notna() & (used["state_given"] != used["state_said"])
        n_fovs = len(used.loc[said, ["plate", "fov_name"]].drop_duplicates())
        note = f"{column}: {int((~said).sum())} labels were given at ingest and {int(said.sum())} come from annotations"
        if said.any():
            note += f" of {n_fovs} FOV{'s' if n_fovs > 1 else ''}"
        if replaced.any():
            note += (
                f"; {int(replaced.sum())} of these hold in place of another state that was given at ingest: "
                + _named_replacements(used[replaced], histories)
            )
        if len(used) < len(rows):
            note += f"; {len(rows) - len(used)} more are of cells that are not embedded"
        notes.append(f"{note}.")
    return notes


def _named_replacements(
    replaced: pd.DataFrame, histories: Mapping[tuple[str, str], AnnotationHistory]
) -> str:
    """The first few cells of `replaced` (`KEYS, column, state_given, state_said`), and how many more there are."""
    named = []
    for row in replaced.head(_NAMED).to_dict("records"):
        file = histories[row["plate"], row["fov_name"]].file_behind(row["track_id"], row["t"], row["column"])
        said = "one of the annotations' files" if file is None else f"{file.name} by {file.by}"
        named.append(
            f"{row['plate']} {row['fov_name']} track {row['track_id']} t={row['t']} {row['state_given']} → "
            f"{row['state_said']} ({said})"
        )
    if len(replaced) > _NAMED:
        named.append(
            f"and {len(replaced) - _NAMED} more, where states.parquet of raw_acquisition and annotations.parquet differ"
        )
    return ", ".join(named)


def _unjoined_notes(histories: Mapping[tuple[str, str], AnnotationHistory]) -> tuple[str, ...]:
    return tuple(
        f"Annotations of {plate} {position}: {len(history.unjoined)} could not be joined to a cell and say nothing "
        "here; unjoined.parquet of the artifact lists them."
        for (plate, position), history in histories.items()
        if len(history.unjoined)
    )
