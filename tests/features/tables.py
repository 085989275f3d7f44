"""Tables for the tests: text, categories, gaps and amounts, with a rare class."""

import numpy as np
import pandas as pd


def rare_buyers(n=600, seed=0, n_towns=40):
    """Make a frame with every kind of column, and labels of which about 15 % are 1."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n).astype(float)
    job = rng.choice(["clerk", "nurse", "pilot"], n).astype(object)
    town = rng.choice([f"town {i}" for i in range(n_towns)], n)
    frame = pd.DataFrame(
        {
            "age": age,
            "amount": 1000 * rng.lognormal(3, 1, n),
            "job": job,
            "town": town,
            "member": rng.random(n) < 0.3,
            "visits": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], n)),
        }
    )
    score = (age > 60) + 1.5 * (job == "nurse") + frame["member"] - 3.2
    y = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(int)
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "job"] = None
    frame.loc[rng.random(n) < 0.1, "visits"] = pd.NA
    return frame, y
