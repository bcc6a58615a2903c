"""The records, events and named errors of each service, one file per service."""
