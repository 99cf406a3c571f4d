"""The face-mask report: faces, and where a mask covers them."""
