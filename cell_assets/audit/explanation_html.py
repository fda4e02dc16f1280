"""An explanation as one self-contained page: no script, no outside resource, every value escaped."""

import json
from importlib import resources

from jinja2 import Environment, StrictUndefined

from cell_assets.audit.explanation import Explanation
from cell_assets.audit.explanation_text import number_text
from cell_assets.ledger.records import Run


def to_html(explanation: Explanation) -> str:
    """The page: the number, then every artifact behind it with its runs, each input a link to its own section."""
    template = resources.files("cell_assets.audit").joinpath("explanation.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(template)
    return page.render(
        headline=number_text(explanation.number),
        number=explanation.number,
        artifacts=explanation.artifacts,
        known={one.artifact.id: one.artifact for one in explanation.artifacts},
        sources=explanation.sources,
        n_deeper=explanation.n_deeper,
        as_of=None if explanation.as_of is None else explanation.as_of.isoformat(timespec="seconds"),
        parameters=_parameters,
    )


def _parameters(run: Run) -> str:
    return json.dumps(dict(run.parameters), indent=1, ensure_ascii=False, sort_keys=True)
