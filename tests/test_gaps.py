"""Missing cells and labels of any type."""

from decimal import Decimal

import numpy as np
import pytest

from imbtorch._common.gaps import is_missing

MISSING = [
    None, float("nan"), np.float32("nan"), np.float64("nan"), np.float16("nan"),
    np.datetime64("NaT"), np.timedelta64("NaT"), Decimal("NaN"), Decimal("sNaN"),
]  # fmt: skip
PRESENT = [
    0, 10**400, 0.0, float("inf"), np.float32(1), np.int64(-1), True, "", "nan", b"", (), [],
    np.datetime64("2026-01-01"), Decimal(0), object(), 1j, np.arange(3),
]  # fmt: skip


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_values(value):
    assert is_missing(value) is True


@pytest.mark.parametrize("value", PRESENT, ids=lambda value: type(value).__name__)
def test_values(value):
    assert is_missing(value) is False


def test_gaps_of_pandas():
    pd = pytest.importorskip("pandas")
    assert is_missing(pd.NA)
    assert is_missing(pd.NaT)
    assert not is_missing(pd.Timestamp("2026-01-01"))
