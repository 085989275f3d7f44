"""Inventory of the public names: a change here is a change for users."""

import inspect
import subprocess
import sys

import pytest

import imbtorch
import imbtorch.compare
import imbtorch.datasets
import imbtorch.features
import imbtorch.losses
import imbtorch.metrics
import imbtorch.model_selection
import imbtorch.modules
import imbtorch.plotting
import imbtorch.priors
import imbtorch.tables
import imbtorch.testing
import imbtorch.weights
from tests.limits import PROCESS_SECONDS

PUBLIC = {
    "NetEnsembleClassifier",
    "NetEnsembleRegressor",
    "NetPortfolioClassifier",
    "NetPortfolioRegressor",
    "CosineLinear",
    "DatasetRows",
    "DivergenceError",
    "DoubleCorrectionWarning",
    "FileFormatError",
    "ImbalancedNetClassifier",
    "ImbalancedNetRegressor",
    "Inputs",
    "MLP",
    "NotStackedWarning",
    "Sequences",
    "__version__",
    "compare_strategies",
    "embed",
    "finetune_head",
    "load",
    "save",
    "tau_normalize",
    "to_onnx",
}
# a subset: new losses come without a line here, none goes
PUBLIC_LOSSES = {
    "BalancedSoftmaxLoss",
    "BaseLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "LogitAdjustedLoss",
    "all_losses",
    "get_loss",
}
PUBLIC_COMPARE = {
    "ComparisonRun",
    "StrategyComparison",
    "compare_strategies",
    "default_strategies",
}
PUBLIC_DATASETS = {"make_long_tailed", "make_payments"}
PUBLIC_FEATURES = {
    "FeatureEncoder",
    "TableColumns",
    "TableEncoder",
    "TableFeatures",
    "get_features",
}
PUBLIC_METRICS = {
    "adaptive_ece",
    "card_precision_at_k",
    "classwise_ece",
    "error_by_density",
    "mean_average_precision",
    "min_class_recall",
    "precision_at_k",
    "recall_by_frequency",
    "sera",
}
PUBLIC_MODEL_SELECTION = {
    "Constraint",
    "CrossFittedClassifier",
    "CrossFittedRegressor",
    "conformal_sets",
    "cross_fit",
    "ScaledClassifierCV",
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedRandomizedSearchCV",
    "TunedDecisionClassifierCV",
}
PUBLIC_MODULES = {
    "MLP",
    "TabM",
    "CategoryEmbeddings",
    "PeriodicEmbeddings",
    "CosineLinear",
    "ModuleBuilder",
    "ModuleClass",
    "build_module",
    "check_width",
    "get_module",
    "is_builder",
    "logits_of",
    "members_of",
    "set_output_bias",
}
PUBLIC_PLOTTING = {
    "ClassRecallDisplay",
    "LossCurve",
    "LossShapeDisplay",
    "PriorShiftDisplay",
    "Reliability",
    "LeaderboardDisplay",
    "SearchDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
}
PUBLIC_PRIORS = {
    "PriorInterval",
    "PriorShiftClassifier",
    "estimate_prior",
    "log_prior_ratio",
    "logit_adjust",
    "normalize",
    "prior_interval",
    "resolve_label_prior",
    "resolve_target_prior",
    "shift_prior",
    "undersampling_correction",
}
PUBLIC_TABLES = {"Table", "TableError", "parquet_to_memmap", "read_table"}
PUBLIC_TESTING = {
    "check_loss",
    "check_module",
    "check_regression_loss",
    "check_sampler",
    "loss_checks",
    "module_checks",
    "regression_loss_checks",
    "sampler_checks",
    "temporary_names",
}
PUBLIC_WEIGHTS = {
    "CLASS_WEIGHT_STRATEGIES",
    "ClassCounts",
    "class_counts",
    "class_weight_from_counts",
    "class_weights",
    "depends_on_counts",
    "label_weights",
}
CLASSIFIER_PARAMETERS = [
    "module",
    "features",
    "loss",
    "loss_schedule",
    "aux_loss",
    "class_weight",
    "class_weight_schedule",
    "sampler",
    "sampler_schedule",
    "target_prior",
    "optimizer",
    "lr",
    "weight_decay",
    "param_groups",
    "lr_schedule",
    "gradient_clipping",
    "sharpness",
    "averaging",
    "max_epochs",
    "batch_size",
    "accumulate",
    "validation",
    "validation_fraction",
    "early_stopping",
    "patience",
    "scoring",
    "device",
    "data_parallel",
    "dtype",
    "precision",
    "n_threads",
    "num_workers",
    "collate_fn",
    "random_state",
    "warm_start",
    "callbacks",
    "on_divergence",
    "on_interrupt",
    "on_oom",
    "checkpoint",
    "checkpoint_interval",
    "verbose",
]
REGRESSOR_PARAMETERS = [
    "module",
    "features",
    "loss",
    "aux_loss",
    "density_weight",
    "optimizer",
    "lr",
    "weight_decay",
    "param_groups",
    "lr_schedule",
    "gradient_clipping",
    "sharpness",
    "averaging",
    "max_epochs",
    "batch_size",
    "accumulate",
    "validation",
    "validation_fraction",
    "early_stopping",
    "patience",
    "scoring",
    "device",
    "data_parallel",
    "dtype",
    "precision",
    "n_threads",
    "num_workers",
    "collate_fn",
    "random_state",
    "warm_start",
    "callbacks",
    "on_divergence",
    "on_interrupt",
    "on_oom",
    "checkpoint",
    "checkpoint_interval",
    "verbose",
]
OPTIONAL = [
    "matplotlib",
    "pandas",
    "polars",
    "imblearn",
    "pyarrow",
    "tensorboard",
    "onnx",
    "onnxscript",
]


