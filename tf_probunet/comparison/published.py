"""Figures that others published, for context: on other splits, resamplings and networks, not to be compared."""

PAPER = "Kohl et al. 2018, figure 4{}, read off the plot, +-0.01"
# Energy distance at 1, 4, 8 and 16 samples.
TABLES = {
    "lidc": {
        "title": "LIDC-IDRI, 128x128 crops of 180x180 tiles at 0.5 mm, the paper's test split",
        "rows": [
            ("Dropout U-Net", (1.16, 0.61, 0.51, 0.47), PAPER.format("a")),
            ("U-Net Ensemble", (0.69, 0.53, 0.50, 0.485), PAPER.format("a")),
            ("M-Heads", (0.87, 0.41, 0.395, 0.34), PAPER.format("a")),
            ("Image2Image VAE", (1.03, 0.53, 0.45, 0.41), PAPER.format("a")),
            ("Probabilistic U-Net", (0.81, 0.39, 0.32, 0.29), PAPER.format("a")),
            ("Probabilistic U-Net", (None, None, None, 0.324), "a public reproduction with the paper's network, about "
             "16,000 steps of batch 32"),
        ],
    },
    "cityscapes": {
        "title": "Cityscapes with flipped labels, 256x512, the official validation split",
        "rows": [
            ("Dropout U-Net", (1.03, 0.48, 0.385, 0.34), PAPER.format("b")),
            ("U-Net Ensemble", (0.74, 0.45, 0.40, 0.38), PAPER.format("b")),
            ("M-Heads", (0.765, 0.39, 0.33, 0.285), PAPER.format("b")),
            ("Image2Image VAE", (0.915, 0.40, 0.32, 0.275), PAPER.format("b")),
            ("Probabilistic U-Net", (0.875, 0.335, 0.25, 0.205), PAPER.format("b")),
        ],
    },
}
