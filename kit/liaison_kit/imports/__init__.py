"""Imports: a file of rows becomes records, whatever state the file is in.

`reading` turns a CSV or XLSX file into columns of text; `mapping` suggests which column feeds
which field; `fields` converts and `matching` resolves references; `engine` writes chunk by chunk,
set-based, and can take an import back. A service declares what can be imported with `Importable`;
`api` holds the operations that the kit gives to each such service.
"""