def run_python(code):
    """Run ``code`` in a new interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_of_the_package():
    assert set(imbtorch.__all__) == PUBLIC


def test_names_of_the_losses():
    gone = PUBLIC_LOSSES - set(imbtorch.losses.__all__)
    assert not gone, f"gone from imbtorch.losses: {sorted(gone)}"


def test_names_of_model_selection():
    assert set(imbtorch.model_selection.__all__) == PUBLIC_MODEL_SELECTION


def test_names_of_tables():
    assert set(imbtorch.tables.__all__) == PUBLIC_TABLES


def test_names_of_compare():
    assert set(imbtorch.compare.__all__) == PUBLIC_COMPARE


def test_names_of_the_datasets():
    assert set(imbtorch.datasets.__all__) == PUBLIC_DATASETS


def test_names_of_the_features():
    assert set(imbtorch.features.__all__) == PUBLIC_FEATURES


def test_names_of_the_metrics():
    assert set(imbtorch.metrics.__all__) == PUBLIC_METRICS


def test_names_of_the_modules():
    assert set(imbtorch.modules.__all__) == PUBLIC_MODULES


def test_names_of_the_checks():
    assert set(imbtorch.testing.__all__) == PUBLIC_TESTING


def test_names_of_the_displays():
    assert set(imbtorch.plotting.__all__) == PUBLIC_PLOTTING


def test_names_of_the_priors():
    assert set(imbtorch.priors.__all__) == PUBLIC_PRIORS


def test_names_of_the_weights():
    assert set(imbtorch.weights.__all__) == PUBLIC_WEIGHTS


@pytest.mark.parametrize(
    "package",
    [
        imbtorch,
        imbtorch.compare,
        imbtorch.tables,
        imbtorch.datasets,
        imbtorch.features,
        imbtorch.losses,
        imbtorch.metrics,
        imbtorch.model_selection,
        imbtorch.modules,
        imbtorch.plotting,
        imbtorch.priors,
        imbtorch.testing,
        imbtorch.weights,
    ],
    ids=lambda module: module.__name__,
)
def test_every_public_name_exists_once(package):
    missing = [name for name in package.__all__ if not hasattr(package, name)]
    assert not missing
    assert len(package.__all__) == len(set(package.__all__))


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (imbtorch.ImbalancedNetClassifier, CLASSIFIER_PARAMETERS),
        (imbtorch.ImbalancedNetRegressor, REGRESSOR_PARAMETERS),
    ],
)
def test_parameters_of_the_estimators(estimator, expected):
    parameters = list(inspect.signature(estimator).parameters.values())
    assert [parameter.name for parameter in parameters] == expected
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {parameter.kind for parameter in parameters[1:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.slow
def test_import_loads_no_optional_package_and_no_test_framework():
    # scikit-learn, which skorch imports, may load pandas by itself
    loaded = run_python(
        "import sys, skorch; before = set(sys.modules)\n"
        "import imbtorch.plotting, imbtorch.testing\n"
        f"print(*({{*{OPTIONAL}}} & (set(sys.modules) - before)), 'pytest' in sys.modules)"
    )
    assert loaded == "False"


@pytest.mark.slow
def test_import_needs_no_optional_package():
    absent = [name for name in OPTIONAL if name != "imblearn"]
    version = run_python(
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "import imbtorch.plotting; print(imbtorch.__version__)"
    )
    assert version == imbtorch.__version__
