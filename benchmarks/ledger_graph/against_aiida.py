"""The ledger beside AiiDA: both are asked for the ancestors of the same artifact in the same history.

AiiDA runs on SQLite, in an environment that is made for it and thrown away.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from generated_ledger import fill, ladder, number_of_an_experiment
from timing import milliseconds, spread

from benchmarks.throwaway import answer, environment
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import LineageGraph
from cell_assets.settings import Settings

SCRIPT = Path(__file__).resolve().parent / "competitors" / "aiida_graph.py"
REQUIREMENT = "aiida-core==2.9.4"
PLATES = 100
ROUNDS = 3
RUNGS = (4, 8, 12, 14, 16, 18, 20, 36)
LIMIT_S = 60.0
"""A walk that takes longer is stopped, and higher ladders are not tried."""


def measure(home: Path) -> dict[str, object]:
    """A number's ancestors by both, turn about, and ladders of diamonds until AiiDA takes too long."""
    home.mkdir()
    home.chmod(0o755)
    aiida = AiiDA(environment(home, REQUIREMENT), home)
    with (
        open_database(Settings(home=home, database_url=None)) as addresses,
        Ledger.open(addresses.ledger) as ledger,
    ):
        fill(addresses.ledger, PLATES)
        report, _ = number_of_an_experiment(ledger)
        everything = ledger.ancestors(range(1, report + 1))
        top, seconds = aiida.build(everything, report)
        n_artifacts = len(everything.artifact_ids)
        print(f"AiiDA holds {n_artifacts} artifacts after {seconds:.0f} s", flush=True)
        n_ancestors = len(ledger.ancestors([report]).artifact_ids) - 1
        ledger_ms, query_ms, traverser_ms = [], [], []
        for _ in range(ROUNDS):
            ledger_ms.append(milliseconds(lambda: ledger.ancestors([report]), 3)["median"])
            query_ms += aiida.walk("query_builder", top, n_ancestors, 3)
            traverser_ms += aiida.walk("traverser", top, n_ancestors, 1)
        return {
            "aiida": REQUIREMENT,
            "artifacts": n_artifacts,
            "edges": len(everything.edges),
            "artifacts_stored_per_s": round(n_artifacts / seconds),
            "ancestors": n_ancestors,
            "ledger_ms": spread(ledger_ms),
            "aiida_query_builder_ms": spread(query_ms),
            "aiida_traverser_ms": spread(traverser_ms),
            "diamonds": dict(diamonds(ledger, aiida)),
        }


def diamonds(ledger: Ledger, aiida: "AiiDA") -> Iterator[tuple[int, dict[str, float | str]]]:
    """For each height of a ladder, the milliseconds of the ledger and of AiiDA's query."""
    within_limit = True
    for rungs in RUNGS:
        top = ladder(ledger, rungs)
        graph = ledger.ancestors([top])
        n_ancestors = len(graph.artifact_ids) - 1
        node, _ = aiida.build(graph, top)
        took: dict[str, float | str] = {
            "ledger_ms": milliseconds(lambda top=top: ledger.ancestors([top]))["median"],
            "aiida_traverser_ms": round(aiida.walk("traverser", node, n_ancestors, 1)[0], 1),
            "aiida_query_builder_ms": "not tried",
        }
        if within_limit:
            try:
                took["aiida_query_builder_ms"] = round(
                    aiida.walk("query_builder", node, n_ancestors, 1)[0], 1
                )
            except subprocess.TimeoutExpired:
                took["aiida_query_builder_ms"] = f"stopped after {LIMIT_S:.0f} s"
                within_limit = False
        print(f"{rungs} diamonds: {took}", flush=True)
        yield rungs, took


@dataclass(frozen=True)
class AiiDA:
    """An environment with AiiDA, and the home folder of a profile."""

    python: Path
    home: Path

    def build(self, graph: LineageGraph, top: int) -> tuple[int, float]:
        """Store a history of the ledger; returns the node of the artifact `top`, and the seconds that it took."""
        history = {
            "artifacts": sorted(graph.artifact_ids),
            "edges": [(edge.output_id, edge.input_id) for edge in graph.edges],
            "top": top,
        }
        file = self.home / "history.json"
        file.write_text(json.dumps(history), encoding="utf-8")
        said = answer(self.python, SCRIPT, "build", file, home=self.home)
        return said["top"], said["seconds"]

    def walk(self, how: str, top: int, n_ancestors: int, repeats: int) -> list[float]:
        """Milliseconds of walks from `top`, after one that warms up; raises TimeoutExpired past the limit."""
        words = ("walk", how, str(top), str(repeats + 1))
        said = answer(self.python, SCRIPT, *words, home=self.home, timeout_s=LIMIT_S)
        assert said["artifacts"] == n_ancestors, said
        return said["ms"][1:]
