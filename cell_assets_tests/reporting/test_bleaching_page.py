"""Figure and page of tolerance to photobleaching, from made-up numbers."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.evaluation.pixels.bleaching_scores import (
    DISPLACEMENT,
    PER_INTERVAL,
    accuracy_name,
    at_share,
    lost_name,
    numbers_without_light,
)
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import NumberDraft, ReadReceipt
from cell_assets.reporting.bleaching_page import BleachingContent, bleaching_figure, render_bleaching

SETTINGS = BleachingParameters()
COLUMNS = ("infection_state", "division_state")


def stated(name: str, value: float) -> NumberDraft:
    return NumberDraft("dynaclr/bleaching", name, "test FOVs", value, 12, "FOVs", value - 0.05, value + 0.04)


def numbers(accuracy: float = 0.9) -> tuple[NumberDraft, ...]:
    """Accuracies that fall by 0.4 times the light that is lost, displacements that rise by twice of it."""
    found = [
        stated(at_share(accuracy_name(column), share), accuracy - 0.1 * n - 0.4 * (1 - share))
        for n, column in enumerate(COLUMNS)
        for share in SETTINGS.remaining
    ]
    for share in SETTINGS.dimmed:
        found += [stated(at_share(lost_name(column), share), 0.4 * (1 - share)) for column in COLUMNS]
        found += [stated(at_share(DISPLACEMENT, share), 0.2 * (1 - share))]
        found += [stated(at_share(PER_INTERVAL, share), 2 * (1 - share))]
    return tuple(found)


def content(drafts: tuple[NumberDraft, ...]) -> BleachingContent:
    return BleachingContent(
        title="Tolerance of <E1>",
        subtitle="40 cells",
        simulated=True,
        split=SplitStatement(SplitUnit.FOV, ("train", "val"), "test", 30, 12, 60, None),
        columns=COLUMNS,
        without={"death": "every annotated cell is alive"},
        cells_sentence="40 of 80 test cell images were taken.",
        interval_min=30.0,
        numbers=drafts,
        figures=(bleaching_figure(COLUMNS, drafts),),
        notes=("A note.",),
        inputs=(ReadReceipt(1, "raw_acquisition", "P1", "ab" * 32),),
        settings=SETTINGS,
        parameters={"seed": 0},
    )


def test_the_page_says_what_was_dimmed_and_shows_every_number() -> None:
    page = render_bleaching(content(numbers()))
    for said in (
        "Tolerance of &lt;E1&gt;",
        "Simulated data.",
        "40 of 80 test cell images were taken.",
        "with 75 %, 50 %, 25 % of its light",
        "less than one frame (30 min) of its life does",
        "death has no probe: every annotated cell is alive.",
        "displacement at 25 % of the light, one frame = 1",
        "A note.",
        "ab" * 32,
    ):
        assert said in page, said
    for number in numbers():
        assert f"<code>{number.name}</code>" in page
    assert page == render_bleaching(content(numbers()))


def test_where_nothing_can_bleach_the_cards_say_so() -> None:
    why = "the checkpoint sees Phase, and none of them is fluorescence that could bleach"
    blind = numbers_without_light(why, COLUMNS, "dynaclr", "test FOVs", SETTINGS)
    page = render_bleaching(replace(content(blind), figures=()))
    assert page.count('<div class="value none">not computed</div>') == 3
    assert why in page


def test_a_worse_probe_is_drawn_lower() -> None:
    def height(accuracy: float) -> float:
        drawn = Image.open(io.BytesIO(bleaching_figure(COLUMNS, numbers(accuracy)).png)).convert("RGB")
        pixels = np.asarray(drawn).astype(np.int64)
        # The first column's colour; its legend does not move.
        first = np.abs(pixels - [0x0B, 0x6E, 0x99]).sum(axis=2) < 12
        return float(np.flatnonzero(first.any(axis=1))[0])

    assert height(0.6) > height(0.9) + 50
