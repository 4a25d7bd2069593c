"""Tables and sentences of a comparison's page, as Markdown."""

from tf_probunet.comparison.entries import SAMPLE_COUNTS, Plan
from tf_probunet.comparison.tables import MEASURES, MOST
from tf_probunet.markdown import duration, interval, number, p_text, table

MEASURE_NOTE = (
    "E d(S,Y): distance of samples from graders; E d(S,S'): of samples from each other; matched IoU: "
    "Hungarian-matched, of samples and graders; reconstruction IoU: of a grader's segmentation and its reconstruction "
    "from the posterior's mean; NCC: correlation over pixels of the samples' spread with their error; calibration "
    "error: expected, of the mean probability; presence AUC: whether samples disagree on presence where graders do. - "
    "where a measure is not defined. Parameters and training time are those of the model of 16 samples, an ensemble's "
    "of all members."
)
MODE_NOTE = (
    "Each sample counts for its nearest mode; of modes at equal distance, for the first (the published rule). A class "
    "makes such ties if the image lacks it or the sample does not show it, and then counts as unflipped. TV: total "
    "variation from the nominal probabilities, and from what a perfect sampler would have under this rule on these "
    "images. In brackets the TV that a perfect sampler has by chance, with as many samples. Split ties: counted evenly for all modes at equal distance."
)
WITHOUT_NOTE = (
    "The same of all flips but one, modes that differ in that one alone added up: where it falls, that flip made the "
    "distance."
)
FLIP_NOTE = (
    "Of the pixels that the truth gives to a class and a sample to it or its twin, the share that is the twin's; in "
    "the first row the true probability. In brackets how many of the class's pixels a sample gives to either: of a "
    "class that is not found, no flip can be."
)
RECOVERY_NOTE = (
    "A segmentation goes into the posterior and its mean is decoded. Of the reconstructions that show the class or its "
    "twin: in what share of those that were given the flip the twin prevails, less that share of the others (Youden's "
    "index). 1: the latents carry the flip. 0: they "
    "know nothing of it, so that no sample can either. Where all flips come back and frequencies are wrong, prior and "
    "posterior do not meet."
)
PLANE_NOTE = (
    "A Probabilistic U-Net of two latents (appendix A of the paper): each small picture is the segmentation at its "
    "place in the latent plane, the ellipses, circles on these axes, are the prior at 1, 2 and 3 standard deviations; "
    "the axes tell the latents' values. A numbered dot is where the posterior's mean lies for that segmentation of "
    "the row above; at the rim where it lies beyond."
)


def label(entry) -> str:
    """The label of an entry, the reference in bold, ablations marked."""
    marks = {"reference": f"**{entry['label']}**", "ablation": f"{entry['label']} *(ablation)*"}
    return marks.get(entry["role"], entry["label"])


def overview(plan: Plan, settings, numbers, facts) -> str:
    """What was compared on what, in three lines."""
    base = plan.base
    height, width = base.crop_size
    bias = ", so figures on this split are somewhat better than those on new data would be"
    return (
        f"{numbers['num_images']:,} images of {numbers['num_groups']} group{'s' * (numbers['num_groups'] > 1)}, split "
        f"{settings.split}, central {height}x{width} pixels. {source(plan, facts)} Of all models: {base.steps:,} steps "
        f"of batch {base.batch_size}, channels {'-'.join(map(str, base.channels))}; of each run the weights that had "
        f"the lowest energy distance on {base.validation_images} images of split val, measured every "
        f"{base.steps_per_epoch} steps{bias if settings.split == 'val' else ''}."
    )


def source(plan, facts) -> str:
    """Where the data is from, and whose it is."""
    return f"{facts['data']['source'].rstrip('.')}. {plan.attribution}".rstrip()


def distance_table(numbers) -> str:
    """Energy distances at 1, 4, 8 and 16 samples with intervals and floors."""
    rows = [
        [label(entry), *[_distance(entry["energy_distance"][str(count)]) for count in SAMPLE_COUNTS]]
        for entry in numbers["entries"]
    ]
    floors = ["*floor: a perfect sampler*", *[f"*{number(value)}*" for value in numbers["floors"].values()]]
    return table(["energy distance", *[f"{count} sample{'s' if count > 1 else ''}" for count in SAMPLE_COUNTS]],
                 [*rows, floors])


