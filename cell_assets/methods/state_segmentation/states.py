"""The annotations that the network learns: those that a probe gets too, from both of their sources."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.annotated_states import KEYS, annotated_states
from cell_assets.imaging.acquisition import open_acquisition


def known_states(
    raw: Mapping[str, Path], annotations: Mapping[tuple[str, str], Path], unused_states: Collection[str] = ()
) -> pd.DataFrame:
    """`plate, fov_name, track_id, t` and one column per kind of state; no row where nothing is annotated.

    Args:
        raw: raw acquisitions by plate.
        annotations: folders by plate and position, where people annotated cells.
        unused_states: annotated values, of any column, of which nothing is known.
    """
    given = {plate: open_acquisition(folder).given_states() for plate, folder in raw.items()}
    known = annotated_states(
        {plate: frame for plate, frame in given.items() if frame is not None},
        annotations,
        pd.DataFrame(columns=KEYS),
        unused_states,
    )
    return pd.DataFrame(columns=KEYS) if known.states is None else known.states


def column_of_two_states(known: pd.DataFrame, experiment: str) -> str:
    """The only column of `known` that holds two states.

    Raises:
        BadInputError: there is none, or more than one.
    """
    found = [
        name
        for name in known.columns.difference(KEYS)
        if not pd.api.types.is_numeric_dtype(known[name]) and known[name].nunique() == 2
    ]
    if len(found) != 1:
        have = (
            "no annotation column" if not found else f"{len(found)} annotation columns ({', '.join(found)})"
        )
        raise BadInputError(
            f"experiment {experiment} has {have} of two states; annotate cells, or name one as "
            "`baseline.column` in --choices"
        )
    return str(found[0])
