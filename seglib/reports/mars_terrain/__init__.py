"""The Mars report: what a rover's pictures show, pixel by pixel."""
