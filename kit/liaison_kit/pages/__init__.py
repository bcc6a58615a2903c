"""Pages: HTML that a module shows to somebody without the workspace, and without JavaScript.

`serving` declares them, `layout` is what they look alike by; the gateway serves both
(docs/decisions/pages.md).
"""
