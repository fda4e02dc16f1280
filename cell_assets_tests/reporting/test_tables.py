import json
from datetime import UTC, datetime

import pytest

from cell_assets.ledger.records import Number, NumberDraft
from cell_assets.reporting.tables import numbers_json, numbers_table
from cell_assets.reporting.wording import interval_text, value_text

AP = NumberDraft(
    "dynaclr/about_to_divide", "average_precision", "test tracks", 0.91824, 36, "tracks", 0.8451, 0.978
)
LOST = NumberDraft(
    "dynaclr/infection", "f1", "test tracks", None, 0, "tracks", why_missing="no row has a label"
)


def test_one_line_per_number_with_ids_and_reasons():
    recorded = Number(12, 3, 4, "E1", datetime(2026, 1, 1, tzinfo=UTC), AP)
    lines = numbers_table([recorded, LOST]).splitlines()
    assert lines[0].split() == [
        "id",
        "report",
        "metric",
        "split",
        "value",
        "95",
        "%",
        "interval",
        "n",
        "unit",
    ]
    assert lines[2].split() == [
        "12", "dynaclr/about_to_divide", "average_precision", "test", "tracks",
        "0.918", "0.845", "to", "0.978", "36", "tracks",
    ]  # fmt: skip
    assert lines[3].split() == ["–", "dynaclr/infection", "f1", "test", "tracks", "–", "–", "0", "tracks"]
    assert lines[4] == "dynaclr/infection f1: not computed, because no row has a label"


def test_columns_line_up():
    lines = numbers_table([AP, LOST]).splitlines()
    assert len({line.index("test tracks") for line in lines[2:4]} | {lines[0].index("split")}) == 1


def test_no_numbers_give_a_heading_only():
    assert len(numbers_table([]).splitlines()) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (262.0, "262"),
        (0.91824, "0.918"),
        (-0.4667, "-0.467"),
        (210.44, "210.4"),
        (0.00012, "1.2e-04"),
        (1.3684, "1.368"),
    ],
)
def test_values_read_well(value, text):
    assert value_text(value) == text


def test_an_interval_needs_both_ends():
    assert interval_text(0.1, None) == "–"
    assert interval_text(0.1, 0.2) == "0.100 to 0.200"


def test_json_holds_the_id_and_every_field_of_the_number():
    (row,) = json.loads(numbers_json([Number(12, 3, 4, "E1", datetime(2026, 1, 1, tzinfo=UTC), LOST)]))
    assert (row["id"], row["artifact_id"]) == (12, 4)
    assert row["recorded"] == "2026-01-01T00:00:00+00:00"
    assert (row["value"], row["why_missing"]) == (None, "no row has a label")


def test_a_withdrawn_number_hides_its_value_and_says_why() -> None:
    withdrawn = Number(12, 3, 4, "E1", datetime(2026, 1, 1, tzinfo=UTC), AP, "contaminated")
    table = numbers_table([withdrawn])
    assert "withdrawn" in table.splitlines()[2]
    assert f"{AP.value:.3f}" not in table
    assert table.splitlines()[-1].startswith("12 ")
    assert table.endswith("withdrawn, because contaminated")
    assert json.loads(numbers_json([withdrawn]))[0]["withdrawn_because"] == "contaminated"
