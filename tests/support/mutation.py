"""Random damage to files: to their bytes, and to the values of their JSON or of another tree of values."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**300,
    10**400,
    1e308,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "a",
    "\0\r\n\x1b[2J",
    "\ud800",
    "../../etc/passwd",
    "x" * 100_000,
    [],
    [[]],
    {},
    {"": {}},
)
"""Values that no field of a file expects."""


def mutate(old: bytes, rng: np.random.Generator) -> bytes:
    """Return the content of a file after bits were flipped, or bytes cut off, put in, exchanged or written over."""
    if not old:
        return rng.bytes(8)
    new = bytearray(old)
    kind, at, length = rng.integers(5), int(rng.integers(len(old))), int(rng.integers(1, 33))
    if kind == 0:
        for where in rng.integers(0, len(new), rng.integers(1, 6)):
            new[where] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del new[at:]
    elif kind == 2:
        new[at:at] = rng.bytes(length)
    elif kind == 3:
        other = int(rng.integers(len(old)))
        new[at : at + length], new[other : other + length] = new[other : other + length], new[at : at + length]
    else:
        head = int(rng.integers(min(len(new), 128)))  # headers are a small part, and the most fragile
        new[head : head + 4] = rng.bytes(4)
    return bytes(new)


def mutate_json(text: str, rng: np.random.Generator) -> str:
    """Return JSON in which values were replaced by odd ones, left out or doubled; the text itself if it is no JSON."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in range(int(rng.integers(1, 3))):
        values = mutate_value(values, rng)
    written = json.dumps(values)
    kind = rng.integers(40)
    if kind == 0:
        return "[" * 100_000 + written
    if kind == 1:
        return written.replace("1", "1" * 5000, 1)  # a number of more digits than Python reads
    return written


def mutate_value(value: Any, rng: np.random.Generator, odd: Sequence[Any] = ODD_VALUES) -> Any:
    """Return a tree of values in which one was replaced by an odd one, left out or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = list(value)[rng.integers(len(value))]
        kind = rng.integers(8)
        if kind == 0:
            return {other: one for other, one in value.items() if other != name}
        if kind == 1:
            return value | {f"{name}2": value[name]}
        return value | {name: mutate_value(value[name], rng, odd)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        if rng.integers(4) == 0:
            return value * int(rng.choice([0, 2, 1000]))
        return [*value[:at], mutate_value(value[at], rng, odd), *value[at + 1 :]]
    return odd[int(rng.integers(len(odd)))]


def fuzz_seed() -> int:
    """Return the seed in the environment variable FUZZ_SEED, which a failed test names; a new one without it."""
    return int(os.environ.get("FUZZ_SEED") or np.random.default_rng().integers(10**6))
