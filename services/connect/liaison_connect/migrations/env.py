"""Alembic's environment: the kit runs it."""

from liaison_kit.database.migrations import run_environment

run_environment()
