"""
Losses for imbalanced data, and SMOTE
=====================================

Plain cross-entropy, class weights, the focal loss with its gamma searched, logit adjustment and
SMOTE: the same net in scikit-learn Pipelines, on the same folds of two bundled data sets with
rare classes. ``make demo`` runs the same comparison on more data, card fraud among them, and
``compare_with_smote.py --data my.csv --target label`` on yours.
"""

import matplotlib.pyplot as plt
import numpy as np
from compare_with_smote import strategies
from data_sets import one_digit, rare_tumours
from evaluation import pool, run
from figures import confusion_matrices, precision_recall
from gallery import finish, start
from report import NOTES, format_table, reading_guide

quick = start()

# %%
# The contestants
# ---------------
# SMOTE stands before the net, as a step of imbalanced-learn's Pipeline, or inside it, as
# ``sampler``: there it sees the training part only and the net knows what it did to the class
# frequencies. The search for gamma, :class:`~imbtorch.model_selection.StackedGridSearchCV`,
# trains its candidates on all folds in one pass.

tumours, digits = rare_tumours(), one_digit().first_folds(3)
if quick:
    tumours, digits = tumours.first_folds(2), digits.first_folds(1)
epochs = {"max_epochs": 2} if quick else {}
for name, pipeline in strategies(tumours).items():
    print(f"{name}: {[step for step, _ in getattr(pipeline, 'estimator', pipeline).steps]}")

# %%
# The same folds for all
# ----------------------

results, tables = {}, {}
for data in (tumours, digits):
    results[data.name] = run(data, strategies(data, **epochs), jobs=1)
    tables[data.name] = {
        strategy: {
            key: np.array([outcome.measures[key] for outcome in outcomes])
            for key in outcomes[0].measures
        }
        for strategy, outcomes in results[data.name].items()
    }
    print(f"{data.name}: {data.summary}, {data.X.shape[1]} features; {data.protocol}")
    print(format_table(tables[data.name]), end="\n\n")
print(NOTES)

# %%
# What the tables say, computed from them:

print(reading_guide(tables, baseline="cross-entropy"))

# %%
# Ranking
# -------
# Precision against recall of the rare class, over the test rows of all folds. Curves that
# coincide show as stripes.

for data in (tumours, digits):
    pooled = {name: pool(outcomes) for name, outcomes in results[data.name].items()}
    precision_recall(f"{data.name}: {data.summary}", data.labels, pooled, figure=plt.figure())

# %%
# Decisions
# ---------
# As trained, at probability 1/2.

for data in (tumours, digits):
    pooled = {name: pool(outcomes) for name, outcomes in results[data.name].items()}
    confusion_matrices(f"{data.name}: {data.summary}", data.labels, pooled, figure=plt.figure())

# %%
# With so few rare rows the strategies differ in ranking by less than the folds do. What differs
# is where they decide: plain cross-entropy misses more of the rare class and raises fewer false
# alarms. One may as well move its threshold. Of the remedies, logit adjustment costs nothing to
# set up.

finish()
