"""What several parts of the package use, and what knows nothing of nets."""
