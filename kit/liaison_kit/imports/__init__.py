"""Imports: a file of rows becomes records, whatever state the file is in.

A service declares what can be imported (`fields`). `reading` turns a file into columns of text,
with `encodings`, `layout`, `rows`, `workbook` and `cards` for what files are like; `mapping`
suggests which column feeds which field, `unfed` is what becomes of the others, and `saved` keeps
both for the next file; `converting` and `matching` make values of the text, as
`planning` has settled for the whole file (`formats`). `engine` runs it: `preparing` makes table
columns of a chunk, `writing` writes them, `reporting` keeps what became of the rows; `rollback`
takes it all back. `api` holds the operations that the kit gives to each such service, with `shapes`
of what is sent and read, and `saying` for what people are told.
"""
