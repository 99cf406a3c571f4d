"""What several reports share: pictures and datasets, COCO's format, drawn scenes, simulated strokes."""

import os

from ..extras import need

need("reports")
# Before its first import: albumentations asks a server on the internet for its newest version, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
