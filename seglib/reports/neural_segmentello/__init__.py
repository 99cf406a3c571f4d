"""NeuralSegmentello: a user's rough mask, refined."""
