"""Settings that every carrier has, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from sipsms.core.courier_id import CourierId
from sipsms.core.segmentation import PieceUnit
from sipsms.core.validators import Count, Rate
from sipsms.core.yaml_file import Model
from sipsms.messaging.planner import Limits, TextLimit


class CarrierOptions(Model):
    """Settings that every carrier has."""

    rate: Rate | None = None  # messages a second, at most
    concurrency: Count | None = None  # requests under way at once
    weight: Count = 1  # its share where a rule balances
    max_text: Annotated[int, Field(ge=0)] = 0  # a longer text goes in pieces of this size; 0: as it is
    # What max_text counts; septets: real SMS, 160 or 70; segments (type smpp only): as parts of one long SMS.
    text_unit: PieceUnit = "septets"
    long_texts: Literal["split", "mms"] = "split"  # what becomes of a longer text
    mms: bool = False  # it takes media
    sender_name: str = ""  # shown instead of the number, where the carrier allows that
    sender_length: Annotated[int, Field(ge=1, le=16)] = 11

    @field_validator("text_unit")
    @classmethod
    def _has_segments(cls, value: PieceUnit) -> PieceUnit:
        if value == "segments" and not cls._joins_segments:
            raise ValueError("expected characters or septets: only type smpp sends segments of one long SMS")
        return value

    @property
    def kind(self) -> str:
        """The carrier's type, as the configuration has it."""
        return str(getattr(self, "type", ""))

    @property
    def text_limit(self) -> TextLimit | None:
        """Limit above which a text goes in pieces; None if each text goes as it is."""
        cuts = self.max_text or self.text_unit == "segments"
        return (
            TextLimit(self.max_text, self.text_unit) if cuts and not (self.long_texts == "mms" and self.mms) else None
        )

    _joins_segments: ClassVar[bool] = False


def apply(carriers: Mapping[str, CarrierOptions], limits: Limits) -> None:
    """Limit deliveries to what the carriers of the configuration take."""
    options = {CourierId.of_carrier(name): one for name, one in carriers.items()}
    limits.texts = {courier: limit for courier, one in options.items() if (limit := one.text_limit) is not None}
    limits.without_mms = frozenset(courier for courier, one in options.items() if not one.mms)
