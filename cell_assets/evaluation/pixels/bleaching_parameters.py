"""What a person may choose about tolerance to photobleaching; apart from the computation, which imports torch."""

from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ALL_LIGHT = 1.0


class BleachingParameters(BaseModel):
    """How far test cells are dimmed, and how many of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    remaining: tuple[float, ...] = (ALL_LIGHT, 0.75, 0.5, 0.25)
    """Shares of the light that remain, from all of it downwards, in whole percents."""
    most_cells: int = Field(default=2000, ge=1)
    """So many test cell images at most are dimmed, drawn at random; all of them where there are fewer."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of FOVs or tracks."""
    seed: int = Field(default=0, ge=0)
    """Of the choice of cells, of the noise of fewer photons and of resampling."""

    @property
    def dimmed(self) -> tuple[float, ...]:
        """The shares that are less than all of the light."""
        return self.remaining[1:]

    @model_validator(mode="after")
    def _shares_descend(self) -> Self:
        shares = self.remaining
        descends = all(later < earlier for earlier, later in pairwise(shares))
        if len(shares) < 2 or shares[0] != ALL_LIGHT or shares[-1] <= 0 or not descends:
            raise ValueError(
                f"remaining={list(shares)} must start with 1 and descend to one or more shares above 0"
            )
        if any(abs(share - percent(share) / 100) > 1e-9 for share in shares):
            raise ValueError(f"remaining={list(shares)} must be whole percents, by which numbers are named")
        return self


def percent(share: float) -> int:
    """A share of the light as numbers are named by it."""
    return round(100 * share)
