import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from released_files import resnet, save
from safetensors import safe_open
from safetensors.torch import save_file

from i2icli.errors import CheckpointError
from i2icli.interop import files
from i2icli.interop.files import parse_name, read_weights
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint


def _same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def test_new_and_old_torch_files_and_safetensors_give_the_same(tmp_path):
    weights = resnet().state_dict()
    new = save(tmp_path / "new.pth", weights)
    old = save(tmp_path / "old.pth", weights, _use_new_zipfile_serialization=False)
    other = tmp_path / "weights.safetensors"
    save_file(dict(weights), other)
    for file in (new, old, other):
        assert _same(read_weights(file)[""], weights), file.name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_types_of_safetensors(dtype, tmp_path):
    weights = {"a": torch.arange(6).view(2, 3).to(dtype), "b": torch.zeros(0, 2, dtype=dtype)}
    save_file(weights, tmp_path / "x.safetensors", metadata={"made": "here"})
    assert _same(read_weights(tmp_path / "x.safetensors")[""], weights)


def test_cut_safetensors_are_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(100)}, file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="not whole: incomplete metadata, file not fully"):
        read_weights(file)


def test_safetensors_without_usable_tensors_are_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3), "b": torch.ones(3).to(torch.float8_e5m2)}, file)
    with pytest.raises(CheckpointError, match="cannot be used: b has the type F8_E5M2"):
        read_weights(file)
    save_file({}, file)
    with pytest.raises(CheckpointError, match="holds no tensors; give the state dict"):
        read_weights(file)


def test_tensors_of_safetensors_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, file)
    read = []

    class Watched:
        def __init__(self, path, framework):
            self.file = safe_open(path, framework=framework)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

    monkeypatch.setattr(files, "safe_open", Watched)
    weights = read_weights(file)[""]
    assert (set(weights), read) == ({"a", "b"}, [])
    assert torch.equal(weights["b"], torch.zeros(2))
    assert read == ["b"]


@pytest.mark.parametrize(
    "wrap",
    [
        "module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "module.module.{}",
    ],
)
def test_wrappers_are_taken_away(wrap, tmp_path):
    weights = resnet().state_dict()
    wrapped = {wrap.format(name): weight for name, weight in weights.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "x.pth")
    assert _same(read_weights(tmp_path / "x.pth")[""], weights)
    save_file(wrapped, tmp_path / "x.safetensors")
    assert _same(read_weights(tmp_path / "x.safetensors")[""], weights)


def test_parts_that_were_compiled_alone_are_read_as_others(tmp_path):
    weights = resnet().state_dict()
    inner = {name.replace("model.", "model._orig_mod."): w for name, w in weights.items()}
    torch.save(inner, tmp_path / "x.pth")
    assert _same(read_weights(tmp_path / "x.pth")[""], weights)


class _Code:
    """Runs when a careless reader unpickles it."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("is_new", [True, False])
def test_file_that_wants_code_is_refused_and_runs_none(is_new, tmp_path):
    document = {"model.1.weight": torch.ones(2), "extra": _Code(tmp_path / "ran")}
    torch.save(document, tmp_path / "x.pth", _use_new_zipfile_serialization=is_new)
    with pytest.raises(CheckpointError, match="was not opened, because that could run code"):
        read_weights(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(pickle.dumps(document["extra"]))
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(tmp_path / "y.pth")
    assert not (tmp_path / "ran").exists()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("latest_net_G.pth"))
    return buffer.getvalue()


def _zip(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.pth", b"", "is empty"),
        ("x.pth", b"hello, this is no file of weights", "neither a PyTorch file nor safetensors"),
        ("x.pth", b"\x80\x02", "cut off or damaged"),
        ("x.pth", b"PK\x03\x04cut", "cut off or damaged"),
        ("x.onnx", b"\x08\x07\x12\x07pytorch", "ONNX model"),
        ("model.ckpt-100.index", b"\x00\x00index", "TensorFlow checkpoint"),
        ("model.ckpt-100.data-00000-of-00001", b"\x00\x01", "TensorFlow checkpoint"),
        ("x.h5", b"\x89HDF\r\n\x1a\n", "HDF5 file"),
        ("x.tar", _tar(), "tar archive: unpack it"),
        ("x.tar.gz", b"\x1f\x8b\x08\x00", "compressed archive: unpack it"),
        ("x.zip", _zip("a/latest_net_G.pth"), "zip archive: unpack it"),
        ("x.pt", _zip("archive/constants.pkl"), "TorchScript program"),
    ],
)
def test_other_files_are_named_for_what_they_are(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        read_weights(tmp_path / name)


def test_torch_file_cut_short_is_refused(tmp_path):
    for is_new in (True, False):
        file = save(tmp_path / "x.pth", resnet(), _use_new_zipfile_serialization=is_new)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(CheckpointError, match="cut off or damaged"):
            read_weights(file)


def test_file_without_weights_is_refused_with_its_keys(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"no weights that are known \(it has epoch, loss\)"):
        read_weights(tmp_path / "x.pth")
    torch.save([torch.ones(2)], tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds a list, no weights"):
        read_weights(tmp_path / "x.pth")


def test_checkpoint_of_i2i_is_to_be_used_as_it_is(tmp_path):
    save_checkpoint(tmp_path / "last.pt", CheckpointState(config={}, weights={}, step=1))
    with pytest.raises(CheckpointError, match="a checkpoint of i2i already: use it as it is"):
        read_weights(tmp_path / "last.pt")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        read_weights(tmp_path / "no.pth")
    with pytest.raises(CheckpointError, match=r"is a folder without a file such as"):
        read_weights(tmp_path)
    for name in ("5_net_G.pth", "latest_net_G.pth"):
        save(tmp_path / name, resnet())
    with pytest.raises(CheckpointError, match=r"is a folder: give a file of it, .*latest_net_G"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latest_net_G.pth", ("latest", "G")),
        ("400_net_D_A.pth", ("400", "D_A")),
        ("best_net_F.safetensors", ("best", "F")),
        ("horse2zebra.pth", None),
    ],
)
def test_names_of_released_files(name, expected):
    known = parse_name(Path(name))
    assert (known and (known.epoch, known.network)) == expected
