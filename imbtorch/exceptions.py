"""Errors and warnings that users may want to catch by name."""

from __future__ import annotations

__all__ = ["DivergenceError", "DoubleCorrectionWarning", "FileFormatError", "NotStackedWarning"]


class DivergenceError(ValueError):
    """Training produced a loss or weights that are not finite.

    It is a :class:`ValueError`, so that scikit-learn's searches give the candidate their
    ``error_score`` and continue.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import DivergenceError, ImbalancedNetClassifier
    >>> X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 4 == 0
    >>> try:
    ...     ImbalancedNetClassifier(optimizer="sgd", lr=1e30).fit(X, y)
    ... except DivergenceError as error:
    ...     print("diverged")
    diverged
    """


class DoubleCorrectionWarning(UserWarning):
    """Two or more settings correct the same class imbalance, and together correct it too much.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from imbtorch import DoubleCorrectionWarning, ImbalancedNetClassifier
    >>> X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 4 == 0
    >>> clf = ImbalancedNetClassifier(
    ...     loss="logit_adjusted", class_weight="balanced", max_epochs=1, random_state=0
    ... )
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", DoubleCorrectionWarning)
    ...     _ = clf.fit(X, y)
    >>> [warning.category.__name__ for warning in caught]
    ['DoubleCorrectionWarning']
    """


class NotStackedWarning(UserWarning):
    """Nets cannot be trained as one stack and are trained one by one; the message says why.

    Examples
    --------
    Raise an error instead of training the nets of a search slowly, one by one:

    >>> import warnings
    >>> from imbtorch import NotStackedWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", NotStackedWarning)
    ...     pass  # search.fit(X, y)
    """


class FileFormatError(ValueError):
    """A file is damaged, malicious, or cannot be read by this version of imbtorch.

    Examples
    --------
    >>> from imbtorch import FileFormatError
    >>> issubclass(FileFormatError, ValueError)
    True
    """
