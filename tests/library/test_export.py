import numpy as np
import onnxruntime
import pytest
import torch

from seglib.config import load_row
from seglib.experiment import build_model
from seglib.export import to_onnx


@pytest.mark.parametrize(
    ("report", "row"),
    [
        ("neural_segmentello", "res16-32_bce-dice"),
        ("neural_segmentello", "rgb"),
        ("mars_terrain", "larger-se-pyramid"),
        ("mars_terrain", "flagship"),
    ],
)
def test_the_file_gives_what_the_network_gives_at_any_size(report, row, tmp_path):
    torch.manual_seed(1)
    model = build_model(report, row)
    channels = load_row(report, row).model.in_channels
    path = to_onnx(model, channels, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count, height, width in ((1, 33, 70), (3, 64, 48), (1, 5, 7)):
        image = torch.rand(count, channels, height, width) - 0.2
        with torch.no_grad():
            expected = model.eval()(image).numpy()
        (found,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="cannot write the ONNX file"):
        to_onnx(build_model("neural_segmentello", "tiny16-32_bce-dice"), 3, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())
