"""Error texts about names that do not exist, with the ones that the user may have meant."""

import difflib


def unknown(kind: str, name: str, known) -> str:
    """An error text about a name that is none of `known`, with the near ones.

    Example:
        >>> unknown("preset", "lidc_smal", ["lidc_small", "demo"])
        "Unknown preset 'lidc_smal'. Did you mean lidc_small?"
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(sorted(known))}."
    return f"Unknown {kind} {name!r}. {meant}"