def distance_note(numbers) -> str:
    """How the table's figures are made."""
    entries = numbers["entries"]
    note = "Squared generalised energy distance, d = 1 - IoU: lower is better. Means over images"
    if numbers["num_groups"] > 1:
        note += (
            "; in brackets 95 % intervals, a bootstrap over groups of images (patients, videos), which says nothing of "
            "how trainings differ"
        )
    if any(len(entry["seeds"]) > 1 for entry in entries):
        note += "; where a model was trained with several seeds, each one's figure is given, and the mean is of those"
    note += ". At n samples every subset of n of the samples drawn counts alike"
    for entry in entries:
        variants = sorted({run["num_samples"] for run in entry["runs"]})
        if len(variants) > 1:
            note += (f"; of {entry['label']}, made anew for {', '.join(map(str, variants[:-1]))} and {variants[-1]} "
                     "samples, the smallest that has n is taken")
    note += (
        ". The floor is what a perfect sampler, who draws from the graders themselves, would have on average."
    )
    return "\n\n".join([note, *[
        f"{entry['label']}: {entry['small_ensemble']} members were trained. Its figures follow from pairs of different "
        f"members, which gives what as many members as samples would have on average; at {MOST} samples that of "
        f"{MOST} members trained alike. The measures below are of the {entry['small_ensemble']} members themselves."
        for entry in entries if entry["small_ensemble"]
    ]])


def _distance(figures):
    text = number(figures["mean"]) + interval(figures["interval_95"])
    if len(figures["by_seed"]) > 1:
        text += "<br>" + "; ".join(f"seed {seed}: {number(value)}" for seed, value in figures["by_seed"].items())
    return text


def test_table(entries) -> str:
    """Differences from the reference with intervals, effect sizes and p-values."""
    rows = []
    for entry in entries:
        if entry["role"] == "reference":
            continue
        tests = [entry["energy_distance"][str(count)]["against_reference"] for count in SAMPLE_COUNTS]
        rows.append([label(entry), *[
            f"{number(test['difference'], sign=True)}{interval(test['interval_95'], sign=True)}<br>"
            f"effect {number(test['effect_size'], 2, sign=True)}, p {p_text(test['p_value_holm'])}"
            + (f"<br>groups: p {p_text(test['group_p_value_holm'])}" if "group_p_value_holm" in test else "")
            for test in tests
        ]])
    return table(["difference", *[f"{count} sample{'s' if count > 1 else ''}" for count in SAMPLE_COUNTS]], rows)


def test_note(numbers) -> str:
    """What the tests are."""
    tests = len(SAMPLE_COUNTS) * (len(numbers["entries"]) - 1)
    return (
        "Above 0: a larger distance than the reference, so worse. Wilcoxon's signed-rank test on the same images, "
        "two-sided, zeros as in Pratt; effect: matched-pairs rank-biserial correlation, 1 where every image is worse; "
        f"p-values by Holm over all {tests} tests of the table. Images of one group are alike, which makes p over "
        "images too small" + (": below it stands p over the means of groups." if numbers["num_groups"] > 1 else
                       "; all images are of one group here, so there is no test over groups, and no interval.")
    )


def measure_table(entries) -> str:
    """The other measures, parameters and training time."""
    rows = []
    for entry in entries:
        largest = [run for run in entry["runs"] if run["num_samples"] == MOST]
        rows.append([
            label(entry), *[number(entry["measures"][name], digits) for name, _, digits, _ in MEASURES],
            f"{largest[0]['parameters']:,}", duration(sum(run["seconds"] for run in largest) / len(largest)),
        ])
    return table(["model", *[heading for _, heading, *_ in MEASURES], "parameters", "training"], rows)


def mode_table(entries) -> str:
    """How well mode frequencies meet their probabilities."""
    rows = []
    for entry in entries:
        first, split = entry["modes"]["first"], entry["modes"]["split"]["against_truth"]
        nominal, fair = first["against_probabilities"], first["against_truth"]
        rows.append([
            label(entry), f"{nominal['num_hit']:.3g} of {nominal['num_modes']:.0f}",
            *[f"{number(found['total_variation'])} ({number(found['expected_total_variation'])})"
              for found in (nominal, fair, split)],
            number(fair["log_correlation"]),
        ])
    return table(["model", "modes hit", "TV, nominal", "TV, perfect sampler", "TV, split ties",
                  "log-frequency correlation"], rows)


def without_table(entries) -> str:
    """Total variation of the modes of all flips but one."""
    flips = entries[0]["pixel_flip_rates"]
    rows = [[label(entry), number(entry["modes"]["first"]["against_truth"]["total_variation"]),
             *map(number, entry["modes"]["first"]["total_variation_without"])] for entry in entries]
    return table(["TV, perfect sampler", "all flips", *[f"without {flip['from']}" for flip in flips]], rows)


