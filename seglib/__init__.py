"""Image segmentation: U-Nets, losses, metrics, data generators, and the course that is built on them."""

__version__ = "0.1.0"


def build_model(report: str, row: str):
    """The network of a row, with fresh weights; see `seglib.experiment.build_model`."""
    from .experiment import build_model  # loading torch takes seconds that `import seglib` should not

    return build_model(report, row)
