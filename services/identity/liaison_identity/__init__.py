"""Tenants, users, teams, roles, tokens and the audit trail."""
