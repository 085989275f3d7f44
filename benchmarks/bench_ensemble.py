"""Cost of an ensemble of nets that is trained as one stack, against one net.

The default network (128-64, SiLU) and loss on one week of card transactions, three epochs; every
member is trained on all rows (``subset="all"``)::

    python benchmarks/bench_ensemble.py
    python benchmarks/bench_ensemble.py --rounds 1 --rows 4000 --sizes 1 4 --batch-sizes 256

``--members`` nets that are fitted one after the other are measured, too.

How well the members predict together, by the protocol of the Fraud Detection Handbook (see
handbook.py)::

    python benchmarks/bench_ensemble.py --quality
    python benchmarks/bench_ensemble.py --quality --subset balanced --set max_epochs=100
    python benchmarks/bench_ensemble.py --quality --chosen --folds test

``--chosen`` takes the parameters that were best on the validation folds (see docs/searches.md):
``--preprocessing logs``, a focal loss with gamma 1, and 128 rows per batch.

On a machine that others use too, ``--threads 1`` gives steadier numbers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from common import PLAIN_MLP, limit_threads, make_parser, timed_rounds, training_rows, write_json
from handbook import add_options, estimator_of, load_checked, print_folds
from numpy.typing import NDArray
from preprocessing import preprocessing
from sklearn.base import clone

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier

Array = NDArray[Any]
ONE = "one net"
CHOSEN = {**PLAIN_MLP, "loss": "focal", "loss__gamma": 1.0, "batch_size": 128}


def one_by_one(net: ImbalancedNetClassifier, n: int, X: Array, y: Array) -> None:
    """Fit ``n`` nets, one after the other."""
    for seed in range(n):
        clone(net).set_params(random_state=seed).fit(X, y)


def ensemble(net: ImbalancedNetClassifier, n: int, X: Array, y: Array) -> None:
    """Fit an ensemble of ``n`` nets on all rows."""
    NetEnsembleClassifier(net, n, subset="all", random_state=0).fit(X, y)


def contestants(
    net: ImbalancedNetClassifier, sizes: Sequence[int], n_alone: int
) -> dict[str, tuple[int, Callable[[Array, Array], None]]]:
    """Return the contestants, each with the number of nets that it trains."""
    return {
        ONE: (1, partial(one_by_one, net, 1)),
        f"{n_alone} nets, one by one": (n_alone, partial(one_by_one, net, n_alone)),
        **{f"ensemble of {n}": (n, partial(ensemble, net, n)) for n in sizes},
    }


def print_costs(title: str, seconds: dict[str, float], n_nets: dict[str, int]) -> None:
    """Print seconds, seconds as a multiple of one net's, and seconds per net."""
    width = max(map(len, seconds))
    print(f"\n{title}\n{'':<{width}}{'seconds':>10}{'ratio':>9}{'seconds per net':>18}")
    for name, value in seconds.items():
        ratio = value / seconds[ONE]
        print(
            f"{name:<{width}}{value:>10.3f}{ratio:>9.2f}{value / n_nets[name]:>18.3f}", flush=True
        )


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the contestants, and print."""
    X, y = (array[: args.rows] for array in training_rows())
    threads = limit_threads(args.threads)
    print(
        f"{args.epochs} epochs, device {args.device}, median of {args.rounds} rounds, "
        f"{threads} threads"
    )
    seconds = {}
    for batch_size in args.batch_sizes:
        net = ImbalancedNetClassifier(
            batch_size=batch_size, max_epochs=args.epochs, device=args.device, random_state=0
        ).set_params(**PLAIN_MLP)
        tasks, n_nets = {}, {}
        for name, (n, train) in contestants(net, args.sizes, args.members).items():
            train(X[::8], y[::8])  # first calls are slower
            tasks[name], n_nets[name] = partial(train, X, y), n
        seconds[batch_size] = timed_rounds(tasks, args.rounds)
        title = f"fit, {batch_size} rows per batch; ratio: seconds / seconds of one net"
        print_costs(title, seconds[batch_size], n_nets)
    return {
        "epochs": args.epochs,
        "rounds": args.rounds,
        "rows": len(X),
        "device": args.device,
        "seconds": seconds,
    }


def quality(args: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Evaluate an ensemble by the Handbook's protocol, and print."""
    parameters = dict(CHOSEN if args.chosen else {}, **dict(args.set))
    net = estimator_of(parser, parameters)
    data = load_checked(parser)
    limit_threads(args.threads)
    print(
        f"{args.folds} folds; ensemble of {args.members}, subset {args.subset}; "
        f"{parameters or 'default parameters'}; {args.preprocessing}\n"
    )
    members = NetEnsembleClassifier(net, args.members, subset=args.subset, random_state=0)
    return {
        "folds": args.folds,
        "members": args.members,
        "subset": args.subset,
        "preprocessing": args.preprocessing,
        "parameters": repr(parameters),
        "rows": print_folds(data, args.folds, members, preprocessing(args.preprocessing)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument(
        "--members",
        type=int,
        default=8,
        metavar="N",
        help="nets to fit one by one, or nets of the ensemble of --quality (%(default)s)",
    )
    parser.add_argument("--epochs", type=int, default=3, help="passes over the rows (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256], metavar="N")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8, 16, 32],
        metavar="N",
        help="sizes of the ensembles",
    )
    parser.add_argument("--rows", type=int, help="use the first so many rows only")
    parser.add_argument("--device", default="cpu", help="where the nets are trained (%(default)s)")
    protocol = parser.add_argument_group("the Handbook's protocol")
    protocol.add_argument(
        "--quality",
        action="store_true",
        help="measure by it how well the ensemble predicts, and no speed",
    )
    protocol.add_argument(
        "--subset",
        choices=["all", "balanced", "bootstrap"],
        default="all",
        help="rows of a net (%(default)s)",
    )
    protocol.add_argument(
        "--chosen",
        action="store_true",
        help="take the parameters that were best on the validation folds",
    )
    add_options(protocol)
    args = parser.parse_args(argv)
    if args.chosen:
        args.preprocessing = "logs"
    write_json(args.json, quality(args, parser) if args.quality else compare(args))


if __name__ == "__main__":
    main()
