"""The sheet on which the phantom is drawn, and the scanner through which it is seen.

Lengths are pixels of the crop unless a name says mm, densities are Hounsfield units, pairs are (row, column).
"""

import dataclasses
import functools

import numpy as np
from scipy import fft, ndimage


@dataclasses.dataclass(frozen=True)
class Scanner:
    """How one scan looks; all its slices share it.

    Attributes:
        lung_hu: mean density of lung, Hounsfield units.
        blood_hu: density of vessels, higher where contrast agent was given.
        texture_hu: standard deviation of the parenchyma's own structure.
        noise_hu: standard deviation of the noise, before the wall's absorption is counted.
        grain: correlation length of the noise, pixels: small for a sharp reconstruction kernel.
        blur: standard deviation of the point spread, pixels.
        body_wall_mm: from pleura to skin, millimetres.
        pixel_spacing_mm: side of a pixel, millimetres.
        slice_thickness_mm: millimetres; thick slices make thin vessels fainter.
    """

    lung_hu: float
    blood_hu: float
    texture_hu: float
    noise_hu: float
    grain: float
    blur: float
    body_wall_mm: float
    pixel_spacing_mm: float
    slice_thickness_mm: float


def random_scanner(rng, pixel_spacing_mm, slice_thickness_mm, contrast_used):
    """Draws the look of a scan. Thin slices and sharp kernels are noisy, as in LIDC-IDRI's mix of scanners."""
    sharpness = rng.beta(1.5, 2.5)  # 0 a soft kernel, 1 a sharp one
    return Scanner(
        lung_hu=rng.normal(-865, 22),
        blood_hu=rng.uniform(110, 240) if contrast_used else rng.uniform(25, 60),
        texture_hu=rng.uniform(10, 24),
        noise_hu=rng.uniform(6, 14) * (1 + 2.0 * sharpness) * np.sqrt(2.0 / max(slice_thickness_mm, 1.0)),
        grain=rng.uniform(0.75, 1.0) - 0.35 * sharpness,
        blur=rng.uniform(0.75, 0.95) - 0.3 * sharpness,
        body_wall_mm=rng.uniform(22, 60),
        pixel_spacing_mm=pixel_spacing_mm,
        slice_thickness_mm=slice_thickness_mm,
    )


class Canvas:
    """The pixel grid of one crop, its scanner and its randomness.

    Attributes:
        shape: (H, W).
        scanner: a `Scanner`.
        rng: `numpy.random.Generator`.
        rows, columns: [H, W] float64, pixels from the middle of the crop.
    """

    def __init__(self, shape, scanner, rng):
        self.shape, self.scanner, self.rng = shape, scanner, rng
        rows, columns = np.indices(shape, np.float64)
        self.rows, self.columns = rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2  # 0 in the middle

    def noise(self, grain):
        """Smooth noise, [H, W], mean 0 and standard deviation 1; `grain` in pixels, one number or one an axis."""
        # A Gaussian filter through the Fourier transform: as fast for a coarse grain as for a fine one.
        spectrum = fft.rfft2(self.rng.standard_normal(self.shape))
        field = fft.irfft2(spectrum * _gaussian_spectrum(self.shape, *np.broadcast_to(grain, 2).tolist()), s=self.shape)
        return field / field.std()

    def pixels(self, millimetres):
        return millimetres / self.scanner.pixel_spacing_mm

    def stroke(self, alpha, first, last, radius, strength):
        """Draws a tapering tube onto `alpha`, [H, W], in place.

        Args:
            alpha: share of each pixel that is covered; the larger of old and new stays.
            first, last: ends of the tube, (row, column) from the middle of the crop, [2] float each.
            radius: at the two ends. A tube thinner than a pixel covers part of it.
            strength: share that a full pixel gets, 0 to 1: less where the tube fills part of the slice's thickness.
        """
        reach = max(radius) + 2
        low = np.floor(np.minimum(first, last) - reach).astype(int) + np.array(self.shape) // 2
        high = np.ceil(np.maximum(first, last) + reach).astype(int) + np.array(self.shape) // 2 + 1
        low, high = np.maximum(low, 0), np.minimum(high, self.shape)
        if (low >= high).any():
            return
        window = np.s_[low[0] : high[0], low[1] : high[1]]
        rows, columns = self.rows[window] - first[0], self.columns[window] - first[1]
        axis = np.subtract(last, first)
        at = np.clip((rows * axis[0] + columns * axis[1]) / max(axis @ axis, 1e-9), 0, 1)
        distance = np.hypot(rows - at * axis[0], columns - at * axis[1])
        width = radius[0] + (radius[1] - radius[0]) * at
        covered = strength * np.clip(width - distance + 0.5, 0, 1) * np.minimum(1, 2 * width)
        np.maximum(alpha[window], covered, out=alpha[window])

    def scan(self, image):
        """Blurs densities, [H, W], adds noise and maps the crop's own range to 0..255 as the public crops do: uint8."""
        scanner, rng = self.scanner, self.rng
        image = ndimage.gaussian_filter(image, scanner.blur)
        noise = self.noise(scanner.grain) - 0.45 * self.noise(3 * scanner.grain)  # little power at low frequencies
        # More noise where much tissue absorbs, streaked along the rows as by shoulders and arms.
        absorbed = ndimage.gaussian_filter((image > -300).astype(float), 16)
        streaks = self.noise((0.8, 14)) * rng.gamma(1.0, 0.35)
        image = image + scanner.noise_hu * (1 + 0.4 * absorbed) * noise + scanner.noise_hu * absorbed * streaks
        image = np.clip(image, -1024, 3071)
        low, high = image.min(), image.max()
        return np.round((image - low) * (255 / max(high - low, 1.0))).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _gaussian_spectrum(shape, row_grain, column_grain):
    """Transfer function of a Gaussian filter without its mean, [H, W // 2 + 1], for `rfft2`."""
    rows, columns = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    transfer = np.exp(-2 * np.pi**2 * ((rows * row_grain) ** 2 + (columns * column_grain) ** 2))
    transfer[0, 0] = 0
    return transfer
