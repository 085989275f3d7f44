"""Helpers that several parts of the package use; none of them depends on nets."""
