"""A history in AiiDA: `python aiida_graph.py build HISTORY.json` or `walk HOW TOP REPEATS`, with aiida-core.

A profile on SQLite in the home folder, without a broker. An artifact is a Data node and the run that made it a
CalculationNode, as AiiDA's provenance wants it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiida import load_profile, orm
from aiida.common.links import LinkType
from aiida.manage.configuration import create_profile, get_config
from aiida.orm.entities import EntityTypes
from aiida.tools.graph.graph_traversers import traverse_graph

PROFILE = "benchmark"
UPWARD = (LinkType.INPUT_CALC, LinkType.CREATE)


def build(artifacts: list[int], edges: list[tuple[int, int]], top: int) -> dict[str, float]:
    """Store the history by the bulk insert of AiiDA's own import; returns the seconds and the node of `top`.

    Node by node, AiiDA stored 17 artifacts a second.

    Args:
        edges: an artifact, and one that the run which made it read.
    """
    config = get_config(create=True)
    if PROFILE not in config.profile_names:
        where = {"filepath": str(Path.home() / "aiida-storage")}
        create_profile(
            config, storage_backend="core.sqlite_dos", storage_config=where, name=PROFILE, email="a@localhost"
        )
        config.store()
    load_profile(PROFILE)
    user = orm.User.collection.get_default()
    storage = user.backend

    def nodes(kind: type[orm.Node]) -> dict[int, int]:
        rows = [{"node_type": kind.class_node_type, "user_id": user.pk} for _ in artifacts]
        stored = storage.bulk_insert(EntityTypes.NODE, rows, allow_defaults=True)
        return dict(zip(artifacts, stored, strict=True))

    def links() -> Iterator[dict[str, object]]:
        create, read = LinkType.CREATE.value, LinkType.INPUT_CALC.value
        for one in artifacts:
            yield {"input_id": runs[one], "output_id": data[one], "type": create, "label": "output"}
        for made, source in edges:
            yield {
                "input_id": data[source],
                "output_id": runs[made],
                "type": read,
                "label": f"input_{source}",
            }

    started = time.perf_counter()
    with storage.transaction():
        data, runs = nodes(orm.Data), nodes(orm.CalculationNode)
        storage.bulk_insert(EntityTypes.LINK, list(links()), allow_defaults=True)
    return {"seconds": time.perf_counter() - started, "top": data[top]}


def query_builder(top: int) -> int:
    """Ancestors by the documented query; `distinct`, as it gives a node once for every path to it."""
    query = orm.QueryBuilder()
    query.append(orm.Node, filters={"id": top}, tag="top")
    query.append(orm.Data, with_descendants="top", project="id")
    return len(query.distinct().all(flat=True))


def traverser(top: int) -> int:
    """Ancestors by the walk of AiiDA's own export: a query per level, and visited nodes kept in Python."""
    found = traverse_graph([top], links_backward=UPWARD, get_links=True)
    query = orm.QueryBuilder().append(orm.Data, filters={"id": {"in": found["nodes"]}}, project="id")
    return len(query.all(flat=True)) - 1


WALKS: dict[str, Callable[[int], int]] = {"query_builder": query_builder, "traverser": traverser}


def walk(how: str, top: int, repeats: int) -> dict[str, object]:
    """Milliseconds of each walk, and how many artifacts the last one found."""
    load_profile(PROFILE)
    took, found = [], 0
    for _ in range(repeats):
        started = time.perf_counter()
        found = WALKS[how](top)
        took.append(1000 * (time.perf_counter() - started))
    return {"ms": took, "artifacts": found}


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "build":
        said = build(**json.loads(Path(words[0]).read_text(encoding="utf-8")))
    else:
        said = walk(words[0], int(words[1]), int(words[2]))
    print(json.dumps(said))
