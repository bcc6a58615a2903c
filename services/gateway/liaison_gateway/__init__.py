"""The only public door: HTTP in, messages out."""

__version__ = "0.1.0"
