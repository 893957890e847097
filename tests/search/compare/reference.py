"""Reference computations and tables of comparisons, for the tests of this folder."""

import itertools

import numpy as np
from scipy.stats import rankdata

from search.compare.__main__ import all_tables
from search.compare.experiments import read_experiments
from search.compare.significance import compare_pairs
from search.compare.table import Table
from tests.support.experiments import DICES


def enumerated_signed_rank_p(differences) -> float:
    """Return the two-sided p by its definition: of all ways to give the signs, those at least as extreme."""
    values = np.array([value for value in differences if value])
    ranks = rankdata(np.abs(values))
    sums = np.array([ranks[list(signs)].sum() for signs in itertools.product([False, True], repeat=len(values))])
    seen, middle = ranks[values > 0].sum(), ranks.sum() / 2
    return float(np.mean(np.abs(sums - middle) >= abs(seen - middle) - 1e-9))


def shifted(*shifts):
    """Return test Dice that differ from DICES by these; the last for all others."""
    shifts = [*shifts, *[shifts[-1]] * len(DICES)]
    return {patient: dice + shift for (patient, dice), shift in zip(DICES.items(), shifts, strict=False)}


def tables_of(tmp_path, *names) -> dict[str, Table]:
    experiments = read_experiments(tmp_path, names)
    return {table.id: table for table in all_tables(experiments, compare_pairs(experiments))}


def cells(table) -> dict[str, tuple[str, ...]]:
    return {label: tuple(rest) for label, *rest in table.rows}
