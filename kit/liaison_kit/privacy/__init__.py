"""Records that are merged, and subjects who are erased or ask what is held of them.

A model's columns say what they point at and what is personal (`marks`); from that every service
answers what the owner of the records asks (`serving`). What points at a record that was merged
lands with the survivor, also when it comes late (`tables`); `moved` tells where that is.
"""
