"""
Class weights as in Chainer, step by step
=========================================

Chainer's ``softmax_cross_entropy(..., class_weight=...)`` multiplies the loss of a row by the
weight of its class and divides the sum by the *number of rows*. So does Keras, and so do the
losses of imbtorch. torch divides by the *sum of the weights* in the batch. This page computes the
loss of one row by hand, and shows how the other divisor changes the weight of rare classes.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_classification

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.features import TableFeatures
from imbtorch.losses import CrossEntropyLoss

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# One row by hand
# ---------------
# Two classes, logits (1, 0), true class 1, class weights (1, 2). The loss is the weight of the
# true class times minus the logarithm of its probability. Its gradient with respect to the logits
# is that weight times the probabilities, from which 1 is subtracted at the true class.

logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
target = torch.tensor([1])
class_weight = torch.tensor([1.0, 2.0], dtype=torch.float64)

proba = torch.softmax(logits.detach(), dim=1)
by_hand = 2 * -torch.log(proba[0, 1]) / 1  # one row
gradient_by_hand = 2 * (proba - torch.tensor([[0.0, 1.0]])) / 1
print(f"probabilities    {proba.numpy().round(7)}")
print(f"loss by hand     {by_hand:.7f}")
print(f"gradient by hand {gradient_by_hand.numpy().round(7)}")

# %%
# imbtorch gives the same numbers. With torch's divisor, the weight of a batch of one row has no
# effect: 2 / 2 = 1.


def value_and_gradient(loss):
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.item(), gradient.numpy().round(7)


losses = {
    "imbtorch": CrossEntropyLoss(weight=class_weight),
    "imbtorch, weighted_mean": CrossEntropyLoss(weight=class_weight, reduction="weighted_mean"),
    "torch": torch.nn.CrossEntropyLoss(weight=class_weight),
    "torch, no weights": torch.nn.CrossEntropyLoss(),
}
print(f"{'':<25}{'loss':>10}   gradient")
for name, loss in losses.items():
    value, gradient = value_and_gradient(loss)
    print(f"{name:<25}{value:>10.7f}   {gradient}")

# %%
# Batches without rare rows
# -------------------------
# Let 1% of the rows be of the rare class. Balanced weights are meant to give each class half of
# the loss. Before training every row has the same loss, log 2, so that the part of a class depends
# on the weights alone. The losses of an epoch of shuffled batches are summed with both divisors.

n_rows = 2**18 if quick else 2**21
labels = torch.zeros(n_rows, dtype=torch.long)
labels[: n_rows // 100] = 1
labels = labels[torch.randperm(n_rows, generator=torch.Generator().manual_seed(0))]
balanced = n_rows / (2 * torch.bincount(labels))
per_row = CrossEntropyLoss(weight=balanced, reduction="none")(torch.zeros(n_rows, 2), labels)


def rare_share(batch_size, divisor):
    """Return the part of an epoch's loss that comes from rare rows."""
    loss, label = per_row.view(-1, batch_size), labels.view(-1, batch_size)
    divide_by = batch_size if divisor == "rows" else balanced[label].sum(dim=1, keepdim=True)
    scaled = loss / divide_by
    return (scaled * (label == 1)).sum().item() / scaled.sum().item()


batch_sizes = [2**power for power in range(13)]
shares = {
    "number of rows": [rare_share(size, "rows") for size in batch_sizes],
    "sum of weights (torch)": [rare_share(size, "weights") for size in batch_sizes],
}
print(f"{'batch size':<12}{'without rare rows':>18}" + "".join(f"{name:>26}" for name in shares))
for i, size in enumerate(batch_sizes):
    empty = (labels.view(-1, size) == 0).all(dim=1).double().mean().item()
    row = "".join(f"{values[i]:>26.3f}" for values in shares.values())
    print(f"{size:<12}{empty:>18.1%}{row}")

# %%
# With torch's divisor, a batch without rare rows counts as much as one with them, since it is
# divided by its own small weights. With 32 rows per batch, nearly three of four batches have no
# rare rows, and the rare class has a fifth of the loss, not half. It takes over a thousand rows per
# batch to come near the balance that the weights are meant to give.

fig, ax = plt.subplots(figsize=(7, 4))
for (name, values), marker, colour in zip(
    shares.items(), "os", ("#0072B2", "#D55E00"), strict=True
):
    ax.plot(batch_sizes, values, marker=marker, color=colour, label=name)
ax.axhline(0.01, color="0.5", linestyle=":", label="share of the rows")
ax.set_xscale("log", base=2)
ax.set_xticks(batch_sizes, batch_sizes)
ax.minorticks_off()
ax.set(xlabel="rows in a batch", ylabel="share of the loss from rare rows", ylim=(0, 0.55))
ax.set_title("1% rare rows, balanced class weights", fontsize=11)
ax.legend(title="batch loss divided by", loc="center right", bbox_to_anchor=(1, 0.4))

# %%
# The effect on a net
# -------------------
# A linear net is trained on batches of 32 rows, with the same weights and both divisors: in a loop
# of torch, and by the estimator, whose row weights have mean 1 over the training set. If the
# weights balance the classes, the mean probability of the rare class over both classes, with the
# same weight for each class, is about a half.

X, y = make_classification(
    4_000 if quick else 20_000, 10, n_informative=4, weights=[0.99], flip_y=0, class_sep=0.7,
    random_state=1,
)  # fmt: skip
X = X.astype(np.float32)
epochs = 2 if quick else 10


def train_in_torch(reduction):
    """Train as most hand-written loops do."""
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Linear(X.shape[1], 2)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    weights = len(y) / (2 * np.bincount(y))
    loss = CrossEntropyLoss(weight=weights, reduction=reduction)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(32):
            optimizer.zero_grad()
            loss(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    return torch.softmax(net(inputs), dim=1)[:, 1].detach().numpy()


estimator = ImbalancedNetClassifier(
    MLP(()), features=TableFeatures(numeric_embedding=None), loss="cross_entropy",
    class_weight="balanced", batch_size=32, max_epochs=epochs, random_state=0,
)  # fmt: skip
probabilities = {
    "torch's loop, sum of weights": train_in_torch("weighted_mean"),
    "torch's loop, number of rows": train_in_torch("mean"),
    "ImbalancedNetClassifier": estimator.fit(X, y).predict_proba(X)[:, 1],
}
print(f"{'':<30}{'mean p':>8}{'recall, rare':>14}{'recall, common':>16}")
for name, p in probabilities.items():
    rare, common = p[y == 1], p[y == 0]
    mean = (rare.mean() + common.mean()) / 2
    print(f"{name:<30}{mean:>8.3f}{(rare > 0.5).mean():>14.3f}{(common < 0.5).mean():>16.3f}")

plt.show()
