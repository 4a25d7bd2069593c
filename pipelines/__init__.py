"""Runnable definitions that wire the package to existing engines."""
