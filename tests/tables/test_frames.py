"""Frames in Python: what looks like dates, and the ways out."""

import pytest

from imbtorch.tables import TableError
from imbtorch.tables._frame import checked_frame

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize("value", ["1.2.10", "10-20-30", "3:00", "2026-01-31", "31.12.1999"])
def test_what_may_be_dates_names_the_way_to_categories(value):
    frame = pd.DataFrame({"version": [value, value] * 20, "x": [0.5, 1.5] * 20})
    with pytest.raises(TableError, match=r"if they are categories: X\['version'\].astype"):
        checked_frame(frame)
    X, _ = checked_frame(frame.astype({"version": "category"}))
    assert str(X["version"].dtype) == "category"


@pytest.mark.parametrize(
    "value", ["1.20-30", "2026-13-01", "2026-01-32", "40.1.10", "20-30-40", "0.1.20", "13/13/2020"]
)
def test_what_cannot_be_dates_is_categories(value):
    frame = pd.DataFrame({"size": [value, value + " "] * 20, "x": [0.5, 1.5] * 20})
    assert set(checked_frame(frame)[0]["size"]) == {value}


@pytest.mark.parametrize(
    "value", ["2026-1-3", "2026/01/31 23:59", "1/31/26", "31.01.2026 23:59", "2026-01-31T10:00:00Z"]
)
def test_dates_are_found(value):
    with pytest.raises(TableError, match="columns of dates or times"):
        checked_frame(pd.DataFrame({"day": [value] * 20, "x": [0.5, 1.5] * 10}))
