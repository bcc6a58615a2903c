"""The only public door: HTTP in, messages out."""
