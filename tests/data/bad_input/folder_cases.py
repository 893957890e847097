"""One thing wrong in a folder of images and masks."""

import numpy as np

from tests.support.damage import PNG_IMAGE, PNG_MASK, Case, content, copied, jpeg, png, removed, renamed, wrote
from tests.support.sources import ONE, image_of, mask_of, write_png

THREE = np.where(np.arange(64) < 32, 1, 2).astype(np.uint8) * (mask_of("P1", 2) // 255)
THREE[-1, -1] = 2
RGBA = np.dstack([image_of("P1", 2), mask_of("P1", 2)])

FOLDER = [
    Case("a truncated PNG", content(PNG_IMAGE, lambda old: old[:-5]), {PNG_IMAGE: "is truncated"}, ONE),
    Case(
        "a flipped bit",
        content(PNG_MASK, lambda old: old[:60] + bytes([old[60] ^ 4]) + old[61:]),
        {PNG_MASK: "is damaged .the checksum of chunk 'IDAT' is wrong"},
        ONE,
    ),
    Case(
        "an alpha channel",
        content(PNG_IMAGE, lambda old: png(RGBA, colour=6)),
        {PNG_IMAGE: "its alpha channel is not opaque"},
        ONE,
    ),
    Case(
        "a mask of three indices of a palette",
        content(PNG_MASK, lambda old: png(THREE, colour=3, palette=bytes([0, 0, 0, 250, 10, 20, 0, 0, 0]))),
        {PNG_MASK: "mask values are 0, 1, 2, but must be 0 and one other value; .*--labels"},
        ONE,
    ),
    Case(
        "a CMYK JPEG",
        lambda source: [
            removed(PNG_IMAGE)(source),
            (source / "images/P1/2.jpg").write_bytes(jpeg(image_of("P1", 2), channels=4)),
        ],
        {"images/P1/2.jpg": r"has 4 channels \(4 are CMYK\)"},
        ONE,
    ),
    Case(
        "a truncated JPEG",
        lambda source: [
            removed(PNG_IMAGE)(source),
            (source / "images/P1/2.jpg").write_bytes(jpeg(image_of("P1", 2))[:-2]),
        ],
        {"images/P1/2.jpg": r"is truncated \(there is no end marker\)"},
        ONE,
    ),
    Case(
        "a lossy mask of small values",
        lambda source: [
            removed(PNG_MASK)(source),
            (source / "masks/P1/2.jpg").write_bytes(jpeg(mask_of("P1", 2) // 5)),
        ],
        {"masks/P1/2.jpg": "mask values are 0, 1, .* without lossy compression"},
        ONE,
    ),
    Case(
        "a JPEG named .png",
        content(PNG_IMAGE, lambda old: jpeg(image_of("P1", 2))),
        {PNG_IMAGE: "wrong suffix: the content is JPEG, but .png says PNG"},
        ONE,
    ),
    Case(
        "a header of two billion pixels a side",
        content(PNG_IMAGE, lambda old: png(mask_of("P1", 2), width=2**31 - 1)),
        {PNG_IMAGE: "is 64 x 2147483647, but 1 to 16384"},
        ONE,
    ),
    Case(
        "fewer pixels than the header says",
        content(PNG_IMAGE, lambda old: png(mask_of("P1", 2), width=16384)),
        {PNG_IMAGE: "its pixels are damaged"},
        ONE,
    ),
    Case(
        "16 bits where 8 stood",
        wrote(write_png, PNG_IMAGE, image_of("P1", 2).astype(np.uint16)),
        {PNG_IMAGE: "is 64 x 64 x 3 of uint16"},
        ONE,
    ),
    Case("two masks", copied(PNG_MASK, "masks/P1/2_mask.png"), {PNG_IMAGE: "has 2 masks"}, ONE),
    Case(
        "two images of one name",
        lambda source: write_png(source / "images/P1/2.jpg", image_of("P1", 2), ".jpg"),
        {"images/P1/2.jpg": "has the same name as 2.png"},
        ONE,
    ),
    Case("an image without mask", removed(PNG_MASK), {PNG_IMAGE: "has no mask"}, ONE),
    Case(
        "a mask without image",
        removed(PNG_IMAGE),
        {PNG_MASK: "has no image in .*/source/images; add it, or move the mask away$"},
        ONE,
    ),
    Case(
        "a name without number",
        lambda source: [renamed(f"{kind}/P1/2.png", f"{kind}/P1/two.png")(source) for kind in ("images", "masks")],
        {"images/P1/two.png": "has no slice number in its name"},
        ONE,
    ),
    Case(
        "a number twice",
        lambda source: [copied(f"{kind}/P1/2.png", f"{kind}/P1/b2.png")(source) for kind in ("images", "masks")],
        {"images/P1/b2.png": "slice number 2 is already that of .*/images/P1/2.png"},
        set(),
    ),
    Case(
        "a folder of images alone",
        lambda source: (source / "more" / "images").mkdir(parents=True),
        {"more/images": "no masks folder is beside it"},
        set(),
    ),
]
