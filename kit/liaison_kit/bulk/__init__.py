"""Bulk changes: the same done to many records by a job, each by its own rules, and taken back.

`api` says what can be asked for, `working` does it and undoes it, `models` keeps what became of
each record.
"""
