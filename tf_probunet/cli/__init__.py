"""The `probunet` command, a file a verb; no logic of its own."""
