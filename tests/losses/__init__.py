import pytest

# plain asserts in these helpers shall explain themselves as those of a test do
pytest.register_assert_rewrite(
    "tests.losses.checks",
    "tests.losses.parameter_checks",
    "tests.losses.sigmoid_checks",
    "tests.losses.whole_batch_checks",
)
