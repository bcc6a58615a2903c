"""Lists: filters, search, sort, keyset cursors and counts, written once for every record.

`asked` checks what is wanted, `composing` makes SQL of it, `pages` answers; `row_rules` say whose
records are seen.
"""

from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.listing.pages import aggregate, page, read, some
from liaison_kit.listing.row_rules import row_rule

__all__ = ["ListQuery", "Page", "aggregate", "page", "read", "row_rule", "some"]
