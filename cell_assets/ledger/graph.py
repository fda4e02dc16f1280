"""Walks over lineage: one recursive query per direction.

The recursion uses UNION, not UNION ALL: an artifact reached along many paths is visited once, so a ladder of
diamonds costs as many steps as it has artifacts.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.records import Edge, LineageGraph
from cell_assets.ledger.schema import input_edge, run


def ancestors(engine: LedgerEngine, connection: sa.Connection, roots: Sequence[int]) -> LineageGraph:
    """Everything that the artifacts `roots` were made from, however remotely, in any run."""
    start = _start(engine, roots)
    walk = start.union(sa.select(input_edge.c.input_id).select_from(_steps_up(start)))
    return _walked(connection, roots, _steps_up(walk))


def descendants(engine: LedgerEngine, connection: sa.Connection, roots: Sequence[int]) -> LineageGraph:
    """Everything that was made from the artifacts `roots`, however remotely."""
    start = _start(engine, roots)
    made = sa.select(run.c.artifact_id).select_from(_steps_down(start)).where(run.c.artifact_id.is_not(None))
    return _walked(connection, roots, _steps_down(start.union(made)))


def _start(engine: LedgerEngine, roots: Sequence[int]) -> sa.CTE:
    return sa.select(engine.integers(roots).subquery().c.value.label("id")).cte("walk", recursive=True)


def _steps_up(walk: sa.CTE) -> sa.Join:
    return walk.join(run, run.c.artifact_id == walk.c.id).join(input_edge, input_edge.c.run_id == run.c.id)


def _steps_down(walk: sa.CTE) -> sa.Join:
    return walk.join(input_edge, input_edge.c.input_id == walk.c.id).join(
        run, run.c.id == input_edge.c.run_id
    )


def _walked(connection: sa.Connection, roots: Sequence[int], steps: sa.Join) -> LineageGraph:
    """Run the walk: one query, which returns the edges; the artifacts are their ends."""
    found = connection.execute(
        sa.select(run.c.id, run.c.artifact_id, input_edge.c.input_id)
        .select_from(steps)
        .where(run.c.artifact_id.is_not(None))
        .order_by(run.c.id, input_edge.c.input_id)
    )
    edges = tuple(Edge(row.id, row.artifact_id, row.input_id) for row in found)
    ends = (end for edge in edges for end in (edge.output_id, edge.input_id))
    return LineageGraph(frozenset(roots), frozenset(roots).union(ends), edges)
