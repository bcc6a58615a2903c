"""The database of a service, and how little it is made to travel.

`database` opens it: `sessions` for writing and for reading, whose `transactions` begin and end in
the round trips of their statements. What runs again and again is a `prepared` statement with named
places (`statements`), of text or of `queries` that SQLAlchemy has composed. `tables` declares,
`migrations` makes them; `faults` tells whose fault an error is.
"""
