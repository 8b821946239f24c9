"""Rewrite the imported graph until it is in normal form: one pass a file, their order in `pipeline`."""
