"""Kinds of channels, and what a channel's name says about its kind."""

import re
from enum import StrEnum


class ChannelKind(StrEnum):
    """How a channel's grey values come about, which decides how they are normalised."""

    PHASE = "phase"
    """Transmitted light without labels: values on both sides of a ground."""
    FLUORESCENCE = "fluorescence"
    """Light from labels: values above a dark ground."""


_PHASE_NAME = re.compile(
    r"phase|(^|[^a-z])(bf|ph\d?|dic|qpi|trans|tl)([^a-z]|$)|bright.?field|label.?free|retardance",
    re.IGNORECASE,
)


def infer_channel_kind(name: str) -> ChannelKind:
    """PHASE where the name says so (Phase, BF, brightfield, DIC, QPI, label-free …), else FLUORESCENCE.

    A guess for a default that is then recorded; a person may state the kind instead.
    """
    return ChannelKind.PHASE if _PHASE_NAME.search(name) else ChannelKind.FLUORESCENCE
