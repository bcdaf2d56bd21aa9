"""What all options share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Accelerator = Literal["auto", "cpu", "gpu", "mps"]
STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
UNKNOWN = "unknown"


class Options(BaseModel):
    """Base of all options: types, bounds and meaning. Their values stand in ``conf/base/parameters*.yml`` alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changes_from(self, other: Options) -> dict[str, Any]:
        """Options whose values are not those of ``other``, which is of the same class."""
        common = other.model_dump()
        return {name: value for name, value in self.model_dump().items() if value != common[name]}

    @model_validator(mode="before")
    @classmethod
    def _lists_from_the_command_line(cls, given: Any) -> Any:
        """``--params`` has no lists: one word is a list of one, ``age;sex`` of two."""
        if not isinstance(given, dict):
            return given
        kinds = (tuple[str, ...], tuple[str, ...] | None)
        lists = {name for name, field in cls.model_fields.items() if field.annotation in kinds}
        return {
            name: value.split(";") if isinstance(value, str) and name in lists else value
            for name, value in given.items()
        }
