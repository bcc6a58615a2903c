"""Exports: a list as a file, CSV or XLSX, made by a job.

`columns` says what is in it, `formulas` keeps spreadsheets from running what people wrote,
`writing` is the work, `workbook` the script that makes XLSX of it, `api` the operations.
"""
