"""Engines of a single net: in one process, and in several."""
