"""Types of the keys in the schema: which values are valid, and how an error message describes them."""

import re
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

# Absolute values that float32 holds with full precision.
SMALLEST, LARGEST = 1.2e-38, 3.4e38


class Expected(str):
    """Metadata of a type: its description in an error message, if its bounds do not say it."""


def _fits_float32(value: float) -> float:
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise ValueError  # in torch it would become 0 or infinity
    return value


def matches(pattern: str) -> AfterValidator:
    """Return a validator for text that matches a regular expression as a whole."""
    return AfterValidator(lambda text: text if re.fullmatch(pattern, text) else _refuse())


def _refuse() -> None:
    raise ValueError


Count = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[int, Ge(1), Lt(2**63)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Float = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_fits_float32)]
AboveZero = Annotated[Float, Gt(0)]
AtLeastZero = Annotated[Float, Ge(0)]
AtLeastOne = Annotated[Float, Ge(1)]
Probability = Annotated[Float, Ge(0), Le(1)]
BelowOne = Annotated[Float, Ge(0), Lt(1)]
Fraction = Annotated[Float, Gt(0), Le(1)]
Text = Annotated[str, Field(min_length=1)]
Directory = Annotated[Text, Expected("the path of a directory")]
File = Annotated[Text, Expected("the path of a file")]
PartConfig = Annotated[dict[str, Any], Expected("an object with a _target_")]


class Section(BaseModel):
    """The keys of one part of the configuration.

    Attributes:
        targets: the classes and functions, as `_target_` names them, whose arguments these are.
        is_complete: whether each key needs a value, and not only the arguments without a default.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    targets: ClassVar[tuple[str, ...]] = ()
    is_complete: ClassVar[bool] = False

    target: Text = Field(default="", alias="_target_")

    def conflicts(self, *, multirun: bool) -> Iterable[str]:
        """Return a line for each value that cannot be combined with another; it starts with the name of a key.

        Args:
            multirun: whether the run is a job of a sweep.
        """
        return ()

    @model_validator(mode="after")
    def _check_conflicts(self, info: ValidationInfo) -> "Section":
        if lines := list(self.conflicts(multirun=(info.context or {}).get("multirun", False))):
            raise PydanticCustomError("conflict", "conflict", {"lines": lines})
        return self


def describe(field: FieldInfo) -> str:
    """Return what a field takes, in words."""
    return _joined(_alternatives(field.annotation, field.metadata))


_BOUNDS: dict[type, str] = {Ge: "of at least", Gt: "greater than", Le: "at most", Lt: "less than"}
_NAMES: dict[Any, str] = {
    bool: "true or false",
    dict: "keys in braces",
    float: "a number",
    int: "an integer",
    NoneType: "null",
}


def _alternatives(hint: Any, marks: Iterable[Any] = ()) -> Iterator[str]:
    marks = tuple(marks)
    origin, arguments = get_origin(hint), get_args(hint)
    if texts := [mark for mark in marks if isinstance(mark, Expected)]:
        yield texts[0]
    elif origin is Annotated:
        yield from _alternatives(arguments[0], (*arguments[1:], *marks))
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from _alternatives(each, marks)
    elif origin is Literal:
        yield from map(str, arguments)
    elif origin is list:
        lengths = [mark for mark in marks if isinstance(mark, Len)]
        length = "".join(f" of {'' if mark.max_length else 'at least '}{mark.min_length}" for mark in lengths)
        yield f"a list in brackets{length}, each {_joined(_alternatives(arguments[0]))}"
    else:
        is_section = isinstance(hint, type) and issubclass(hint, Section)
        name = "keys in braces" if is_section else _NAMES.get(origin or hint, "text")
        yield " ".join([name, " and ".join(_bounds(marks))]).strip()


def _bounds(marks: Iterable[Any]) -> Iterator[str]:
    for mark in marks:
        bound = getattr(mark, type(mark).__name__.lower(), None)  # such as `Ge.ge`
        if type(mark) in _BOUNDS and bound != 2**63:
            yield f"{_BOUNDS[type(mark)]} {bound}"


def _joined(parts: Iterable[str]) -> str:
    *first, last = dict.fromkeys(parts)
    return f"{', '.join(first)} or {last}" if first else last
