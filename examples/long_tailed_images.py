"""Long-tailed digits: what a small convolutional net gains from long-tail remedies.

The most frequent digit has 100 times the training images of the rarest one; the test images are
balanced. MNIST's test part where it is at hand, else scikit-learn's small digits::

    python examples/long_tailed_images.py --out demo_output

Compared are plain cross-entropy, balanced softmax, LDAM with deferred re-weighting, and
classifier re-training (cRT), over several seeds.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from shared_files import shared_file
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from imbtorch import CosineLinear, ImbalancedNetClassifier, finetune_head
from imbtorch.datasets import make_long_tailed
from imbtorch.metrics import recall_by_frequency

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73")  # Okabe and Ito's palette
RATIO = 100
Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def images() -> tuple[str, Images, Labels]:
    """Load images of shape (n, 1, height, width), with values in [0, 1], and their digits."""
    pictures = shared_file("mnist-t10k-images-idx3-ubyte.gz")
    digits = shared_file("mnist-t10k-labels-idx1-ubyte.gz")
    if pictures is None or digits is None:
        X, y = load_digits(return_X_y=True)
        return "scikit-learn's digits", X.reshape(-1, 1, 8, 8).astype(np.float32) / 16, y
    with gzip.open(pictures) as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16)
    with gzip.open(digits) as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return "MNIST", raw.reshape(-1, 1, 28, 28).astype(np.float32) / 255, y


class ConvNet(nn.Module):
    """Two convolutions and a hidden layer; the head may give cosines."""

    def __init__(
        self, input_shape: tuple[int, int, int], n_outputs: int, *, cosine: bool = False
    ) -> None:
        super().__init__()
        side = input_shape[1] // 4
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * side * side, 64), nn.ReLU()),
        )
        self.head = (CosineLinear if cosine else nn.Linear)(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def cosine_net(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build the same net with a head for margins."""
    return ConvNet(input_shape, n_outputs, cosine=True)


def net(seed: int, epochs: int, module: Any = ConvNet, **parameters: Any) -> Any:
    return ImbalancedNetClassifier(
        module, max_epochs=epochs, batch_size=64, random_state=seed, device="cpu", **parameters
    )


def strategies(epochs: int) -> dict[str, Callable[[Images, Labels, int], Any]]:
    """List remedies as functions that give a fitted classifier."""

    def plain(X: Images, y: Labels, seed: int) -> Any:
        return net(seed, epochs, loss="cross_entropy").fit(X, y)

    def balanced_softmax(X: Images, y: Labels, seed: int) -> Any:
        return net(seed, epochs, loss="balanced_softmax").fit(X, y)

    def ldam_drw(X: Images, y: Labels, seed: int) -> Any:
        weights = {"class_weight": "balanced", "class_weight_schedule": 0.6}
        return net(seed, epochs, cosine_net, loss="ldam", **weights).fit(X, y)

    def crt(X: Images, y: Labels, seed: int) -> Any:
        return finetune_head(plain(X, y, seed), X, y, method="crt", random_state=seed)

    return {
        "cross-entropy": plain,
        "balanced softmax": balanced_softmax,
        "LDAM-DRW": ldam_drw,
        "cRT": crt,
    }


def draw(recalls: dict[str, NDArray[np.float64]], counts: NDArray[np.int64]) -> Figure:
    """Draw the recall of each class, from the most frequent to the rarest."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(-counts, kind="stable")
    for (name, recall), colour in zip(recalls.items(), COLOURS, strict=True):
        mean = recall.mean(axis=0)[order]
        axes.plot(range(len(order)), mean, "o-", color=colour, label=name)
    axes.set_xticks(range(len(order)), [f"{digit}\n{counts[digit]}" for digit in order])
    axes.set(xlabel="digit, and its training images", ylabel="recall on balanced test images")
    axes.set_ylim(0, 1.02)
    axes.grid(color="0.9")
    axes.legend(loc="lower left")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table and write ``long_tailed_images.png``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder to write to")
    parser.add_argument("--seeds", type=int, default=5, help="how many (%(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="of each net (%(default)s)")
    args = parser.parse_args(argv)
    name, X, y = images()
    scores: dict[str, list[float]] = {strategy: [] for strategy in strategies(args.epochs)}
    few: dict[str, list[float]] = {strategy: [] for strategy in scores}
    recalls: dict[str, list[NDArray[np.float64]]] = {strategy: [] for strategy in scores}
    for seed in range(args.seeds):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.4, stratify=y, random_state=seed
        )
        X_tail, y_tail = make_long_tailed(X_train, y_train, RATIO, random_state=seed)
        for strategy, fit in strategies(args.epochs).items():
            predicted = fit(X_tail, y_tail, seed).predict(X_test)
            scores[strategy].append(balanced_accuracy_score(y_test, predicted))
            groups = recall_by_frequency(y_test, predicted, y_tail)
            few[strategy].append(groups["few"])
            recalls[strategy].append(recall_score(y_test, predicted, average=None))
    print(f"{name}, {len(y_tail):,} training images, {RATIO} to 1; {args.seeds} seeds")
    print(f"{'':<18}{'balanced accuracy':>18}{'+-':>8}{'classes of < 20':>18}")
    for strategy, values in scores.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        few_recall = np.mean(few[strategy])
        print(f"{strategy:<18}{np.mean(values):>18.3f}{spread:>8.3f}{few_recall:>18.3f}")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "long_tailed_images.png"
    figure = draw({key: np.array(value) for key, value in recalls.items()}, np.bincount(y_tail))
    figure.savefig(path, dpi=150)
    print(f"Recall of each digit: {path}")


if __name__ == "__main__":
    main()
