"""Random tables: what is encoded is right whatever holds the columns, or a clear error."""

import datetime
import decimal
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imbtorch import ImbalancedNetClassifier
from imbtorch.features import TableFeatures

FAST = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
N_ROWS = 12
CELLS = {
    "float": st.floats(-1e6, 1e6, width=32),
    "int": st.integers(-1000, 1000),
    "bool": st.booleans(),
    "text": st.sampled_from(["a", "B", "ä", "NA", "", " a", "1"]),
    "code": st.integers(0, 3),
}
NEW = {
    **CELLS,
    "text": st.sampled_from(["a", "B", "NA", "None", "new", ""]),
    "code": st.integers(-1, 5),
}


@st.composite
def tables(draw):
    """Draw names, the kind and the cells of each column, and new cells for a prediction."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    names = draw(st.permutations([f"column {i}" for i in range(len(kinds))]))

    def cells(strategy, n):
        return draw(st.lists(st.one_of(strategy, st.none()), min_size=n, max_size=n))

    old = [cells(CELLS[kind], N_ROWS) for kind in kinds]
    for kind, column in zip(kinds, old, strict=True):  # else nothing tells what the column holds
        column[0] = draw(CELLS[kind])
    return names, kinds, old, [cells(NEW[kind], 5) for kind in kinds]


def features_for(kinds):
    """Name the columns of categories, where numbers are among them."""
    if "code" not in kinds:
        return TableFeatures()
    chosen = [i for i, kind in enumerate(kinds) if kind in ("code", "text")]
    return TableFeatures(categorical_features=chosen)


def of_objects(names, kinds, columns):
    return pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)


def as_array(names, kinds, columns):
    return of_objects(names, kinds, columns).to_numpy()


def of_nullable_types(names, kinds, columns):
    types = {"float": "Float64", "int": "Int64", "bool": "boolean", "text": "string"}
    types["code"] = "Int8"
    chosen = dict(zip(names, [types[kind] for kind in kinds], strict=True))
    return of_objects(names, kinds, columns).astype(chosen)


def of_numpy_types(names, kinds, columns):
    types = {"float": "float64", "int": "float64", "bool": "float64", "text": "category"}
    types["code"] = "float32"
    chosen = dict(zip(names, [types[kind] for kind in kinds], strict=True))
    return of_objects(names, kinds, columns).astype(chosen)


def of_arrow(names, kinds, columns):
    pa = pytest.importorskip("pyarrow")
    types = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "text": pa.string()}
    types["code"] = pa.int8()
    dictionary = pa.dictionary(pa.int32(), pa.string())
    held = [dictionary if kind == "text" and i % 2 else types[kind] for i, kind in enumerate(kinds)]
    arrays = [pa.array(c, type=t) for c, t in zip(columns, held, strict=True)]
    series = [pd.Series(pd.arrays.ArrowExtensionArray(array)) for array in arrays]
    return pd.DataFrame(dict(zip(names, series, strict=True)))


def of_polars(names, kinds, columns):
    pl = pytest.importorskip("polars")
    types = {"float": pl.Float64, "int": pl.Int64, "bool": pl.Boolean, "text": pl.String}
    types["code"] = pl.Float32
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype=types[kind])
            for name, kind, column in zip(names, kinds, columns, strict=True)
        ]
    )


MAKERS = [of_objects, as_array, of_nullable_types, of_numpy_types, of_arrow, of_polars]


def expected(kinds, old, new):
    """Encode new rows as the documentation says, cell by cell."""
    numbers, gaps, categories = [], [], []
    for kind, known, cells in zip(kinds, old, new, strict=True):
        present = [cell for cell in known if cell is not None]
        has_gaps = len(present) < len(known)
        if kind in ("text", "code"):
            words = sorted(set(present))
            categories += [[float(cell == word) for cell in cells] for word in words]
            if has_gaps:
                categories.append([float(cell is None) for cell in cells])
            continue
        values = np.array(present, dtype=np.float64)
        mean, spread = values.mean(), values.std()
        is_constant = spread <= 1e-14 * np.abs(values).max(initial=0.0) * len(values)
        factor = 0.0 if is_constant else 1 / spread
        numbers.append([0.0 if cell is None else (cell - mean) * factor for cell in cells])
        if has_gaps:
            gaps.append([float(cell is None) for cell in cells])
    return np.clip(np.array(numbers + gaps + categories).T, -1e6, 1e6)


@FAST
@given(tables(), st.sampled_from(MAKERS), st.sampled_from(MAKERS))
def test_every_kind_of_table_is_encoded_alike(table, make_old, make_new):
    names, kinds, old, new = table
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*feature names.*")  # arrays have none
        features = features_for(kinds).fit(make_old(names, kinds, old))
        found = features.transform(make_new(names, kinds, new))
    np.testing.assert_allclose(found, expected(kinds, old, new), rtol=1e-6, atol=1e-6)


@settings(FAST, max_examples=15)
@given(tables(), st.sampled_from(MAKERS), st.sampled_from(MAKERS))
def test_a_net_predicts_alike_on_every_kind_of_table(table, make_old, make_new):
    names, kinds, old, new = table
    settings = {"max_epochs": 1, "random_state": 0, "dtype": "float64"}
    clf = ImbalancedNetClassifier(features=features_for(kinds), **settings)
    y = np.arange(N_ROWS) % 3 == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*feature names.*")
        clf.fit(make_old(names, kinds, old), y)
        found = clf.predict_proba(make_new(names, kinds, new))
        again = clf.predict_proba(of_objects(names, kinds, new))
    np.testing.assert_allclose(found, again, rtol=0, atol=1e-12)


# -- what does not fit ---------------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1)),
    st.decimals(allow_nan=False, places=2),
    st.lists(st.integers(), max_size=2),
    st.tuples(st.integers()),
    st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
    st.sampled_from([pd.NA, pd.NaT, np.float32(1), np.str_("a"), np.datetime64("2020-01-01")]),
    st.builds(pd.Interval, st.just(0), st.just(1)),
)
ODD_COLUMNS = st.one_of(
    st.lists(ODD, min_size=N_ROWS, max_size=N_ROWS),
    st.builds(lambda cell, other: [cell, other] * (N_ROWS // 2), ODD, ODD),
    st.builds(lambda cell: [cell] * N_ROWS, ODD),
)


def check_or_refuse(call):
    """Return what a call returns, or None if it raises an error that says what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except (ValueError, TypeError) as error:
            said = str(error)
    assert len(said) > 20
    return None


