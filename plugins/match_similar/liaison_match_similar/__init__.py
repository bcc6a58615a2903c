"""Warns when a person being created looks like one who exists."""
