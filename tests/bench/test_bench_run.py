"""`i2i bench`: what is measured, in which order, and what is made of it."""

import json
import re

import pytest
import torch
from tiny import tiny_config

from i2icli.bench.cost import step_cost
from i2icli.bench.measure import Bench, LimitProbe, count_operations
from i2icli.bench.rig import Variant, build_rig, resize, write_pictures, write_training_set
from i2icli.bench.run import BenchOptions, run_bench
from i2icli.bench.worker import Spread, Worker, in_turn
from i2icli.config.document import config_document
from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.methods import METHODS, configure_run
from i2icli.system.memory import peak_bytes, resident_bytes

# VGG16 halves a picture four times, and patches are taken of what is left.
SIDE = 64


def variant_of(name, folder, *, side=SIDE, **data):
    """Return a tiny variant of a method on made-up pictures."""
    document = config_document(resize(tiny_config(name), side, 2))
    document["data"] |= data
    document = write_training_set(folder / "data", document, METHODS[name].data, count=3)
    return Variant(name, document)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_measured(name, tmp_path):
    variant = variant_of(name, tmp_path)
    bench = Bench(variant, imports_bytes=0)
    cost = bench.cost()
    flops = bench.step_operations()
    assert flops > 1e6
    assert cost["choices"]["shape"] == (2, 3, SIDE, SIDE)
    assert len(cost["seconds"]) == 2
    assert cost["state_bytes"] > 2 * cost["weights_bytes"] > 0
    assert sum(bench.weights().values()) * 4 == sum(
        w.numel() * w.element_size() for w in bench.rig.method.parameters()
    )
    assert {"selected_rows", "compile", "reuse_memory"} <= set(cost["choices"]["settings"])
    pictures = [str(p) for p in write_pictures(tmp_path / "p", count=2, side=40, seed=1)]
    given = {"pictures": pictures, "out": str(tmp_path / "out"), "batch_size": None}
    assert bench.translate_pass(**given) > 0
    assert bench.network_pass() > 0
    found = bench.translate_operations(**given)
    assert found["pictures"] == 2
    # A picture of 40 is smaller than those of a batch; some methods bring all to one size.
    assert 0 < found["pass"] <= found["network"] < flops
    assert not (tmp_path / "out").exists()


