"""The demo company: Clarté & Hale sells energy meters, software and advice in France and the UK."""
