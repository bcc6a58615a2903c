"""The version of Liaison: what every part of it says of itself. Raise it with `make version`."""

VERSION = "0.4.0"
