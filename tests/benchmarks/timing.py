"""How long something takes, and how fast this machine runs Python, for the benchmarks."""

import json
import time
from collections.abc import Callable


def seconds_of(do: Callable[[], object]) -> float:
    """Return the wall clock that a call takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def rounded(value: float, digits: int = 4) -> float:
    """Return a number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def fixed_python_ms(*, rounds: int = 9) -> float:
    """Return the CPU time of one fixed piece of pure Python in milliseconds, the shortest of some rounds.

    Machines differ in how fast they run Python. A driver's cost over this one can be compared between them. What else
    runs meanwhile can only add to it, and doubled the median once.
    """
    return 1000 * min(_fixed_python() for _ in range(rounds))


def _fixed_python() -> float:
    began = time.process_time()
    table = {str(number): {"epoch": number, "val_dice": number / 1000, "seconds": 1.5} for number in range(500)}
    for _ in range(10):
        lines = [json.dumps(row) for row in table.values()]
        rows = sorted((json.loads(line) for line in lines), key=lambda row: -row["val_dice"])
        table = {str(row["epoch"]): row for row in rows}
    return time.process_time() - began
