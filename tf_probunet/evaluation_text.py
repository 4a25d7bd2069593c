"""The figures of an evaluation as a few lines of text."""

TITLES = {"all": "all images", "presence_disagreed": "graders disagree on presence"}


def table(summary: dict) -> str:
    """The summary as a few aligned lines of text.

    Args:
        summary: of `tf_probunet.evaluation.Evaluation.summary`.
    """
    lines = [
        f"Split {summary['split']}, {summary['image_size'][0]}x{summary['image_size'][1]} pixels, "
        f"{summary['num_samples']} samples an image, seed {summary['seed']}."
    ]
    if "scored_classes" in summary:
        lines.append(f"Scored over {', '.join(summary['scored_classes'])}; all modes of flips, by probability.")
    for name, figures in summary["images"].items():
        lines += ["", f"{TITLES[name]}: {figures['num_images']} images of {figures['num_groups']} groups"]
        lines += _by_number_of_samples(figures)
        lines.append(
            f"  E d(S,Y) {figures['cross']:.3f}, E d(S,S') {figures['sample_diversity']:.3f}, "
            f"E d(Y,Y') {figures['grader_diversity']:.3f}"
        )
        lines.append("  " + "; ".join(_further(figures)))
        # With flips something is nearly always there: which class, not whether any, is what is uncertain.
        lines += _modes(figures) if "modes" in figures else [_presence(figures)]
    return "\n".join(lines)


def _by_number_of_samples(figures):
    yield "  samples  energy distance   95 % interval    floor (perfect sampler)   matched IoU"
    for count, distance in figures["energy_distance"].items():
        low, high = distance["interval_95"]
        interval = f"{low:.3f} to {high:.3f}" if low is not None else "one group: none"
        matched = figures["matched_iou"][count]["mean"]
        yield f"  {count:>7}  {distance['mean']:>15.4f}   {interval:<15}  {distance['floor']:<23.4f}   {matched:>11.4f}"


def _further(figures):
    """Single figures, where they are defined."""
    for name, figure in (
        ("IoU of reconstructions", figures["reconstruction_iou"]),
        ("correlation of spread and error", figures["variance_error_correlation"]),
        ("calibration error", figures["calibration"]["expected_error"]),
    ):
        if figure is not None and figure.get("mean", figure.get("value")) is not None:
            yield f"{name} {figure.get('mean', figure.get('value')):.3f}{_interval(figure)}"


def _interval(figure):
    low, high = figure["interval_95"]
    return "" if low is None else f" ({low:.3f} to {high:.3f})"


def _presence(figures):
    line = (
        f"  lesion in {100 * figures['sample_presence']:.0f} % of samples, {100 * figures['grader_presence']:.0f} % of "
        f"segmentations; both empty and filled samples in {100 * figures['both_empty_and_filled_samples']:.0f} % of "
        "images"
    )
    if figures["presence_auc"] is None:
        return line
    auc = figures["presence_auc"]
    return f"{line}\n  disagreement on presence foretold with ROC-AUC {auc['value']:.3f}{_interval(auc)}"


def _modes(figures):
    published = figures["modes"]["first"]["against_probabilities"]
    fair = figures["modes"]["first"]["against_truth"]
    correlation = published["log_correlation"]
    yield (
        f"  modes: {published['num_hit']} of {published['num_modes']} hit, total variation from nominal probabilities "
        f"{published['total_variation']:.3f}{_interval(published)}"
        + (f", log-frequency correlation {correlation:.3f}" if correlation is not None else "")
    )
    yield (
        f"         absent classes accounted for: total variation {fair['total_variation']:.3f}{_interval(fair)}; a "
        f"perfect sampler's {fair['expected_total_variation']:.3f}"
    )
    without = [
        f"without {flip['from']} {found:.3f}" for flip, found in
        zip(figures["pixel_flip_rates"], figures["modes"]["first"]["total_variation_without"], strict=True)
    ]
    yield f"         of all flips but one: {', '.join(without)}"
    rates = [
        f"{flip['from']} {flip['rate']:.2f} ({flip['probability']:.2f})"
        for flip in figures["pixel_flip_rates"] if flip["rate"] is not None
    ]
    yield f"  flipped pixels (truth): {', '.join(rates) or 'none'}"
    shown = [f"{flip['from']} {flip['met']:.2f}" for flip in figures["pixel_flip_rates"] if flip["met"] is not None]
    yield f"  pixels shown as their class or its twin: {', '.join(shown) or 'none'}"
    recovered = [f"{flip['from']} {flip['recovered']:.2f}" for flip in figures["pixel_flip_rates"]
                 if flip["recovered"] is not None]
    if recovered:
        yield f"  flips that come back from the posterior (0 none, 1 all): {', '.join(recovered)}"
