"""Walks over lineage, against networkx and against ladders of diamonds."""

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Commit, Edge
from cell_assets_tests.ledger.making import make

LAYERS = st.lists(st.lists(st.integers(min_value=0, max_value=200), max_size=5), min_size=1, max_size=14)
"""One list per artifact: indices, modulo the number of older artifacts, of what it is made from."""


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(layers=LAYERS, remade=st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=4))
def test_walks_agree_with_networkx(
    ledger: Ledger, layers: list[list[int]], remade: list[tuple[int, int]]
) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    made: list[Commit] = []
    example = ledger.now().isoformat()
    for place, picks in enumerate(layers):
        inputs = [made[pick % place] for pick in picks] if place else []
        made.append(make(ledger, "node", f"{example} {place}", inputs=inputs))
        graph.add_node(made[-1].artifact.id)
        graph.add_edges_from((one.artifact.id, made[-1].artifact.id) for one in inputs)
    for later, earlier in remade:
        if earlier < later < len(made):
            make(ledger, "node", made[later].artifact.partition, inputs=[made[earlier]])
            graph.add_edge(made[earlier].artifact.id, made[later].artifact.id)
    for commit in made:
        node = commit.artifact.id
        up, down = ledger.ancestors([node]), ledger.descendants([node])
        assert up.artifact_ids == nx.ancestors(graph, node) | {node}
        assert down.artifact_ids == nx.descendants(graph, node) | {node}
        assert {(edge.input_id, edge.output_id) for edge in up.edges} == set(
            graph.subgraph(up.artifact_ids).edges
        )
        assert {(edge.input_id, edge.output_id) for edge in down.edges} == {
            (source, target) for source, target in graph.edges if source in down.artifact_ids
        }
    ends = [made[0].artifact.id, made[-1].artifact.id]
    both = set(ends) | nx.ancestors(graph, ends[0]) | nx.ancestors(graph, ends[1])
    assert ledger.ancestors(ends).artifact_ids == both


def test_a_ladder_of_diamonds_costs_its_size_not_its_paths(ledger: Ledger) -> None:
    rungs = 20
    bottom = make(ledger, "rung", "0")
    top = bottom
    for rung in range(1, rungs):
        left = make(ledger, "left", str(rung), inputs=[top])
        right = make(ledger, "right", str(rung), inputs=[top])
        top = make(ledger, "rung", str(rung), inputs=[left, right])
    walked = ledger.ancestors([top.artifact.id])
    assert len(walked.artifact_ids) == 3 * (rungs - 1) + 1
    assert len(walked.edges) == 4 * (rungs - 1)
    assert ledger.descendants([bottom.artifact.id]).artifact_ids == walked.artifact_ids


def test_no_roots_reach_nothing(ledger: Ledger) -> None:
    make(ledger, "raw")
    assert ledger.ancestors([]).artifact_ids == frozenset()
    assert ledger.descendants([]).edges == ()


def test_every_run_that_used_an_input_is_an_edge(ledger: Ledger) -> None:
    raw = make(ledger, "raw")
    first = make(ledger, "tracks", inputs=[raw])
    again = make(ledger, "tracks", inputs=[raw])
    edges = tuple(Edge(run, first.artifact.id, raw.artifact.id) for run in (first.run_id, again.run_id))
    assert ledger.ancestors([first.artifact.id]).edges == edges
    assert ledger.descendants([raw.artifact.id]).edges == edges


@pytest.mark.parametrize("width", [1000])
def test_a_thousand_inputs_are_recorded_and_walked(ledger: Ledger, width: int) -> None:
    tables = [make(ledger, "patch_table", str(index)) for index in range(width)]
    made = make(ledger, "checkpoint", "E1", inputs=tables)
    walked = ledger.ancestors([made.artifact.id])
    assert len(walked.artifact_ids) == width + 1