def flip_table(entries) -> str:
    """Flip rates by pixels, and how many pixels there are to tell them by."""
    flips = entries[0]["pixel_flip_rates"]
    rows = [["*true probability*", *[f"*{number(flip['probability'])} (1.000)*" for flip in flips]]]
    rows += [[label(entry), *[f"{number(flip['rate'])} ({number(flip['met'])})" for flip in entry["pixel_flip_rates"]]]
             for entry in entries]
    return table(["flipped pixels", *[flip["from"] for flip in flips]], rows)


def recovery_table(entries) -> str:
    """Whether flips come back from the posterior; empty where no model has one."""
    flips = entries[0]["pixel_flip_rates"]
    rows = [[label(entry), *[number(flip["recovered"]) for flip in entry["pixel_flip_rates"]]] for entry in entries
            if any(flip["recovered"] is not None for flip in entry["pixel_flip_rates"])]
    return table(["flips that come back", *[flip["from"] for flip in flips]], rows) if rows else ""


def cases_note(settings) -> str:
    """By which rule the images of the sheets are chosen."""
    return (
        f"{settings.num_cases} images, spread evenly over the split; none is picked by how it looks. The first samples "
        "of each model, in the order in which they are drawn."
    )


def presence_section(numbers) -> list[str]:
    """Energy distances where graders disagree on presence, and where they agree (appendix E)."""
    kinds = numbers["presence"]
    if len(kinds) < 2:
        which = "disagree" if "disagreed" in kinds else "agree"
        return [f"Graders {which} on the presence of a foreground class in every image: there is nothing to set apart."]
    words = {"disagreed": "graders disagree on presence", "agreed": "graders agree"}
    head = ["energy distance"] + [f"{words[name]}, {count}" for name in kinds for count in (1, MOST)]
    rows = [
        [label(entry), *[number(found["mean"]) + interval(found["interval_95"]) for name in kinds
                         for found in (entry["presence"][name][str(count)] for count in (1, MOST))]]
        for entry in numbers["entries"]
    ]
    floors = ["*floor: a perfect sampler*",
              *[f"*{number(kinds[name]['floors'][str(count)])}*" for name in kinds for count in (1, MOST)]]
    counts = "; ".join(f"{words[name]}: {kinds[name]['num_images']:,} images" for name in kinds)
    return [f"At 1 and at {MOST} samples. {counts[0].upper()}{counts[1:]}.", table(head, [*rows, floors])]


def published_table(published) -> str:
    """What others published, with its source."""
    rows = [[name, *["-" if value is None else f"{value:g}" for value in values], source]
            for name, values, source in published["rows"]]
    head = ["published energy distance", *map(str, SAMPLE_COUNTS), "source"]
    note = "Other images, sizes, networks and schedules than above: not to be compared to the digit."
    return f"{published['title']}. {note}\n\n{table(head, rows, last_is_text=True)}"


def run_table(entries) -> str:
    """Every training: seed, chosen step, validation figure, time."""
    def step(run):
        return "each member's own" if run["best_step"] is None else f"{run['best_step']:,} of {run['steps']:,}"

    rows = [
        [run["name"], f"{run['parameters']:,}", step(run), number(run["best_val_energy_distance"], 4),
         duration(run["seconds"]), f"`{run['weights_sha256'][:12]}`"]
        for entry in entries for run in entry["runs"]
    ]
    return table(["run", "parameters", "chosen step", "its energy distance on validation images", "time",
                  "weights (sha256)"], rows, last_is_text=True)


def making(plan, settings, command, facts) -> list[str]:
    """Command, machine, data and licence."""
    machines = sorted({
        f"{one['processor']}, {one['cores']} core{'s' if one['cores'] > 1 else ''}"
        + (f", {one['gpus']} GPU" if one["gpus"] else "")
        + f"; Python {one['python']}, TensorFlow {one['tensorflow']}, Keras {one['keras']}, "
        f"tf_probunet {one['tf_probunet']}"
        for one in (record["machine"] for record in facts)
    })
    images = ", ".join(f"{count:,} in {split}" for split, count in facts[0]["data"]["num_images"].items())
    return [
        f"```console\n$ {command}\n```" if command else "",
        "[plan.json](plan.json) has every field of every model, `records/` what was measured, [comparison.json]"
        "(comparison.json) every figure of this page; `--page_only` draws it again from the records alone. Samples: "
        f"seed {settings.seed}, batches of {settings.batch_size} images; intervals: seed {settings.seed}, 2000 "
        "resamples. Times are of trainings as they ran, validation included.",
        f"Machine: {'. '.join(machines)}.",
        f"Data: {source(plan, facts[0])} Images: {images}. Licence: {facts[0]['data']['licence'].rstrip('.')}.",
    ]
