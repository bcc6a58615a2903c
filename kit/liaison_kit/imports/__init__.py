"""Imports: a file of rows becomes records, whatever state the file is in.

A service declares what can be imported (`fields`). `reading` turns a CSV or XLSX file into columns
of text; `mapping` suggests which column feeds which field; `converting` and `matching` make values
of the text; `engine` and `writing` put them into the table chunk by chunk; `rollback` takes that
back. `api` holds the operations that the kit gives to each such service.
"""
