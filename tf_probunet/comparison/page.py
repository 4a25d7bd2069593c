"""The page of a comparison: Markdown, its figures and its numbers, from the records alone."""

import json
import os
from pathlib import Path

from tf_probunet.alone import alone
from tf_probunet.comparison import text
from tf_probunet.comparison.compare import RECORDS
from tf_probunet.comparison.figures import draw_figures
from tf_probunet.comparison.published import TABLES
from tf_probunet.comparison.records import CASES, FACTS, read_arrays, read_record
from tf_probunet.comparison.state import check_plan, load_comparison, stale
from tf_probunet.comparison.tables import comparison_figures, gather
from tf_probunet.staging import replace_file

PAGE, NUMBERS, NOTES = "README.md", "comparison.json", "notes.md"


class NothingToShow(ValueError):
    """Of no model are all records there that its row needs."""


def write_page(output: str | os.PathLike, report=print) -> Path:
    """Draws the page of a comparison from its plan and records; neither weights nor dataset are needed.

    Args:
        output: folder of the comparison. Text of `notes.md` in it, such as what the results mean, stands on the page.
        report: called with lines of text for the user.
    Returns:
        the page, OUTPUT/README.md; beside it figures and comparison.json.
    Raises:
        OSError: the folder is no comparison, or a record is damaged.
        NothingToShow: no model is recorded whole yet.
        ValueError: a record does not fit the plan.
        ImportError: matplotlib is missing.
    """
    output = Path(output)
    comparison = load_comparison(output)
    with alone(output):  # other processes of the same comparison come before or after
        return _write_page(output, *comparison, report)


def _write_page(output, plan, settings, command, report):
    records = {}
    for run in plan.runs():
        folder = output / RECORDS / run.name
        if not (folder / FACTS).is_file():
            continue
        records[run.name] = read_record(folder)
        check_plan(folder, records[run.name].experiment, run)
        reasons = stale(records[run.name].facts, run, settings)
        if reasons:
            raise ValueError(f"{folder} was evaluated with other settings: {'; '.join(reasons)}. Run the comparison "
                             "again where weights and data are.")
    results, missing = gather(plan, records)
    if not any(result.entry.role != "illustration" for result in results):
        raise NothingToShow(f"No model of {plan.name} is recorded whole yet, so there is nothing to show. Lacking: "
                            f"{', '.join(missing)}.")
    numbers = {"name": plan.name, "title": plan.title, "command": command, "missing": missing,
               **comparison_figures(plan, results, settings.seed)}
    facts = [record.facts for record in records.values()]
    pictures = draw_figures(plan, results, numbers, read_arrays(output / RECORDS / CASES), facts[0], output)
    with replace_file(output / NUMBERS) as file:
        json.dump(numbers, file, indent=1, allow_nan=False)
        file.write("\n")
    notes = output / NOTES
    text = _page(plan, settings, numbers, facts, pictures, notes.read_text(encoding="utf-8") if notes.is_file() else "")
    with replace_file(output / PAGE) as file:
        file.write(text)
    report(f"Page: {output / PAGE}")
    return output / PAGE


def _page(plan, settings, numbers, facts, pictures, notes) -> str:
    entries = numbers["entries"]
    reference = next((entry for entry in entries if entry["role"] == "reference"), None)
    sections = [f"# {plan.title}", plan.about, text.overview(plan, settings, numbers, facts[0]), notes.strip()]
    if numbers["missing"]:
        sections.append(f"**Not there yet:** {', '.join(numbers['missing'])}.")
    sections += [
        "## Energy distance", text.distance_table(numbers), text.distance_note(numbers),
        *_image(pictures, "distances", "Energy distances of all images"),
    ]
    if reference is not None and len(entries) > 1:
        sections += [f"## Against {reference['label']}", text.test_table(entries), text.test_note(numbers)]
    sections += ["## Further measures, at 16 samples", text.measure_table(entries), text.MEASURE_NOTE]
    if "modes" in entries[0]:
        sections += ["## Modes", text.mode_table(entries), text.MODE_NOTE,
                     *_image(pictures, "modes", "Mode frequencies"),
                     text.without_table(entries), text.WITHOUT_NOTE,
                     "### Flipped pixels", text.flip_table(entries), text.FLIP_NOTE]
        recovery = text.recovery_table(entries)
        if recovery:
            sections += ["### Flips that come back from the posterior", recovery, text.RECOVERY_NOTE]
    sections += ["## The same images, all models", text.cases_note(settings)]
    sections += [line for name in pictures if name.startswith("samples") for line in _image(pictures, name, "Samples")]
    sections += ["## Where graders disagree, and where they agree", *text.presence_section(numbers),
                 *_image(pictures, "presence", "Energy distance by the graders' agreement")]
    if "plane" in pictures:
        sections += ["## The plane of two latents", text.PLANE_NOTE, *_image(pictures, "plane", "Latent plane")]
    if plan.published:
        sections += ["## Published figures, for context", text.published_table(TABLES[plan.published])]
    sections += ["## Runs", text.run_table(entries), *_image(pictures, "training", "Validation while training")]
    sections += ["## How it was made", *text.making(plan, settings, numbers["command"], facts)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _image(pictures, name, words):
    return [f"![{words}]({pictures[name]})"] if name in pictures else []
