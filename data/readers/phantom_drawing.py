"""Synthetic patients in the LGG layout, to run, test and tune on without a download.

A network can segment them, but a threshold cannot: each patient has its own gains, bias field, noise and contrast,
lesions have irregular borders that fade into the tissue, and some bright structures are not tumours. They look like LGG
slices, but are not anatomically correct.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data.atomic import new_folder
from data.errors import DataError

VERSION = 1  # raise it when a drawn pixel changes; older phantoms are then written again
SIZE = 128
NUM_SLICES = 12
MARKER = "phantom.json"

# Grey levels of (pre-contrast, FLAIR, post-contrast), estimated from LGG slices by eye.
SCALP, SKULL, FLUID = (190, 140, 195), (22, 16, 22), (34, 22, 36)
WHITE, GREY, NUCLEI = (118, 88, 118), (92, 112, 96), (102, 100, 104)

Rng = np.random.Generator
Fields = tuple[np.ndarray, np.ndarray, np.ndarray]  # each broadcasts to slices x 128 x 128
_Y, _X = np.meshgrid(*[np.linspace(-1, 1, SIZE, dtype=np.float32)] * 2, indexing="ij")
_Z = np.linspace(-0.5, 0.9, NUM_SLICES, dtype=np.float32)[:, None, None]  # -1 and 1: chin and crown


def write_phantom(root: Path, *, num_patients: int, seed: int = 0, contrast: float = 1.0) -> Path:
    """Return the folder below root that holds these phantoms; the first call writes it and later ones reuse it.

    It holds `kaggle_3m/PHANTOM_0001/PHANTOM_0001_1.tif` and so on. Patient k depends on (seed, k) and the contrast
    alone. The contrast is a factor on what lesions add to the grey levels; with 0.4 they are faint.

    Raises:
        DataError: The folder exists but was changed after it was written.
    """
    parameters: dict[str, int | float] = {"version": VERSION, "seed": seed, "num_patients": num_patients}
    name = f"phantom_v{VERSION}_seed{seed}_{num_patients}"
    if contrast != 1:
        parameters, name = {**parameters, "contrast": contrast}, f"{name}_contrast{contrast:g}"
    final = root / name
    if not final.exists():
        with new_folder(final) as folder:
            for k in range(1, num_patients + 1):
                _write_patient(folder / "kaggle_3m" / f"PHANTOM_{k:04d}", *draw_patient(seed, k, contrast))
            (folder / MARKER).write_text(json.dumps(parameters))
    _check_complete(final, parameters)
    return final


def draw_patient(
    seed: int, k: int, contrast: float = 1.0
) -> tuple[UInt8[np.ndarray, "12 128 128 3"], Bool[np.ndarray, "12 128 128"]]:
    """Return the images and masks of phantom patient k, lowest slice first; at least one slice has a tumour."""
    rng = np.random.default_rng([seed, k])
    radius, u, v = _head(rng)
    tissue, brain, ventricles = _tissue(rng, radius, u, v)
    lesion, depth = _lesions(rng, u, v, allowed=brain & (ventricles < 0.5))
    scene = _add_distractors(rng, tissue, u, v, brain, ventricles)
    scene = _add_lesion_signal(rng, scene, depth, allowed=brain * (1 - ventricles), contrast=contrast)
    return _scan(rng, scene), lesion


def _head(rng: Rng) -> Fields:
    """Return head coordinates: the radius, 1 on the scalp of every slice; u (left to right) and v (front to back), -1
    to 1."""
    angle = rng.normal(0, 0.06)
    x, y = _X - rng.normal(0, 0.03), _Y - rng.normal(0, 0.03)
    u = (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(0.66, 0.78)
    v = (y * np.cos(angle) - x * np.sin(angle)) / rng.uniform(0.82, 0.94)
    section = np.sqrt(1 - np.clip(_Z, -0.25, 1) ** 2)  # an ellipsoid above, nearly a cylinder at its base
    wobble = _smooth_noise(rng, cells=3) * 0.03
    return np.hypot(u, v) / section + wobble, u[None], v[None]


def _tissue(rng: Rng, radius: np.ndarray, u: np.ndarray, v: np.ndarray) -> Fields:
    inner = rng.uniform(0.84, 0.88)
    brain = radius < inner
    folds = _smooth_noise(rng, cells=18)
    cortex = _step(radius, 0.45, 0.75)
    # The lines where smooth noise changes sign wind like sulci; grey matter lies along them.
    grey = np.maximum(np.exp(-((folds / 0.55) ** 2)) * cortex, _step(radius, inner - 0.09, inner - 0.03))
    sulci = np.exp(-((folds / 0.2) ** 2)) * _step(radius, 0.5, 0.75)
    midline = np.exp(-((u / 0.025) ** 2)) * _step(np.abs(v), 0.25, 0.4)
    ventricles = _ventricles(rng, u, v)
    nuclei = np.exp(-(((np.abs(u) - 0.28) / 0.09) ** 4) - ((v + 0.02) / 0.22) ** 4 - ((_Z - 0.05) / 0.22) ** 4)

    scene = np.empty((*radius.shape, 3), np.float32)
    scene[:] = _jitter(rng, WHITE)
    for weight, levels in ((grey, GREY), (nuclei, NUCLEI), (np.maximum(sulci, midline), FLUID), (ventricles, FLUID)):
        scene = _blend(scene, 0.85 * weight, _jitter(rng, levels))
    scene += (6 * _smooth_noise(rng, cells=32))[..., None]
    scene = _blend(scene, _step(radius, inner - 0.015, inner + 0.005), _jitter(rng, SKULL))
    scene = _blend(scene, _step(radius, 0.91, 0.93), _jitter(rng, SCALP))
    return scene * (1 - _step(radius, 0.99, 1.02))[..., None], brain, ventricles


def _ventricles(rng: Rng, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    scale, bend = rng.uniform(0.7, 1.4), rng.uniform(0.3, 0.6)
    across = (np.abs(u) - 0.07 - bend * v**2) / (0.06 * scale)
    along, up = v / (0.38 * scale**0.5), (_Z - 0.25) / 0.32
    return 1 - _step(np.sqrt(across**2 + along**2 + up**2), 0.85, 1.1)


def _lesions(rng: Rng, u: np.ndarray, v: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask and the depth, which is 1 in a lesion's core, 0 on its border and negative outside."""
    depth = np.full(allowed.shape, -np.inf, np.float32)
    side = int(rng.choice([-1, 1]))
    for n in range(1 + (rng.random() < 0.2)):
        shrink = 1.0 if n == 0 else 0.6
        lesion = _lesion_depth(rng, u, v, side, shrink)
        while not (allowed & (lesion > 0.3)).any():  # in a ventricle or outside of the brain: draw another place
            lesion = _lesion_depth(rng, u, v, side, shrink)
        depth = np.maximum(depth, lesion)
    return allowed & (depth > 0), depth