@settings(FAST, max_examples=60)
@given(tables(), ODD_COLUMNS, st.sampled_from([pd.DataFrame, np.array]))
def test_odd_columns_are_encoded_or_refused(table, odd, kind):
    names, kinds, old, _ = table
    frame = of_objects(names, kinds, old)
    series = pd.Series(odd, dtype=object)
    odder = frame.assign(**{names[-1]: series, "odd": series})

    def table_of(columns):
        return columns if kind is pd.DataFrame else columns.to_numpy(dtype=object)

    features = check_or_refuse(lambda: TableFeatures().fit(table_of(odder)))
    if features is not None:
        assert np.isfinite(features.transform(table_of(odder))).all()
    features = TableFeatures().fit(table_of(frame))
    found = check_or_refuse(lambda: features.transform(table_of(frame.assign(**{names[-1]: odd}))))
    assert found is None or np.isfinite(found).all()


@FAST
@given(tables(), st.sampled_from([of_objects, of_nullable_types, of_arrow, of_polars]), st.data())
def test_columns_are_matched_by_name(table, make, data):
    names, kinds, old, new = table
    features = TableFeatures().fit(make(names, kinds, old))
    order = data.draw(st.permutations(range(len(names))))
    order = order[: data.draw(st.integers(1, len(names)))]
    again = make(*([part[i] for i in order] for part in (names, kinds, new)))
    if list(order) == list(range(len(names))):
        assert features.transform(again).shape[0] == 5
    else:
        with pytest.raises(ValueError, match="feature names"):
            features.transform(again)
    more = ([*names, "more"], [*kinds, "int"], [*new, [1] * 5])
    with pytest.raises(ValueError, match="feature names"):
        features.transform(make(*more))


@pytest.mark.parametrize(
    "cell", [decimal.Decimal("1.5"), np.float32(1.5), math.inf, complex(1, 1), b"a", [1], (1,)]
)
def test_single_odd_cells_at_prediction(cell):
    features = TableFeatures().fit(pd.DataFrame({"n": [1.0, 2.0], "c": ["a", "b"]}))
    for row in ({"n": cell, "c": "a"}, {"n": 1.5, "c": cell}):
        frame = pd.DataFrame(
            {name: pd.Series([value], dtype=object) for name, value in row.items()}
        )
        found = check_or_refuse(lambda frame=frame: features.transform(frame))
        assert found is None or np.isfinite(found).all()