def test_methods_that_want_absent_weights_get_stand_ins_and_the_report_says_so(tmp_path):
    wanting = [name for name in METHODS if build_rig(variant_of(name, tmp_path / name)).notes]
    assert wanting
    for name in wanting:
        rig = build_rig(variant_of(name, tmp_path / name))
        assert "vgg16" in rig.method.pretrained
        (note,) = rig.notes
        assert "random ones" in note
        assert "`i2i weights get vgg16`" in note
        for weight in rig.method.network("vgg16").parameters():
            assert torch.isfinite(weight).all()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return the costs of two variants, who took a step when, and their processes."""
    taken, processes, ask = [], {}, Worker.ask

    def recording(worker, what, **given):
        processes[worker.name] = worker._child.pid
        if what == "step":
            taken.append(worker.name)
        return ask(worker, what, **given)

    variants = []
    for name, threads in (("cut", 2), ("cyclegan", 3)):
        variant = variant_of(name, tmp_path_factory.mktemp(name), side=32)
        variant.config["runtime"]["threads"] = threads
        variants.append(variant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "ask", recording)
        costs = step_cost(variants, rounds=3, warmup=1)
    return costs, taken, processes


def test_two_variants_go_a_b_b_a_each_in_a_process_of_its_own(compared):
    costs, taken, processes = compared
    a, b = "cut", "cyclegan"
    assert taken == [a, b, *(a, b), *(b, a), *(a, b)]
    assert processes[a] != processes[b]
    for cost in costs:
        assert cost.order == [(0, 1), (1, 0), (0, 1)]
        assert len(cost.seconds) == 3
        assert {kind: len(rates) for kind, rates in cost.rates.items()} == {"gemm": 3, "conv": 3}
        assert cost.flops
        assert cost.flops > 1e6


def test_threads_are_those_of_each_variant(compared):
    costs, _, _ = compared
    assert [cost.choices["threads"] for cost in costs] == [2, 3]


def test_the_loader_is_measured_without_networks(tmp_path):
    bench = Bench(variant_of("cut", tmp_path, side=32), imports_bytes=0)
    rates = bench.loader(repeats=3)["rates"]
    assert len(rates) == 3
    assert min(rates) > 0
    assert "rig" not in vars(bench)


def test_operations_of_recorded_code_are_those_of_the_plain(tmp_path):
    variant = variant_of("cut", tmp_path, side=32)
    plain = Bench(variant, imports_bytes=0)
    recorded = {**variant.config, "runtime": {**variant.config["runtime"], "cuda_graphs": "on"}}
    other = Bench(Variant("recorded", recorded), imports_bytes=0)
    assert other.rig.choices.cuda_graphs
    assert not other._plain_rig().choices.cuda_graphs
    assert other.step_operations() == plain.step_operations() > 1e6
    assert plain._plain_rig() is plain.rig


def test_no_variant_is_more_often_first():
    orders = list(in_turn(6, 2))
    assert [order[0] for order in orders].count(0) == 3


def test_spread_is_that_of_the_numbers():
    spread = Spread.of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert spread == Spread(5, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert spread.document("s") == {
        "min_s": 1.0,
        "median_s": 3.0,
        "max_s": 5.0,
        "quartiles_s": [2.0, 4.0],
        "n": 5,
    }
    assert spread.text() == "median 3 (quartiles 2 to 4, 1 to 5, n 5)"


def test_operations_are_counted_forward_and_backward():
    weight = torch.randn(6, 5, requires_grad=True)
    left = torch.randn(4, 6, requires_grad=True)
    forward = 2 * 4 * 6 * 5
    assert count_operations(lambda: left @ weight) == forward
    # Each of the two gradients is a product of the same three sizes.
    assert count_operations(lambda: (left @ weight).sum().backward()) == 3 * forward


def test_operations_of_a_gradient_penalty_are_counted():
    convolution = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh())
    images = torch.randn(1, 3, 8, 8, requires_grad=True)

    def penalty():
        scores = convolution(images).sum()
        (gradient,) = torch.autograd.grad(scores, images, create_graph=True)
        gradient.square().sum().backward()

    forward = count_operations(lambda: convolution(images))
    assert forward == 2 * 4 * 6 * 6 * 3 * 9
    assert count_operations(penalty) >= 3 * forward


def test_limit_is_probed_in_the_precision_of_the_step():
    rates = LimitProbe(torch.device("cpu"), torch.bfloat16).rates()
    assert set(rates) == {"gemm", "conv"}
    assert all(rate > 0 for rate in rates.values())


def test_resident_memory_is_that_of_this_very_process():
    now, peak = resident_bytes(), peak_bytes(torch.device("cpu"))
    if not now or peak is None:
        pytest.skip("this system does not say")
    assert 2**20 < now <= peak + 2**20


@pytest.mark.parametrize(
    ("preprocess", "resized"),
    [("resize-and-crop", 72), ("resize", 64), ("scale-width-and-crop", 72)],
)
def test_size_keeps_the_share_that_cropping_cuts_off(preprocess, resized):
    preset = configure_run("cut", [f"data.preprocess={preprocess}", "data.resize=286"])
    config = resize(preset, 64, 3)
    assert (config.data.crop, config.data.resize, config.data.batch_size) == (64, resized, 3)
    assert resize(config, None, None) == config


@pytest.mark.parametrize("preprocess", ["zoom-and-patch", "crop", "none", "resize-and-crop"])
def test_made_up_pictures_are_large_enough(preprocess, tmp_path):
    name = "sincut" if preprocess == "zoom-and-patch" else "cut"
    variant = variant_of(name, tmp_path, preprocess=preprocess)
    assert build_rig(variant).shape == (2, 3, SIDE, SIDE)
    domains = find_domains(DataConfig.model_validate(variant.config["data"]))
    assert len(domains.train_a) == (1 if METHODS[name].data == "single" else 3)


def test_a_fault_of_the_measuring_process_is_told_as_the_same_fault(tmp_path):
    document = config_document(tiny_config("cut"))
    document["data"]["root"] = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere"):
        step_cost([Variant("cut", document)])


def test_a_measuring_process_that_dies_is_named(tmp_path):
    child = tmp_path / "child.py"
    child.write_text("raise IndexError('nothing there')")
    with pytest.raises(
        I2IError, match=re.escape("measuring the build of theirs ended with 1: IndexError: nothing")
    ):
        Worker("theirs", [str(child)], {})


def test_a_process_prints_without_spoiling_its_answers(tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        "import os\n"
        "from i2icli.bench.worker import serve\n"
        "def build(word):\n"
        "    print('building')\n"
        "    return {'say': lambda times: (os.system('echo loud'), print('loud'), word * times)[2]}"
        "\nserve(build)\n"
    )
    with Worker("loud", [str(child)], {"word": "ab"}) as worker:
        assert [worker.ask("say", times=times) for times in (1, 2)] == ["ab", "abab"]


def test_two_things_to_compare_with_are_refused():
    with pytest.raises(ConfigError, match="cannot go together"):
        run_bench(BenchOptions("cut", against="fastcut", vary=("method.num_patches=8",)))


def test_data_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="--data .* is no folder"):
        run_bench(BenchOptions("cut", data=tmp_path / "nothing"))


def test_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="precision"):
        run_bench(BenchOptions("cut", precision="float8"))


def test_variants_survive_the_way_to_another_process(tmp_path):
    variant = variant_of("cut", tmp_path)
    assert Variant(**json.loads(json.dumps(variant.document()))) == variant
