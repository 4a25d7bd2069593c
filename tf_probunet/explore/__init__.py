"""A local web page on which one walks through the hypotheses of a model; `probunet explore` serves it."""
