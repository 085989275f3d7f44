"""Read the user's data: targets, class counts and torch Datasets."""
