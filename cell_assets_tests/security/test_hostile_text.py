"""Text that somebody made to harm: YAML and JSON that say far more than they hold."""

from pathlib import Path

import pytest

from cell_assets.cli.options import json_object
from cell_assets.errors import BadInputError
from cell_assets.landing.side_files import parse_experiment_file, parse_plate_file
from cell_assets_tests.anonymous_memory import Peak


def laughs(field: str) -> bytes:
    """Ten lines that stand for ten billion values, in a field of the file."""
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 10)]
    return "\n".join([*lines, f"{field}: *a9", "plate: P1"]).encode()


@pytest.mark.parametrize("parse", [parse_plate_file, parse_experiment_file])
@pytest.mark.parametrize("field", ["experiment", "nothing"])
def test_aliases_are_refused(parse: object, field: str) -> None:
    assert callable(parse)
    with Peak() as peak, pytest.raises(BadInputError) as refused:
        parse(laughs(field), "side.yaml")
    assert str(refused.value) == (
        "side.yaml: line 2: *a0 stands for what is written elsewhere; write it as YAML"
    )
    assert peak.mib < 100


@pytest.mark.parametrize(
    "content", ["!!python/object/apply:os.system ['true']", "a: !!python/name:os.system", "a: !!binary zzz="]
)
def test_tags_make_nothing(content: str) -> None:
    with pytest.raises(BadInputError, match=r"^side.yaml: .*"):
        parse_plate_file(content.encode(), "side.yaml")


def test_json_within_json_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    path.write_text('{"a":' * 200_000)
    with pytest.raises(BadInputError, match=r"choices.json: nests its values too deeply"):
        json_object(path)
