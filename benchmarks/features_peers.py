"""How each package of the feature table is used, according to its own documentation."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from features_nets import Focal, LazyMlp, Loop, Mlp, scikeras_net, softmax
from features_ways import (
    BATCH_SIZE,
    EPOCHS,
    HIDDEN,
    LR,
    N_FEATURES,
    Answered,
    Array,
    Peer,
    Way,
)
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when keras is imported


class Imbtorch(Peer):
    package = "imbtorch"

    def version(self) -> str:
        import imbtorch  # this version is tried, whether it is installed or not

        return imbtorch.__version__

    gammas: ClassVar[dict[str, list[Any]]] = {"loss__gamma": [0.0, 5.0]}
    stacked = ("yes", "read: StackedGridSearchCV, NetEnsembleClassifier; tested in tests/")

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        from imbtorch import ImbalancedNetClassifier

        return Way(
            ImbalancedNetClassifier(
                loss="cross_entropy",
                lr=LR,
                lr_schedule="constant",
                batch_size=BATCH_SIZE,
                max_epochs=epochs,
                device="cpu",
                random_state=0,
            )
        )

    def for_checks(self) -> Way:
        from imbtorch import ImbalancedNetClassifier

        return Way(ImbalancedNetClassifier(dtype="float64"), by_hand="float64")

    def weighted(self, y: Array) -> Way:
        way = super().weighted(y)
        if y.ndim > 1:
            way.model.set_params(loss="bce")
        return way

    def with_module(self, module: type[nn.Module]) -> Way:
        way = self.plain()
        way.model.set_params(module=module(N_FEATURES, 2))
        return way

    def corrected(self, y: Array) -> Way:
        way = self.weighted(y)
        way.model.set_params(target_prior="train")
        return way

    def sampled(self, y: Array) -> Way:
        way = self.plain()
        way.model.set_params(sampler="class_balanced")
        return way

    def save(self, model: Any, path: Path) -> str:
        import imbtorch

        model.save(path)
        imbtorch.load(path)
        return ""


class Skorch(Peer):
    package = "skorch"
    gammas: ClassVar[dict[str, list[Any]]] = {"criterion__gamma": [0.0, 5.0]}
    repair: ClassVar[dict[str, Any]] = {"predict_nonlinearity": softmax}

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS, **settings: Any) -> Way:
        from skorch import NeuralNetClassifier

        kind = settings.pop("kind", NeuralNetClassifier)
        torch.manual_seed(0)
        defaults: dict[str, Any] = {
            "module": Mlp(N_FEATURES, n_classes),
            "criterion": nn.CrossEntropyLoss,
            "optimizer": torch.optim.Adam,
            "lr": LR,
            "max_epochs": epochs,
            "batch_size": BATCH_SIZE,
            "iterator_train__shuffle": True,
            "train_split": None,
            "verbose": 0,
        }
        return Way(kind(**{**defaults, **settings}))

    def for_checks(self) -> Way:
        way = self.plain(epochs=20, module=LazyMlp, lr=0.01)
        return Way(way.model, by_hand="a lazy module that casts to float32")

    def weighted(self, y: Array) -> Way:
        by_hand = "a tensor computed by hand, the same for all folds"
        if y.ndim > 1:
            from skorch import NeuralNet

            weight = torch.tensor((1 - y.mean(axis=0)) / y.mean(axis=0), dtype=torch.float32)
            way = self.plain(
                y.shape[1],
                kind=NeuralNet,
                criterion=nn.BCEWithLogitsLoss,
                criterion__pos_weight=weight,
                predict_nonlinearity=torch.sigmoid,
            )
        else:
            weights = compute_class_weight("balanced", classes=np.unique(y), y=y)
            weight = torch.tensor(weights, dtype=torch.float32)
            way = self.plain(len(weights), criterion__weight=weight)
        return Way(way.model, by_hand=by_hand)

    def focal(self) -> Way:
        way = self.plain(criterion=Focal)
        return Way(way.model, by_hand="a loss written by hand")

    def with_module(self, module: type[nn.Module]) -> Way:
        return self.plain(module=module(N_FEATURES, 2))

    def sampled(self, y: Array) -> Way:
        weights = 1 / np.bincount(y)[y]
        sampler = torch.utils.data.WeightedRandomSampler(weights.tolist(), len(y))
        way = self.plain(iterator_train__sampler=sampler, iterator_train__shuffle=False)
        return Way(way.model, by_hand="torch's sampler, made by hand for one training set")

    def save(self, model: Any, path: Path) -> str:
        model.save_params(f_params=path, use_safetensors=True)
        fresh = self.plain().model.initialize()
        fresh.load_params(f_params=path, use_safetensors=True)
        return "weights only, into an estimator rebuilt by hand"


class Keras(Peer):
    """Keras' own wrapper; the user writes the function that builds and compiles the net."""

    package = "keras"
    grid: ClassVar[dict[str, list[Any]]] = {"model_kwargs": [{"lr": 1e-5}, {"lr": LR}]}
    gammas: ClassVar[dict[str, list[Any]]] = {
        "model_kwargs": [{"loss": "focal", "gamma": 0.0}, {"loss": "focal", "gamma": 5.0}]
    }

    def build(self, X: Any, y: Any, loss: str = "", lr: float = LR, **settings: Any) -> Any:
        import keras

        keras.utils.set_random_seed(0)
        layers: list[Any] = [keras.layers.Dense(HIDDEN, "relu")]
        layers += [keras.layers.Dense(y.shape[1], "softmax")]
        if "module" in settings:
            module = nn.Sequential(settings["module"](X.shape[1], y.shape[1]), nn.Softmax(-1))
            shape = (None, y.shape[1])
            layers = [keras.layers.TorchModuleWrapper(module, output_shape=shape)]
        net = keras.Sequential([keras.layers.Input((X.shape[1],)), *layers])
        criterion = keras.losses.CategoricalCrossentropy()
        if loss == "focal":
            criterion = keras.losses.CategoricalFocalCrossentropy(gamma=settings["gamma"])
        net.compile(optimizer=keras.optimizers.Adam(lr), loss=criterion)
        return net

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS, **model_kwargs: Any) -> Way:
        from keras.wrappers import SKLearnClassifier

        model = SKLearnClassifier(self.build, model_kwargs=model_kwargs)
        return Way(model, {"epochs": epochs, "batch_size": BATCH_SIZE, "verbose": 0})

    def for_checks(self) -> Way:
        way = self.plain(epochs=20)
        way.model.set_params(fit_kwargs=way.fit)
        return Way(way.model)

    def weighted(self, y: Array) -> Way:
        if y.ndim > 1:
            return self.plain()
        weights = compute_class_weight("balanced", classes=np.unique(y), y=y)
        way = self.plain()
        by_hand = "an argument of fit, a dict computed by hand"
        return Way(way.model, {**way.fit, "class_weight": dict(enumerate(weights))}, by_hand)

    def focal(self) -> Way:
        return self.plain(loss="focal", gamma=2.0)

    def with_module(self, module: type[nn.Module]) -> Way:
        way = self.plain(module=module)
        return Way(way.model, way.fit, "on its torch backend, in a TorchModuleWrapper")

    def save(self, model: Any, path: Path) -> str:
        import keras

        model.model_.save(path.with_suffix(".keras"))
        path.with_suffix(".keras").rename(path.with_suffix(".file.keras"))
        keras.models.load_model(path.with_suffix(".file.keras"))
        path.with_suffix(".file.keras").rename(path)
        return "the net only, into a wrapper rebuilt by hand"


