"""One technology per file; each vendor client is imported by exactly one of them."""