def _lesion_depth(rng: Rng, u: np.ndarray, v: np.ndarray, side: int, shrink: float) -> np.ndarray:
    size = shrink * np.exp(rng.uniform(np.log(0.10), np.log(0.40)))  # half-width in head units: 4 to 18 pixels
    stretch = np.exp(rng.normal(0, 0.2))
    height = rng.uniform(0.22, 0.45) * shrink**0.5
    turn = rng.uniform(0, np.pi)
    du, dv = u - side * rng.uniform(0.22, 0.6), v - rng.uniform(-0.55, 0.55)
    along, across = du * np.cos(turn) + dv * np.sin(turn), dv * np.cos(turn) - du * np.sin(turn)
    up = (_Z - rng.uniform(-0.3, 0.6)) / height
    distance = np.sqrt((along / (size * stretch)) ** 2 + (across * stretch / size) ** 2 + up**2)
    return 1 - distance + 0.22 * _smooth_noise(rng, cells=10) + 0.10 * _smooth_noise(rng, cells=28)


def _add_lesion_signal(
    rng: Rng, scene: np.ndarray, depth: np.ndarray, allowed: np.ndarray, contrast: float
) -> np.ndarray:
    border = rng.uniform(0.08, 0.3)  # how gradually the lesion fades into the tissue
    inside = _step(depth, -border, border) * allowed
    texture = 1 + 0.25 * _smooth_noise(rng, cells=12)
    flair = np.exp(rng.uniform(np.log(22), np.log(70)))
    signal = np.stack([-flair * 0.3 * texture, flair * texture, -flair * 0.25 * texture], axis=-1)
    if rng.random() < 0.35:  # a rim that takes up contrast agent, patchy
        rim = np.exp(-(((depth - 0.3) / 0.12) ** 2)) * (0.6 + 0.6 * _smooth_noise(rng, cells=12))
        signal[..., 2] += rng.uniform(30, 80) * np.clip(rim, 0, None)
    return scene + contrast * inside[..., None] * signal


