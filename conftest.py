"""Tests, those of stored notebook outputs too, run at quick scale on the embedded data whatever the shell says."""

import os

for name in ("SEGLIB_SCALE", "SEGLIB_NOTEBOOK_DATA"):
    os.environ.pop(name, None)