class Scikeras(Peer):
    package = "scikeras"
    grid: ClassVar[dict[str, list[Any]]] = {"optimizer__learning_rate": [1e-5, LR]}
    gammas: ClassVar[dict[str, list[Any]]] = {"loss__gamma": [0.0, 5.0]}

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS, **settings: Any) -> Way:
        from scikeras.wrappers import KerasClassifier

        settings = {"loss": "sparse_categorical_crossentropy", **settings}
        model = KerasClassifier(
            scikeras_net,
            optimizer="adam",
            optimizer__learning_rate=LR,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            verbose=0,
            random_state=0,
            **settings,
        )
        return Way(model)

    def weighted(self, y: Array) -> Way:
        if y.ndim == 1:
            return super().weighted(y)
        settings = {"loss": "binary_crossentropy", "class_weight": "balanced"}
        return self.plain(model__kind="labels", **settings)

    def focal(self) -> Way:
        import keras

        return self.plain(loss=keras.losses.BinaryFocalCrossentropy, model__kind="sigmoid")

    def with_module(self, module: type[nn.Module]) -> Way:
        by_hand = "on Keras' torch backend, in a TorchModuleWrapper"
        return Way(self.plain(model__module=module).model, by_hand=by_hand)

    save = Keras.save


class ImbalancedLearn(Peer):
    """Bagging of scikit-learn's MLP on balanced rows: the package has samplers, but no nets."""

    package = "imbalanced-learn"
    stacked = ("-", "it has no nets")
    grid: ClassVar[dict[str, list[Any]]] = {"estimator__learning_rate_init": [1e-5, LR]}

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        from imblearn.ensemble import BalancedBaggingClassifier
        from sklearn.neural_network import MLPClassifier

        net = MLPClassifier(
            (HIDDEN,), batch_size=BATCH_SIZE, learning_rate_init=LR, max_iter=epochs
        )
        return Way(BalancedBaggingClassifier(net, n_estimators=3, random_state=0))

    def sampled(self, y: Array) -> Way:
        by_hand = "copies the rows drawn; read: imblearn.keras has a generator of batches"
        return Way(self.plain().model, by_hand=by_hand)

    def weighted(self, y: Array) -> Way:
        raise Answered("it resamples instead; its random forest has class_weight", "-")

    def focal(self) -> Way:
        raise Answered("it has no nets", "-")

    def with_module(self, module: type[nn.Module]) -> Way:
        raise Answered("it has no nets", "-")