def _add_distractors(
    rng: Rng, scene: np.ndarray, u: np.ndarray, v: np.ndarray, brain: np.ndarray, ventricles: np.ndarray
) -> np.ndarray:
    horns = np.exp(-(((np.abs(v) - 0.38) / 0.12) ** 2) - ((np.abs(u) - 0.2) / 0.12) ** 2 - ((_Z - 0.25) / 0.3) ** 2)
    flair = rng.uniform(10, 50) * horns * (1 - ventricles)  # periventricular caps: on both sides, unlike a tumour
    post = np.zeros_like(flair)
    for _ in range(rng.integers(2, 7)):  # spots of old white matter
        flair += rng.uniform(20, 50) * _blob(rng, u, v, radius=rng.uniform(0.025, 0.06), height=0.12)
    for _ in range(rng.integers(6, 14)):  # vessels, on post-contrast only
        post += rng.uniform(40, 120) * _blob(rng, u, v, radius=rng.uniform(0.015, 0.03), height=0.3)
    post += rng.uniform(30, 90) * np.exp(-((u / 0.03) ** 2) - ((v - 0.72) / 0.06) ** 2)  # the sagittal sinus
    scene[..., 1] += flair * brain
    scene[..., 2] += post * brain
    return scene


def _blob(rng: Rng, u: np.ndarray, v: np.ndarray, *, radius: float, height: float) -> np.ndarray:
    angle, reach = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.random())
    across = (u - reach * np.cos(angle)) ** 2 + (v - reach * np.sin(angle)) ** 2
    return np.exp(-across / radius**2 - ((_Z - rng.uniform(-0.5, 0.9)) / height) ** 2)


def _scan(rng: Rng, scene: np.ndarray) -> np.ndarray:
    gain = rng.uniform(0.6, 1.0) * rng.uniform(0.75, 1.2, size=3)
    shared, *own = (_smooth_noise(rng, cells=2)[0] for _ in range(4))  # one coil's field for all slices
    bias = np.exp(0.12 * shared[..., None] + 0.05 * np.stack(own, axis=-1))
    signal = (scene * gain * bias).astype(np.float32)
    signal = cv2.GaussianBlur(signal.transpose(1, 2, 0, 3).reshape(SIZE, SIZE, -1), (3, 3), 0.6)
    signal = signal.reshape(SIZE, SIZE, NUM_SLICES, 3).transpose(2, 0, 1, 3)
    # The magnitude of a complex signal with normal noise: Rician, as in Gudbjartsson and Patz (1995),
    # https://doi.org/10.1002/mrm.1910340618
    noise = rng.uniform(1.5, 5) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    return np.clip(np.hypot(signal + noise[0], noise[1]), 0, 255).astype(np.uint8)


def _smooth_noise(rng: Rng, *, cells: int) -> np.ndarray:
    """Return noise of about unit variance that varies over 1/cells of the slice and over about three slices."""
    coarse = rng.standard_normal((cells + 1, cells + 1, NUM_SLICES + 2), dtype=np.float32)
    coarse = (coarse[..., :-2] + coarse[..., 1:-1] + coarse[..., 2:]) / np.sqrt(3)
    fine = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(fine.transpose(2, 0, 1)) * 1.2  # interpolation reduced the deviation by this factor


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _blend(scene: np.ndarray, weight: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return scene + weight[..., None] * (levels - scene)


def _jitter(rng: Rng, levels: tuple[int, int, int]) -> np.ndarray:
    return (np.array(levels) * rng.normal(1, 0.06, size=3)).astype(np.float32)


def _write_patient(folder: Path, images: np.ndarray, masks: np.ndarray) -> None:
    import tifffile  # imported late: drawing alone needs numpy and OpenCV

    folder.mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True), start=1):
        tifffile.imwrite(folder / f"{folder.name}_{number}.tif", image, photometric="rgb")
        tifffile.imwrite(folder / f"{folder.name}_{number}_mask.tif", mask.astype(np.uint8) * 255)


def _check_complete(final: Path, parameters: dict[str, int | float]) -> None:
    marker = final / MARKER
    found = marker.read_text() if marker.is_file() else "missing"
    num_files, expected = len(list(final.glob("kaggle_3m/*/*.tif"))), 2 * NUM_SLICES * parameters["num_patients"]
    if found != json.dumps(parameters) or num_files != expected:
        raise DataError(
            f"{final} holds {num_files} slice files and its {MARKER} is {found}, but a complete phantom holds "
            f"{expected} and {json.dumps(parameters)}; delete this folder, and it will be written again."
        )
