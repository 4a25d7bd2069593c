"""Tables and numbers as Markdown has them."""


def table(head, rows, last_is_text=False) -> str:
    """A Markdown table; the first column is text, all others are numbers, but perhaps for the last.

    Example:
        >>> print(table(("model", "n"), [("a", "1")]))
        | model | n |
        |---|---:|
        | a | 1 |
    """
    sides = ["---"] + ["---:"] * (len(head) - 1)
    if last_is_text:
        sides[-1] = "---"
    lines = [head, sides, *rows]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def number(value, digits=3, sign=False) -> str:
    """A number, or "-" for what is not defined.

    Example:
        >>> number(0.25), number(None), number(0.25, sign=True)
        ('0.250', '-', '+0.250')
    """
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def interval(ends, digits=3, sign=False) -> str:
    """An interval in brackets, with a space before it; nothing where there is none."""
    return "" if ends is None else f" ({number(ends[0], digits, sign)} to {number(ends[1], digits, sign)})"


def p_text(value) -> str:
    """A p-value in two digits.

    Example:
        >>> p_text(0.0312), p_text(3.2e-41), p_text(0.0), p_text(None)
        ('0.031', '3.2e-41', '< 1e-300', '-')
    """
    if value is None:
        return "-"
    return "< 1e-300" if value < 1e-300 else f"{value:.2g}" if value >= 0.001 else f"{value:.1e}"


def duration(seconds) -> str:
    """Hours and minutes, or minutes and seconds.

    Example:
        >>> duration(4000), duration(70), duration(7.2)
        ('1 h 06 min', '1 min 10 s', '7 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
