"""Alembic's environment: the kit runs it."""

from liaison_kit.migrations import run_environment

run_environment()
