"""Convert the record's frozen dataclasses to JSON and back; pydantic checks the values against the annotations.

A dataclass whose shape on disk differs from that in memory has a `model_validator` and a `model_serializer`.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator
from pydantic_core.core_schema import float_schema, no_info_before_validator_function

from data.errors import UserError

T = TypeVar("T")

JsonObject = dict[str, Any]
"""A JSON object as `json` reads it."""

LEGAL = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a JSON object",
    "dataclass_type": "a JSON object",
    "greater_than_equal": "a whole number of at most 64 bits",
    "less_than_equal": "a whole number of at most 64 bits",
}
"""What error messages call legal, by pydantic's type of error."""

NOT_ON_DISK = {"[key]", "float", "bool", "others", "objectives", "by_metric"}
"""Parts of pydantic's path to a value that the file does not have: its own marks, and fields that are flat on disk."""


def check_version(values: JsonObject, newest: int, where: str) -> None:
    """Check that this program can read a file, or a line of one; those without a version are of version 1.

    Raises:
        UserError: A newer version of the program wrote it, or the version is not a number.
    """
    version = values.get("version", 1)
    if type(version) is not int or version < 1:
        raise UserError(f"{where}: version is {version!r}, but must be a whole number from 1 on")
    if version > newest:
        raise UserError(
            f"{where} was written by a newer version of this program: it has format {version}, and this one reads "
            f"{'format 1' if newest == 1 else f'formats 1 to {newest}'}. Upgrade this program, or use the one that "
            "wrote it"
        )


def from_json(kind: type[T], values: object, where: str) -> T:
    """Return a record of the given dataclass. Keys that the dataclass does not have are ignored.

    For a float, null and NaN both become nan, because JSON has no nan.

    Args:
        where: The file, and the line of it, as an error names them.

    Raises:
        UserError: A key is missing, or a value has the wrong type.
    """
    try:
        return _validator(kind).validate_python(values)
    except ValidationError as error:
        raise UserError(_explain(error.errors(include_url=False), where)) from None


def to_json(record: object) -> JsonObject:
    """Return a record as the JSON object that `from_json` reads."""
    return _adapter(type(record)).dump_python(record, warnings=False)


def without_nan(value: Any) -> Any:
    """Return a copy in which nan is None: JSON has no nan, and most programs cannot read a file that has one."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _explain(problems: Sequence[ErrorDetails], where: str) -> str:
    """Return the first mistake that pydantic found in this program's words."""
    problem = problems[0]
    keys = [key for key in problem["loc"] if key not in NOT_ON_DISK and not str(key).startswith("function-")]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    place, context = f"{where}: {path}" if path else where, problem.get("ctx", {})
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "value_error":
        return f"{place}: {context['error']}"
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    # A value that may be of several types has a problem for each of them.
    legal = dict.fromkeys(
        LEGAL[one["type"]] for one in problems if one["input"] is problem["input"] and one["type"] in LEGAL
    )
    if expected := " or ".join(legal) or context.get("expected"):
        return f"{place} is {shown}, but must be {expected}"
    return f"{place} is {shown}: {problem['msg']}"


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)


@cache
def _validator(kind: type) -> SchemaValidator:
    return SchemaValidator(_with_types_of_json(_adapter(kind).core_schema))


def _with_types_of_json(schema: Any) -> Any:
    """Return pydantic's schema of a type, changed so that "1" and true are not numbers, and a float may be null.

    Pydantic's strict mode would also refuse lists for tuples and text for enums.
    """
    if isinstance(schema, list):
        return [_with_types_of_json(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "int":  # larger ones cannot be divided
        return schema | {"strict": True, "ge": -(2**63), "le": 2**64}
    if schema.get("type") == "bool":
        return schema | {"strict": True}
    if schema.get("type") == "float":
        return no_info_before_validator_function(_nan_for_null, float_schema(strict=True))
    # The keys of a JSON object are always text, even where they stand for numbers.
    return {key: item if key == "keys_schema" else _with_types_of_json(item) for key, item in schema.items()}


def _nan_for_null(value: Any) -> Any:
    return math.nan if value is None or value != value else value  # one nan for all, so that equal records are equal
