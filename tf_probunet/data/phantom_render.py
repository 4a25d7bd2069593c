"""A CT-like picture under real outlines: lung, vessels, chest wall and a lesion, in Hounsfield units, as scanned.

Nothing here is a patient's image. The picture is drawn so that what readers disagreed about is visible in it: the body
of a lesion is the blend of all their outlines, and one that few of them drew is faint and looks like a vessel.

Lengths are pixels of the crop unless a name says mm; (row, column) everywhere. All randomness comes from `rng`.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from tf_probunet.data.phantom_canvas import Canvas

AIR, FAT, MUSCLE, MARROW, CORTEX = -1000.0, -110.0, 55.0, 190.0, 800.0  # Hounsfield units


def render(masks, ratings, scanner, outward, rng):
    """Renders the crop of one lesion.

    Args:
        masks: what each reader drew, [R, H, W] bool; at least one of them not empty.
        ratings: the readers' mean rating by name, on LIDC's scales (see `pylidc_adapter.RATINGS`).
        scanner: a `Scanner`.
        outward: (row, column) direction from the middle of the chest to the lesion; the chest wall lies there.
        rng: `numpy.random.Generator`.

    Returns:
        Image, [H, W, 1] uint8, from the crop's own minimum (0) to its maximum (255).
    """
    masks = np.asarray(masks, bool)
    shape, drawn = masks.shape[1:], masks.any(axis=(1, 2))
    if not drawn.any():
        raise ValueError(f"At least one reader must have drawn the lesion. Received: {len(masks)} empty masks.")
    canvas = Canvas(shape, scanner, rng)
    lesion = masks.any(axis=0)
    outward = np.asarray(outward, float) / max(np.hypot(*outward), 1e-6)

    inside, wall_hu = _chest_wall(canvas, outward, lesion)  # distance to the pleura, and the tissue behind it
    hilum, mediastinum_hu = _mediastinum(canvas, -outward, lesion)
    lung = scanner.lung_hu + 22 * canvas.noise(14) + scanner.texture_hu * canvas.noise(1.1)
    lung += rng.normal(0, 25) * canvas.rows / shape[0]  # gravity
    if rng.uniform() < 0.15:  # haze that no reader called a lesion
        lung += rng.uniform(40, 160) * np.clip(canvas.noise(8) - 0.9, 0, 1)
    vessels = _vessels(canvas, outward, np.minimum(inside, hilum), lesion)
    alpha, lesion_hu = _lesion(canvas, masks, ratings, vessels)
    image = lung + (scanner.blood_hu - lung) * vessels
    image += (np.maximum(lesion_hu, image) - image) * alpha
    for distance, tissue in ((hilum, mediastinum_hu), (inside, wall_hu)):
        share = np.clip(0.5 - distance, 0, 1)  # of each border pixel
        image += (tissue - image) * share
    return canvas.scan(image)[..., None]


def _disc(canvas, direction, radius, gap, keep_out):
    """Distance to a large circle's rim, positive on the middle's side of it; at least `gap` for all of `keep_out`."""
    wobble = 1.2 * canvas.noise(9)
    centre = direction * (gap - radius)
    distance = radius - np.hypot(canvas.rows - centre[0], canvas.columns - centre[1]) + wobble
    return distance + max(0.0, gap - distance[keep_out].min())


def _chest_wall(canvas, outward, lesion):
    """Distance to the pleura (positive in the lung) and the density of pleura, muscle, ribs, fat, skin and air."""
    rng = canvas.rng
    kind = rng.uniform()
    # A fifth of the lesions sit on the pleura, a tenth so deep that no wall is in the crop.
    gap = rng.uniform(-1.5, 1) if kind < 0.2 else canvas.pixels(rng.gamma(1.6, 9)) + 2 if kind < 0.9 else 1e3
    turn = rng.normal(0, 0.35)
    direction = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ outward
    radius = canvas.pixels(rng.uniform(55, 120))
    inside = _disc(canvas, direction, radius, gap, lesion)
    if inside.min() > 1:
        return inside, np.zeros(canvas.shape)
    depth = -inside * canvas.scanner.pixel_spacing_mm  # mm behind the pleura
    centre = direction * (gap - radius)
    angle = np.arctan2(canvas.rows - centre[0], canvas.columns - centre[1])
    along = angle * radius * canvas.scanner.pixel_spacing_mm  # mm along the pleura

    skin = canvas.scanner.body_wall_mm + 2 * canvas.noise(18)
    fatty = depth - rng.uniform(0.35, 0.75) * skin + 5 * canvas.noise(7) + 2 * canvas.noise(3)
    hu = MUSCLE + (FAT - MUSCLE) * expit(fatty / 0.9)
    # Thin sheets of fat: under the pleura, and between the muscles outside the ribs.
    for sheet, spread in ((rng.uniform(1.5, 3), 0.9), (rng.uniform(9, 16), 1.3), (rng.uniform(14, 26), 1.6)):
        bent = depth - sheet - 1.5 * canvas.noise(16)
        hu += (FAT - hu) * 0.9 * np.exp(-((bent / spread) ** 2)) * expit(4 * canvas.noise(9) + 1)
    start, pitch, cortex = rng.uniform(0, 60), rng.uniform(38, 75), CORTEX * rng.uniform(0.6, 1.2)
    for number in range(-12, 13):  # ribs cross the slice obliquely: long flat ovals with a hard shell
        half = rng.uniform(6, 22), rng.uniform(2.8, 5.0)
        middle, tilt = start + number * pitch + rng.normal(0, 5), rng.normal(0, 0.12)
        if not along.min() - half[0] < middle < along.max() + half[0]:
            continue
        across = depth - half[1] - rng.uniform(1.5, 3.5) - tilt * (along - middle)
        oval = np.hypot((along - middle) / half[0], across / half[1])
        if oval.min() < 1:
            margin = (1 - oval) * half[1]  # mm into the bone, about
            bone = MARROW + 60 * canvas.noise(1.5) + (cortex - MARROW) * np.exp(-(((margin - 0.7) / 0.65) ** 2))
            hu += (bone - hu) * np.clip(margin / 0.7 + 0.5, 0, 1)
    hu = np.where(depth > skin - 1.8, 20.0, hu)
    return inside, np.where(depth > skin, AIR, hu)


def _mediastinum(canvas, inward, lesion):
    """Distance to the mediastinum (positive in the lung) and its density; far away in most crops."""
    rng = canvas.rng
    gap = canvas.pixels(4 + rng.gamma(2, 9)) if rng.uniform() < 0.45 else 1e3
    turn = rng.normal(0, 0.7)
    direction = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ inward
    if gap > max(canvas.shape):
        return np.full(canvas.shape, gap), np.zeros(canvas.shape)
    radius = canvas.pixels(rng.uniform(60, 140))
    # Seen from the lung, heart and great vessels are bulges: the lung is outside these circles.
    side, bulges = np.array([-direction[1], direction[0]]), []
    for number in range(3):
        reach = radius * rng.uniform(0.25, 0.5)
        middle = direction * (gap + reach + number * rng.uniform(0, 8))
        middle = middle + side * (number - 1) * reach * rng.uniform(0.7, 1.3)
        bulges.append(np.hypot(canvas.rows - middle[0], canvas.columns - middle[1]) - reach)
    distance = np.min(bulges, axis=0) + 1.5 * canvas.noise(8)
    distance += max(0.0, 3 - distance[lesion].min())
    share = expit(4 * canvas.noise(8) + 3 - 5 * np.exp(-(((distance + 5) / 3) ** 2)))  # organs, with fat between them
    blood = canvas.scanner.blood_hu
    organ = MUSCLE + (blood - MUSCLE) * expit(8 * canvas.noise(10))
    return distance, FAT + (organ - FAT) * share


def _vessels(canvas, outward, inside, lesion):
    """Share of each pixel that is vessel, [H, W]: trees that spread from the hilum, and vessels cut across."""
    rng, size = canvas.rng, max(canvas.shape)
    alpha = np.zeros(canvas.shape)
    thickness = canvas.pixels(canvas.scanner.slice_thickness_mm)
    flow = np.arctan2(outward[1], outward[0])

    def grow(at, heading, radius, depth):
        """One branch: short straight pieces that wander and thin out, then two branches or an end."""
        strength = min(1.0, 2.2 * radius / thickness + 0.2) * rng.uniform(0.6, 1)
        for _ in range(rng.integers(2, 6)):
            last = at + rng.uniform(3, 8) * np.array([np.cos(heading), np.sin(heading)])
            canvas.stroke(alpha, at, last, (radius, radius * 0.93), strength)
            at, heading, radius = last, heading + rng.normal(0, 0.25), radius * 0.93
            strength *= rng.uniform(0.72, 1.08)  # it leaves the slice little by little
        if depth < 3 and radius > 0.35 and strength > 0.2:
            for side in (-1, 1):
                if rng.uniform() < 0.7:
                    grow(at, heading + side * rng.uniform(0.25, 0.8), radius * rng.uniform(0.6, 0.85), depth + 1)

    for _ in range(rng.integers(2, 6)):
        start = -outward * rng.uniform(-0.1, 0.6) * size + rng.normal(0, 0.3 * size, 2)
        grow(start, flow + rng.normal(0, 0.7), 0.5 + rng.gamma(1.5, 0.4), 0)
    for _ in range(rng.integers(50, 130)):  # cut across or obliquely: dots and dashes
        at = rng.uniform(-0.5, 0.5, 2) * size
        depth = at @ outward / size + 0.5  # 0 at the hilum's side, 1 at the wall's
        radius = 0.3 + rng.gamma(1.0, 0.5) * max(0.1, 1.2 - depth)
        heading, length = flow + rng.normal(0, 0.8), rng.exponential(2.2)
        last = at + length * np.array([np.cos(heading), np.sin(heading)])
        strength, middle = rng.uniform(0.2, 1), (at + last) / 2
        for end in (at, last):  # thick in the middle of the slice, thinning where it leaves it
            canvas.stroke(alpha, middle, end, (radius, 0.3 * radius), strength)
    alpha *= np.clip((inside - 1.5) / 6, 0, 1)  # the last millimetres below the pleura hold no visible vessel
    # Vessels that happen to cross the lesion would be seen as part of it: leave a rim, the lesion brings its own.
    clear = ndimage.distance_transform_edt(~lesion)
    return alpha * np.clip(clear / 3, 0.0, 1)


def _lesion(canvas, masks, ratings, vessels):
    """Share and density of the lesion, [H, W] each; adds to `vessels` those that feed or imitate it."""
    rng = canvas.rng
    drawn = masks[masks.any(axis=(1, 2))]
    agreement = len(drawn) / len(masks)  # share of the readers that saw it on this slice
    # Mean signed distance to the outlines: a smooth body in their midst, none of them itself.
    distance = np.mean([_signed_distance(mask) for mask in drawn], axis=0)
    roughness = 0.25 + 0.22 * (ratings["spiculation"] - 1) + 0.12 * (ratings["lobulation"] - 1)
    softness = np.interp(ratings["margin"], (1, 5), (1.9, 0.45))
    body = expit((distance + roughness * canvas.noise(1.3)) / softness)
    # What only some readers counted in is less dense: the rim shows why they differ.
    share = ndimage.gaussian_filter(drawn.mean(axis=0), 0.6)
    alpha = 0.55 * body + 0.45 * share
    faint = np.interp(ratings["subtlety"], (1, 5), (0.45, 1.0)) * np.interp(agreement, (0.25, 1), (0.55, 1.0))
    alpha *= np.clip(faint * rng.normal(1, 0.08), 0.25, 1)

    middle = np.array(ndimage.center_of_mass(share)) - (np.array(canvas.shape) - 1) / 2
    radius = np.sqrt(share.sum() / np.pi)
    thin = np.clip(0.35 * radius, 0.5, 1.3)
    if rng.uniform() < 1 - 0.75 * agreement:  # could be a vessel: it runs on to both sides
        heading = _long_axis(share) + rng.normal(0, 0.15)
        for side in (0, np.pi):
            _branch(canvas, vessels, middle, heading + side, radius * 0.7, thin, faint * rng.uniform(0.6, 1))
    elif rng.uniform() < 0.4:  # fed by one
        _branch(canvas, vessels, middle, rng.uniform(0, 2 * np.pi), radius * 0.8, thin, rng.uniform(0.5, 0.9))
    for _ in range(rng.poisson(2.5 * max(0.0, ratings["spiculation"] - 1.5))):
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(2, 3 + 0.8 * radius)
        ray = np.array([np.cos(heading), np.sin(heading)])
        edge = middle + ray * _reach(canvas, share, middle, ray)
        canvas.stroke(alpha, edge - ray, edge + ray * length, (0.8, 0.3), 0.6 * faint)

    hu = np.interp(ratings["texture"], (1, 3, 4, 5), (-600, -330, -60, 35)) + 25 * canvas.noise(1.6)
    solid = np.clip(distance / 3 - 0.4, 0, 1)
    if 2 <= ratings["texture"] < 4.3:  # part solid: dense in its midst
        hu = hu + (20 - hu) * solid * rng.uniform(0.4, 0.9)
    lime = 6 - ratings["calcification"]  # 0 where no reader saw calcium
    if lime > 0.4:
        spots = 1.0 if abs(ratings["calcification"] - 3) < 0.6 else np.clip(canvas.noise(1.4), 0, 1)
        hu = hu + min(1.0, lime / 3) * rng.uniform(350, 1000) * solid * spots
    return np.clip(alpha, 0, 1), hu


def _signed_distance(mask):
    """Pixels to the outline, positive within."""
    return ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask) + np.where(mask, -0.5, 0.5)


def _long_axis(share):
    """Angle of the longer axis of a blob, radians from the row axis."""
    rows, columns = np.indices(share.shape)
    weights = share.ravel() + 1e-9
    spread = np.cov(rows.ravel(), columns.ravel(), aweights=weights)
    axis = np.linalg.eigh(spread)[1][:, -1]
    return np.arctan2(axis[1], axis[0])


def _reach(canvas, share, middle, ray):
    """Pixels from the middle to the last half-covered pixel along a ray."""
    steps = np.arange(0, max(canvas.shape) / 2)
    at = (middle[:, None] + ray[:, None] * steps) + (np.array(canvas.shape)[:, None] - 1) / 2
    covered = ndimage.map_coordinates(share, at, order=1) > 0.5
    return steps[covered].max() if covered.any() else 0.0


def _branch(canvas, alpha, middle, heading, skip, radius, strength):
    """A vessel that leaves the lesion at `skip` pixels from its middle."""
    at = middle + skip * np.array([np.cos(heading), np.sin(heading)])
    for _ in range(canvas.rng.integers(2, 5)):
        last = at + canvas.rng.uniform(4, 9) * np.array([np.cos(heading), np.sin(heading)])
        canvas.stroke(alpha, at, last, (radius, radius * 0.85), strength)
        at, heading, radius = last, heading + canvas.rng.normal(0, 0.3), radius * 0.85
