"""The user's data: targets, class counts, Datasets."""
