"""What exporting does beside the file, whose numbers `test_every_network` compares with PyTorch's."""

import pytest
import torch

from seglib.export import to_onnx
from seglib.models.unet import UNet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.__version__ < "2.7", reason="PyTorch before 2.7 cannot export every network"),
]


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="cannot write the ONNX file"):
        to_onnx(UNet(1, 1, [4, 8]), 1, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_stays_as_it_is(dtype, tmp_path):
    torch.manual_seed(0)
    model = UNet(1, 1, [4, 8], dropout=0.3).to(dtype, memory_format=torch.channels_last).train()
    model.encoder[0].eval()  # as who trains on with frozen statistics has it
    parameters, modes = list(model.parameters()), [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    to_onnx(model, 1, tmp_path / "network.onnx")
    assert [module.training for module in model.modules()] == modes
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert tensor.stride() == before[name].stride()
        assert torch.equal(tensor, before[name])
