"""The three tasks of a net: classes, labels and values."""
