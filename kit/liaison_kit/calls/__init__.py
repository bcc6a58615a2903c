"""Calls: operations that a service answers, how they travel, and questions between services."""
