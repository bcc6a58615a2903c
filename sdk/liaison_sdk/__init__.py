"""The agreement that Liaison's services and its vendors share."""
