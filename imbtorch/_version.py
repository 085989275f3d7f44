"""The version, for the package and for the stamp in pickles."""

__version__ = "0.1.0"
