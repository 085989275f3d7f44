"""Rows on their way to the net: features, targets, weights, order, batches."""
