"""
Losses for imbalanced data, and SMOTE
=====================================

Plain cross-entropy, class weights, the focal loss with its gamma searched, logit adjustment and
SMOTE: the same net with the same budget, on the same folds of two bundled data sets with rare
classes. ``make demo`` runs the same comparison on more data, card fraud among them;
``imbtorch compare my.csv --target label`` runs one on a table of yours.
"""

import matplotlib.pyplot as plt
from compare_with_smote import NOTES, average_precisions, compare, contestants, format_comparison
from data_sets import one_digit, rare_tumours
from figures import confusion_matrices, precision_recall
from gallery import finish, start

quick = start()

# %%
# The contestants
# ---------------
# Most come from :func:`imbtorch.compare.default_strategies`. SMOTE stands before the net, as a step
# of imbalanced-learn's Pipeline, or inside it, as its parameter ``sampler``: then the net knows how
# SMOTE changed the class frequencies. The search for gamma,
# :class:`~imbtorch.model_selection.StackedGridSearchCV`, trains its candidates on all folds in one
# pass.

tumours, digits = rare_tumours(), one_digit().first_folds(3)
if quick:
    tumours, digits = tumours.first_folds(3), digits.first_folds(2)
epochs = 2 if quick else None
for name, pipeline in contestants(tumours.X, tumours.named_classes).items():
    print(f"{name}: {[step for step, _ in getattr(pipeline, 'estimator', pipeline).steps]}")

# %%
# The same folds for all
# ----------------------
# :func:`imbtorch.compare_strategies` cross-validates every strategy, and says which differences
# are more than noise.

comparisons = {}
for data in (tumours, digits):
    comparisons[data.name] = compare(data, epochs)
    print(f"{data.name}: {data.summary}, {data.X.shape[1]} features; {data.protocol}")
    print(format_comparison(comparisons[data.name]), end="\n\n")
print(NOTES)

# %%
# The metric that decides, side by side:

print(f"Average precision\n{average_precisions(comparisons)}")

# %%
# Ranking
# -------
# Precision against recall of the rare class, over the test rows of all folds. Curves that
# coincide show as stripes.

for data in (tumours, digits):
    predictions = comparisons[data.name].predictions
    title = f"{data.name}: {data.summary}"
    precision_recall(title, data.labels, predictions, figure=plt.figure())

# %%
# Decisions
# ---------
# These are the decisions of the nets as they were trained, at probability 1/2.

for data in (tumours, digits):
    predictions = comparisons[data.name].predictions
    title = f"{data.name}: {data.summary}"
    confusion_matrices(title, data.labels, predictions, figure=plt.figure())

# %%
# With so few rare rows, the strategies differ less in ranking than the folds do. What differs is
# where they decide: plain cross-entropy misses more of the rare class and raises fewer false
# alarms. Another threshold for its probabilities has the same effect. Of the remedies, logit
# adjustment needs no parameters and no further rows.

finish()
