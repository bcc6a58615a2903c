"""Liaison on one machine: its own PostgreSQL and RabbitMQ, and a supervisor over all processes.

This is what `make run` and the tests stand on. On Kubernetes none of it is used.
"""
