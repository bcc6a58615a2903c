"""The database of a service: sessions, statements, tables, migrations."""
