"""Files of earlier releases are read, and predict what they predicted."""

import warnings

import numpy as np
import pytest

import imbtorch
from tests.persistence.golden.make import FOLDER, models, rows_of

FILES = sorted(FOLDER.glob("*/*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_a_release_predict_what_they_did(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # other versions of torch and the rest
        model = imbtorch.load(path)
    method = "predict" if path.stem in ("regressor", "decision") else "predict_proba"
    expected = np.load(path.with_suffix(".npy"))
    np.testing.assert_allclose(
        getattr(model, method)(rows_of(path.stem)), expected, rtol=1e-4, atol=1e-6
    )


def test_every_release_has_every_file():
    assert {path.parent.name for path in FILES} >= {imbtorch.__version__}
    for release in {path.parent for path in FILES}:
        expected = set(models())
        if release.name == "0.1.0":  # which had no tables, and no file of a decision
            expected -= {"table", "decision"}
        assert {path.stem for path in release.glob("*.safetensors")} == expected