class DeepTab(Peer):
    package = "deeptab"
    grid: ClassVar[dict[str, list[Any]]] = {"trainer_config__lr": [1e-5, LR]}
    stacked = ("partly", "read: members of TabM share one pass; no search does")

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        from deeptab.configs import MLPConfig, TrainerConfig
        from deeptab.models import MLPClassifier

        trainer = TrainerConfig(max_epochs=epochs, batch_size=BATCH_SIZE, lr=LR)
        config = MLPConfig(layer_sizes=[HIDDEN], dropout=0.0)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return Way(MLPClassifier(config, trainer_config=trainer, random_state=0), quiet)

    def for_checks(self) -> Way:
        return Way(self.plain(epochs=20).model)

    def focal(self) -> Way:
        way = self.plain()
        fit = {**way.fit, "loss_fct": "focal"}
        return Way(way.model, fit, "an argument of fit: no search reaches it")

    def with_module(self, module: type[nn.Module]) -> Way:
        raise Answered("read: as an architecture that subclasses its bases", "partly")

    def sampled(self, y: Array) -> Way:
        way = self.plain()
        return Way(way.model, {**way.fit, "balanced_sampler": True})

    def save(self, model: Any, path: Path) -> str:
        model.save(str(path))
        return ""


class Pytabkit(Peer):
    package = "pytabkit"
    stacked = ("partly", "read: folds (n_cv) and members (n_ens) of RealMLP; no search")

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        from pytabkit import RealMLP_TD_Classifier

        return Way(
            RealMLP_TD_Classifier(
                device="cpu",
                n_threads=1,
                n_epochs=epochs,
                batch_size=BATCH_SIZE,
                hidden_sizes=[HIDDEN],
                random_state=0,
            )
        )

    def focal(self) -> Way:
        raise Answered("read: train_metric_name knows no focal loss")


class LibAuc(Peer):
    """Losses, optimizers and samplers; the user writes the loop, as in its tutorials."""

    package = "libauc"
    stacked = ("-", "no estimator")

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        raise Answered("no estimator: losses, optimizers, samplers for a loop of one's own", "-")

    def for_checks(self) -> Way:
        raise Answered("no estimator", "-")

    def weighted(self, y: Array) -> Way:
        if y.ndim == 1:
            return self.plain()
        raise Answered("read: MultiLabelAUCMLoss has the share of each label", "partly")

    def focal(self) -> Way:
        from libauc.losses import FocalLoss

        return Way(Loop(FocalLoss()), by_hand="a class, in a loop of one's own")

    def with_module(self, module: type[nn.Module]) -> Way:
        return Way(Loop(module=module), by_hand="in a loop of one's own")

    def sampled(self, y: Array) -> Way:
        try:
            import torchvision  # noqa: F401
        except ImportError:  # the sampler imports it, and needs it for image folders only
            sys.modules["torchvision"] = types.ModuleType("torchvision")
        from libauc.sampler import DualSampler

        sampler = DualSampler(None, BATCH_SIZE, labels=y, sampling_rate=0.5)
        return Way(Loop(sampler=sampler), by_hand="in a loop of one's own")


PEERS: dict[str, Peer] = {
    "imbtorch": Imbtorch(),
    "skorch": Skorch(),
    "scikeras": Scikeras(),
    "Keras": Keras(),
    "imbalanced-learn": ImbalancedLearn(),
    "DeepTab": DeepTab(),
    "pytabkit": Pytabkit(),
    "LibAUC": LibAuc(),
}
