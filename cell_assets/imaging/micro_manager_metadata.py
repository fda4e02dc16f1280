"""What Micro-Manager's metadata states about size and time, in its stacks and in NDTiff alike."""

from collections.abc import Mapping

Metadata = Mapping[str, object]
"""A JSON object as Micro-Manager wrote it."""


def pixel_size_um(summary: Metadata, plane: Metadata) -> float | None:
    """Side of a pixel; None when the objective was not calibrated."""
    return _positive(plane.get("PixelSizeUm"), plane.get("PixelSize_um"), summary.get("PixelSize_um"))


def z_step_um(summary: Metadata) -> float | None:
    """Distance of the planes; None when none was set."""
    return _positive(summary.get("z-step_um"))


def interval_min(summary: Metadata) -> float | None:
    """Time between frames; None when frames followed each other as fast as they could."""
    milliseconds = _positive(summary.get("Interval_ms"))
    return None if milliseconds is None else milliseconds / 60_000


def _positive(*stated: object) -> float | None:
    """The first that states a size: 0 is how Micro-Manager says that there is none."""
    for value in stated:
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    return None
