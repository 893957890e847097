"""Convert the record's frozen dataclasses to JSON and back, checking values against the annotations.

A dataclass whose shape on disk differs from that in memory has its own `from_json` and `to_json`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from data.errors import UserError

T = TypeVar("T")

JsonObject = dict[str, Any]
"""A JSON object as `json` reads it."""

WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
"""What error messages call the types of JSON."""


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
    return _decode(kind, values, f"{where}: ")


def to_json(record: object) -> JsonObject:
    """Return a record as the JSON object that `from_json` reads."""
    values = _encode(record)
    assert isinstance(values, dict)
    return values


def without_nan(value: Any) -> Any:
    """Return a copy in which nan is None: JSON has no nan, and most programs cannot read a file that has one."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encode(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return {field.name: _encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _decode(kind: Any, value: Any, place: str) -> Any:
    """Return a value converted to the type `kind`; `place` names the file and the path to the value in it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _decode_union(arguments, value, place)
    if origin is Literal:
        return _one_of(arguments, value, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(arguments, value, place)
    if origin in (tuple, list):
        items = [_decode(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(_list(value, place))]
        return origin(items)
    if hasattr(kind, "from_json"):
        return kind.from_json(_object(value, place), place.removesuffix(": "))
    if is_dataclass(kind):
        return _decode_dataclass(kind, _object(value, place), place)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(_one_of([member.value for member in kind], value, place))
    return _decode_plain(kind, value, place)


def _decode_union(kinds: Iterable[Any], value: Any, place: str) -> Any:
    others = [kind for kind in kinds if kind is not NoneType]
    if value is None and NoneType in kinds:
        return None
    return value if type(value) in others else _decode(others[0], value, place)


def _decode_mapping(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    key_kind, item_kind = kinds
    values = _object(value, place)
    try:
        return {key_kind(key): _decode(item_kind, item, _within(place, key)) for key, item in values.items()}
    except ValueError as error:
        raise _wrong(value, "a JSON object whose keys are whole numbers", place) from error


def _decode_dataclass(kind: Any, values: JsonObject, place: str) -> Any:
    hints = _hints(kind)
    found = {}
    for field in fields(kind):
        if field.name in values:
            found[field.name] = _decode(hints[field.name], values[field.name], _within(place, field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{_within(place, field.name)} is missing")
    return kind(**found)


def _decode_plain(kind: type, value: Any, place: str) -> Any:
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) in (int, float):
        return math.nan if math.isnan(value) else float(value)  # one nan for all, so that equal records are equal
    if type(value) is not kind:
        raise _wrong(value, WORDS[kind], place)
    return value


def _one_of(legal: Iterable[Any], value: Any, place: str) -> Any:
    if value not in legal:
        raise _wrong(value, f"one of {', '.join(map(str, legal))}", place)
    return value


def _object(value: Any, place: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _wrong(value, "a JSON object", place)
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, "a list", place)
    return value


def _wrong(value: object, legal: str, place: str) -> UserError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    return UserError(f"{place.removesuffix(': ')} is {shown}, but must be {legal}")


def _within(place: str, key: object) -> str:
    return f"{place}{key}" if place.endswith(": ") else f"{place}.{key}"


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
