"""What all benchmarks do with their figures."""

import json
from pathlib import Path


def report(figures: dict, output: str | None) -> None:
    """Prints figures as JSON and, where a file is named, writes them there."""
    text = json.dumps(figures, indent=1)
    print(text)
    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(text + "\n", encoding="utf-8")
