"""Measures Liaison against its floor and its targets: `make bench`.

Everything runs on a ground of its own (PostgreSQL, RabbitMQ, ports) that is gone afterwards.
`QUICK=1` leaves out the million contacts and shortens the rest.
"""
