"""PyTorch's files: read as PyTorch reads them, or refused before they take memory or time."""

from __future__ import annotations

import pickle
import re
import resource
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hostile_files import archive, odd_contents, rewrite
from torch import nn

from i2icli.system.torch_files import TorchFileError, read_torch_file, walk_tensors


def read(path):
    with path.open("rb") as file:
        return read_torch_file(file)


def save(path, document, *, is_new=True):
    torch.save(document, path, _use_new_zipfile_serialization=is_new)
    return path


def document():
    torch.manual_seed(0)
    whole = torch.randn(6, 4)
    return OrderedDict(
        weight=whole,
        view=whole[1:3, ::2],  # of the same numbers
        turned=whole.t(),
        nothing=torch.empty(0, 3),
        one=torch.tensor(3.0),
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        double=torch.randn(3).double(),
        whole=torch.arange(3),
        truth=torch.tensor([True, False]),
        layout=torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        parameter=nn.Parameter(torch.randn(2)),
        plain={"a": [1, 2.5, None, True, "x", (1, 2)], "size": torch.Size([1, 2]), "b": b"\0\xff"},
        module=nn.BatchNorm2d(2).state_dict(),
    )


def same(found, wanted):
    if isinstance(wanted, torch.Tensor):
        kinds = (
            (found.dtype, found.shape, found.stride()),
            (wanted.dtype, wanted.shape, wanted.stride()),
        )
        return kinds[0] == kinds[1] and torch.equal(found, wanted)
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted


@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_read_is_what_pytorch_reads(tmp_path, is_new):
    file = save(tmp_path / "x.pt", document(), is_new=is_new)
    found = read(file)
    assert found.form == ("zip" if is_new else "old")
    assert same(found.document, torch.load(file, weights_only=True))


def test_tensors_that_share_numbers_share_them_still(tmp_path):
    found = read(save(tmp_path / "x.pt", document())).document
    found["weight"].zero_()
    assert not found["view"].any()
    assert not found["turned"].any()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_tensors_of_a_torchscript_network_are_read_by_their_paths(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sequential(nn.BatchNorm2d(2)))
    torch.jit.script(network).save(str(tmp_path / "net.pt"))
    found = read(tmp_path / "net.pt")
    assert found.form == "torchscript"
    tensors = walk_tensors(found.document)
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[name], w) for name, w in network.state_dict().items())


def test_flipped_bytes_are_refused_or_do_not_matter(tmp_path):
    file = save(tmp_path / "x.pt", document())
    wanted, whole = read(file).document, file.read_bytes()
    refused = 0
    for position in range(0, len(whole), 29):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        try:
            assert same(read(file).document, wanted), position
        except TorchFileError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("is_new", [True, False])
def test_files_cut_anywhere_are_refused(tmp_path, is_new):
    file = save(tmp_path / "x.pt", document(), is_new=is_new)
    whole = file.read_bytes()
    for length in range(0, len(whole), len(whole) // 60):
        file.write_bytes(whole[:length])
        with pytest.raises(TorchFileError):
            read(file)


def test_odd_contents_are_refused_in_little_time_and_memory(tmp_path):
    good = save(tmp_path / "good.pt", {"w": torch.ones(100)})
    file = tmp_path / "x.pt"
    before, used, longest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], 0
    for name, content in odd_contents(good):
        file.write_bytes(content)
        start = time.process_time()
        try:
            read(file)
            used.append(name)
        except TorchFileError as refusal:
            longest = max(longest, len(str(refusal)))
        assert time.process_time() - start < 4, name
    assert longest < 200
    assert used == ["a number of a million digits", "twenty thousand parts"]  # which are no harm
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB


def test_compressed_parts_are_refused_before_they_are_inflated(tmp_path):
    good = save(tmp_path / "good.pt", {"w": torch.zeros(1000)})
    (tmp_path / "x.pt").write_bytes(rewrite(good, {}, method=8))
    with pytest.raises(TorchFileError, match="compressed, which PyTorch never does"):
        read(tmp_path / "x.pt")


class _Code:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_objects_besides_tensors_are_not_made(tmp_path, form):
    file, trace = tmp_path / "x.pt", tmp_path / "ran"
    if form == "pickle":
        file.write_bytes(pickle.dumps(_Code(trace)))
    else:
        save(file, {"w": torch.ones(1), "x": _Code(trace)}, is_new=form == "zip")
    with pytest.raises(TorchFileError) as refusal:
        read(file)
    assert refusal.value.wants_code
    assert not trace.exists()


def test_objects_of_a_network_are_no_way_into_plain_files(tmp_path):
    (tmp_path / "x.pt").write_bytes(archive(b"c__torch__\nAny\n."))
    with pytest.raises(TorchFileError) as refusal:
        read(tmp_path / "x.pt")
    assert refusal.value.wants_code


def test_no_module_reads_files_or_runs_networks_by_other_ways():
    package = Path(__file__).parents[2] / "i2icli"
    other = re.compile(r"(?<!\.)torch\.(load\(|jit)")
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert not [path for path, text in texts.items() if other.search(text)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory through /proc")
def test_damage_and_hostile_files_by_the_hundred_are_borne():
    script = Path(__file__).parents[2] / "scripts" / "damage.py"
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cuts of a checkpoint: {'refused': 50}" in done.stdout
