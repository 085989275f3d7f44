"""The version, for the package and for the stamp in pickles."""

__version__ = "0.2.0"
