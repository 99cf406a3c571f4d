"""The scribble report: a few strokes, and the mask that is meant by them."""
