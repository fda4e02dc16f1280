"""Bars on a standard error that is no terminal."""

import io
from contextlib import redirect_stderr

from cell_assets.cli.progress import BYTES, progress_in_turn


def test_bars_in_turn_move_the_cursor_nowhere() -> None:
    shown = io.StringIO()
    with redirect_stderr(shown), progress_in_turn(BYTES, " entries") as (step, history_step):
        step(1, 2, "a")
        step(2, 2, "b")
        history_step(1, 3, "")
        history_step(3, 3, "")
    first, second, rest = shown.getvalue().split("\n")
    assert "2.00/2.00" in first
    assert "3/3" in second
    assert rest == ""
    assert "\x1b" not in shown.getvalue()


def test_a_bar_that_never_steps_is_not_shown() -> None:
    shown = io.StringIO()
    with redirect_stderr(shown), progress_in_turn(BYTES, " entries") as (_, history_step):
        history_step(1, 1, "")
    assert shown.getvalue().count("\n") == 1
    assert "1/1" in shown.getvalue()
