"""A network of a user's own by `path/to/file.py:function`: loaded, refused, and searched like any other."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from boards.pynq_z2 import PYNQ_Z2
from flow import pipeline
from flow.config import SearchSettings
from hls.equality import differences
from hls.errors import GraphError
from hls.estimators import TableEstimator
from hls.finn_backend import estimate_with_flow
from models import weights as weights_module
from models.data import load_splits
from models.errors import NetworkError, UnknownModelError, WeightsError
from models.own_network import is_own, own_network, plain_name
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, accuracy, calibrate, train
from models.weights import Pretrained, pretrain, read_pretrained, shipped_path, write_pretrained
from tests.networks import Network

ROOT = Path(__file__).parents[1]
EXAMPLE = f"{ROOT / 'examples' / 'own_network.py'}:small"
HEAD = "from torch import nn\nimport torch\nINPUT_SHAPE = (1, 8, 8)\n"
BODY = "nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, {n}, bias=False)"
MLP = HEAD + f"def mlp(n_classes=10):\n    return nn.Sequential({BODY.format(n='n_classes')})\n"


def written(folder: Path, text: str, function: str = "mlp", file: str = "net.py") -> str:
    """A file of a user's and the name of a function in it."""
    (folder / file).write_text(text)
    return f"{folder / file}:{function}"


class Silent:
    """A listener."""

    def note(self, text: str) -> None: ...

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None: ...


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "own", "plain"),
    [
        ("cnv", False, "cnv"),
        ("cnv:0.25", False, "cnv-0.25"),
        ("net.py:small", True, "net-small"),
        ("/a/b.c/my net.py:Net", True, "my net-Net"),
        ("net.py", True, "net.py"),
    ],
)
def test_names(name: str, own: bool, plain: str) -> None:
    assert is_own(name) is own
    assert plain_name(name) == plain


def test_run_directories_and_weights_files_of_own_networks() -> None:
    settings = SearchSettings(model="nets/net.py:small", board="my/board.toml")
    assert settings.directory == Path("runs/net-small-board")
    assert SearchSettings(model="cnv:0.25").directory == Path("runs/cnv-0.25-pynq-z2")
    assert shipped_path("nets/net.py:small", "digits") == Path("nets/net-small-digits.pt")
    assert shipped_path("cnv:0.25", "digits").name == "cnv-0.25-digits.pt"


# --- what a file gives -------------------------------------------------------------------------------------------


def test_a_function_with_a_number_of_classes(tmp_path: Path) -> None:
    info = get_model(written(tmp_path, MLP))
    assert (info.input_shape, info.n_classes, info.dataset) == ((1, 8, 8), 10, "mnist")
    assert info.build().eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert info.build(n_classes=3).eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    specs = probe_layers(info.build(n_classes=3), info.input_shape)
    quantized = info.build(BitPolicy.uniform(specs, 2, 3), n_classes=3)
    assert [n for n, _ in quantized.named_parameters()] == [n for n, _ in info.build().named_parameters()]


FORMS = {
    "needs n_classes": "def mlp(n_classes):\n    return nn.Sequential({n_classes})\n",
    "by keyword only": "def mlp(*, n_classes):\n    return nn.Sequential({n_classes})\n",
    "anything": "def mlp(**more):\n    return nn.Sequential({three})\n",
    "fixed": "def mlp():\n    return nn.Sequential({three})\n",
    "a class": "class mlp(nn.Sequential):\n    def __init__(self, n_classes=3):\n        super().__init__({n_classes})\n",
    "a lambda": "mlp = lambda n_classes=4: nn.Sequential({n_classes})\n",
    "lazy": "mlp = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3, bias=False))\n",
    "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass Sizes:\n    n: int = 3\n"
    "def mlp():\n    return nn.Sequential({three})\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_functions(form: str, tmp_path: Path) -> None:
    text = FORMS[form].format(n_classes=BODY.format(n="n_classes"), three=BODY.format(n="3"))
    info = get_model(written(tmp_path, HEAD + text))
    assert info.build(n_classes=3).eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_what_lies_beside_the_file_can_be_imported_and_nothing_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "own_sizes_of_this_test.py").write_text("N = 8\n")
    text = MLP.replace("def mlp(n_classes=10):\n", "def mlp(n_classes=10):\n    from own_sizes_of_this_test import N\n")
    before = list(sys.path)
    get_model(written(tmp_path, text)).build()
    assert sys.path == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == ["net.py", "own_sizes_of_this_test.py"]
    assert not (tmp_path / "__pycache__" / "net.cpython-311.pyc").exists()


def test_the_weights_it_returns_are_those_that_training_begins_with(tmp_path: Path) -> None:
    text = MLP.replace("    return", "    torch.manual_seed(3)\n    return")
    info = get_model(written(tmp_path, text))
    torch.manual_seed(3)
    first = nn.Linear(64, 8)
    assert torch.equal(info.build().get_parameter("1.weight"), first.weight)
    assert torch.equal(info.build().get_buffer("2.running_mean"), -first.bias)  # its norm takes the bias over


def test_new_weights_follow_the_seed_and_asking_for_a_model_draws_nothing(tmp_path: Path) -> None:
    name = written(tmp_path, MLP)
    torch.manual_seed(0)
    get_model(name)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(1)
    one = get_model(name).build().get_parameter("1.weight")
    torch.manual_seed(1)
    assert torch.equal(get_model(name).build().get_parameter("1.weight"), one)
    assert not torch.equal(get_model(name).build().get_parameter("1.weight"), one)


def test_learning_rates_are_lower_without_norms(tmp_path: Path) -> None:
    with_norms = get_model(written(tmp_path, MLP)).pretraining.lr
    without = get_model(written(tmp_path, MLP.replace("nn.BatchNorm1d(8), ", ""), file="plain.py")).pretraining.lr
    assert without < with_norms


# --- the digest --------------------------------------------------------------------------------------------------


def digest(folder: Path, text: str, file: str) -> str:
    return get_model(written(folder, text, file=file)).digest


def test_the_digest_is_that_of_the_architecture(tmp_path: Path) -> None:
    one = digest(tmp_path, MLP, "a.py")
    assert digest(tmp_path, MLP + "# a comment\n", "b.py") == one
    assert digest(tmp_path, MLP.replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.5)"), "c.py") != ""
    for i, (old, new) in enumerate(
        [
            ("(64, 8), nn.BatchNorm1d(8)", "(64, 8, bias=False), nn.BatchNorm1d(8)"),
            ("nn.BatchNorm1d(8)", "nn.BatchNorm1d(8, eps=0.1)"),
            ("nn.BatchNorm1d(8), ", ""),
            ("8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8", "9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9"),
            ("(1, 8, 8)", "(1, 4, 16)"),
        ]
    ):
        assert old in MLP
        assert digest(tmp_path, MLP.replace(old, new), f"other{i}.py") != one
    assert len(one) == 12
    assert get_model("tfc").digest == ""


def test_the_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    name = written(tmp_path, MLP)
    code = f"from models.registry import get_model; print(get_model({name!r}).digest)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == get_model(name).digest


# --- what is refused ---------------------------------------------------------------------------------------------

REFUSED = {
    "a syntax error": ("def mlp(:\n", r"net\.py cannot be executed \(SyntaxError: .*line 1\)\); mend the file"),
    "an error in it": ("\n1 / 0\n", r"net\.py cannot be executed \(ZeroDivisionError: .*, at line 2 of net\.py\)"),
    "an exit": ("import sys\nsys.exit(3)\n", r"cannot be executed \(SystemExit: 3, at line 2 of net\.py\)"),
    "no function": (HEAD + "def mpl(): ...\n", r"has no function 'mlp'; did you mean 'mpl'\?; those it has: mpl$"),
    "nothing": (HEAD, r"has no function 'mlp'; those it has: none$"),
    "no callable": (HEAD + "mlp = 3\n", "'mlp' in net.py is of the type int; MODEL=path"),
    "no shape": (MLP.replace("INPUT_SHAPE", "SHAPE"), r"does not say what images it takes; write INPUT_SHAPE = \(channels"),
    "a shape of two": (MLP.replace("(1, 8, 8)", "(8, 8)"), r"INPUT_SHAPE in net\.py is \(8, 8\); write"),
    "two channels": (MLP.replace("(1, 8, 8)", "(2, 8, 8)"), r"is \(2, 8, 8\), whose channels is 2; 1 or 3 is wanted; write"),
    "a shape of texts": (MLP.replace("(1, 8, 8)", "(1, '8', 8)"), "whose height_px is '8'; a whole number from 1 to 4096"),
    "an argument": (HEAD + "def mlp(width): ...\n", r"mlp\(\) needs the argument 'width'; give it a default, all"),
    "a failure": (HEAD + "def mlp():\n    raise OSError('gone')\n", r"fails \(OSError: gone, at line 5 of net\.py\); mend"),
    "no module": (HEAD + "def mlp():\n    return 3\n", r"mlp\(\) returns a int; a torch\.nn\.Module is wanted"),
    "double": (MLP.replace("bias=False)", "bias=False).double()"), r"parameter '4\.weight' is torch\.float64 on cpu; return"),
    "other images": (MLP.replace("(64, 8)", "(65, 8)"), r"fails on images \(3, 1, 8, 8\) \(RuntimeError: mat1 and mat2 shapes"),
    "no logits": (HEAD + "def mlp():\n    return nn.Conv2d(1, 3, 3)\n", r"makes a tensor \(3, 3, 6, 6\) of images"),
    "no tensor": (
        HEAD + "class mlp(nn.Module):\n    def forward(self, x): return x, x\n", "makes a tuple of images",
    ),
    "other logits": (
        MLP.replace("    return", "    n =") + "    n[4].register_forward_hook(lambda m, x, y: y + 1)\n    return n\n",
        r"what torch\.fx traced gives other logits than the network, by 1; leave out what it cannot see: hooks",
    ),
    "a layer that cannot be built": (
        MLP.replace("nn.ReLU()", "nn.Sequential(nn.LSTM(8, 8))"), r"^\S*net\.py:mlp: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_file_is_said_in_a_line(name: str, tmp_path: Path) -> None:
    text, words = REFUSED[name]
    with pytest.raises(NetworkError, match=words) as caught:
        get_model(written(tmp_path, text))
    assert "net.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_and_functions_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"^MODEL=gone\.py:net: there is no file gone\.py; MODEL=path/to/file\.py"):
        get_model("gone.py:net")
    for name in ("gone.py", "gone.py:"):
        with pytest.raises(NetworkError, match=rf"^MODEL={name} names no function of that file; "):
            get_model(name)
    with pytest.raises(UnknownModelError, match="unknown model 'gone'"):
        get_model("gone")


def test_another_number_of_classes_than_the_data_set_has(tmp_path: Path) -> None:
    info = get_model(written(tmp_path, HEAD + f"def mlp():\n    return nn.Sequential({BODY.format(n=7)})\n"))
    assert info.n_classes == 7
    with pytest.raises(NetworkError, match=r"has 7 outputs, the data set 10 classes; give the function a parameter n_classes"):
        info.build(n_classes=10)


def test_a_function_that_returns_now_this_and_now_that(tmp_path: Path) -> None:
    text = HEAD + "N = [8]\ndef mlp():\n    N[0] += 1\n    n = N[0]\n    return nn.Sequential(" + BODY.format(n=3) + ")\n"
    text = text.replace("(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8,", "(64, n), nn.ReLU(), nn.Linear(n,")
    network = own_network(written(tmp_path, text))
    with pytest.raises(NetworkError, match="returns another network from one call to the next"):
        [network.build(n_classes=3) for _ in range(2)]


def test_the_error_names_the_module(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"net\.py:mlp: module '3' \(Sigmoid\) cannot be built") as caught:
        get_model(written(tmp_path, MLP.replace("nn.ReLU", "nn.Sigmoid")))
    assert caught.value.module == "3"


# --- as any other network ----------------------------------------------------------------------------------------


def test_weights_are_kept_and_those_of_another_architecture_refused(tmp_path: Path) -> None:
    info = get_model(written(tmp_path, MLP))
    splits = load_splits("digits", Path("nowhere"), info.input_shape).for_search()
    weights = Pretrained(info.name, "digits", 10, 0, 0.5, info.build().state_dict(), info.digest)
    write_pretrained(weights, tmp_path / "w.pt")
    assert read_pretrained(tmp_path / "w.pt").digest == info.digest
    found = pipeline.find_weights(info, splits, tmp_path / "w.pt", 0)
    assert found is not None
    write_pretrained(Pretrained(info.name, "digits", 10, 0, 0.5, info.build().state_dict(), "0" * 12), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="is another network now than these weights were trained for"):
        read_pretrained(tmp_path / "w.pt")


def test_a_weights_file_does_not_get_a_file_executed_that_nobody_asked_for(tmp_path: Path) -> None:
    name = written(tmp_path, f"open({str(tmp_path / 'executed')!r}, 'w').close()\n" + MLP)
    write_pretrained(Pretrained(name, "digits", 10, 0, 0.5, {}, "0" * 12), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"belongs to \S*net\.py:mlp, which was not asked for and is not executed"):
        read_pretrained(tmp_path / "w.pt")
    assert not (tmp_path / "executed").exists()


def test_it_is_requantized_in_place_as_quantized_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MAX_EPOCHS", 1)
    info = get_model(EXAMPLE)
    splits = load_splits("digits", Path("nowhere"), info.input_shape).for_search()
    weights = pretrain(info, splits)
    assert weights.digest == info.digest
    specs, images = probe_layers(weights.network(), info.input_shape), splits.train.first(60)
    rng, network = random.Random(0), weights.quantized(BitPolicy.uniform(specs, 8, 8))
    for _ in range(3):
        policy = BitPolicy.draw(specs, rng)
        weights.requantize(network, policy)
        fresh = weights.quantized(policy)
        for one in (network, fresh):
            calibrate(one, images)
            train(one, images, Recipe(n_images=60, batch_size=30), seed=0)
        a, b = network.state_dict(), fresh.state_dict()
        assert list(a) == list(b)
        assert all(torch.equal(a[k], b[k]) for k in a)


FILTERS = """
from torch import nn
INPUT_SHAPE = (1, 12, 12)
def build(n_classes=10):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.ReLU(),
        nn.Conv2d(8, 12, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, n_classes),
    )
"""


def test_behind_a_bias_the_accelerator_hands_on_the_logits(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(FILTERS)
    name = f"{tmp_path / 'network.py'}:build"
    assert not get_model(name).ends_in_layer
    assert SearchSettings().top_k_of(get_model(name)) == 0
    assert SearchSettings().top_k_of(get_model(EXAMPLE)) == SearchSettings().top_k_of(get_model("resnet8")) == 1
    assert SearchSettings(top_k=2).top_k_of(get_model(name)) == 2
    with pytest.raises(GraphError, match=r"its last layer has a bias or a norm, .* hand on the logits with TOP_K=0"):
        Network(name).tables(PYNQ_Z2, top_k=2)


@pytest.mark.parametrize("file", [None, FILTERS], ids=["the example", "padding, filters, a mean and a bias"])
def test_the_tables_of_a_network_are_equal_to_finn(file: str | None, tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(file or "")
    network = Network(f"{tmp_path / 'network.py'}:build" if file else EXAMPLE)
    tables = network.tables(PYNQ_Z2)
    rng = random.Random(0)
    for policy in (network.uniform(1), network.random_policy(rng), network.random_policy(rng)):
        network.export(policy, tmp_path / "model.onnx")
        folding, built = tables.draw_design(policy, rng)
        mine = TableEstimator(tables, PYNQ_Z2).foldings.at(policy, folding, built)
        finn = estimate_with_flow(tmp_path / "model.onnx", PYNQ_Z2, folding=folding, implementations=built)
        assert differences(mine, finn) == []


def test_a_whole_search_on_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MAX_EPOCHS", 4)
    settings = SearchSettings(
        model=EXAMPLE, dataset="digits", data_dir=tmp_path / "nowhere", run_dir=tmp_path / "run", n_trials=2, threads=1,
        retrain_images=128, final_images=1000,
    )  # fmt: skip
    found = pipeline.search(settings, Silent())
    document = json.loads((tmp_path / "run" / "policy.json").read_text())
    assert list(document["policy"]) == ["features.0", "features.4", "hidden", "classes"]
    assert document["estimate"]["meets_constraint"] is True
    assert document["estimate"]["fps"] >= 1000
    policy = BitPolicy.from_dict(document["policy"])
    assert policy == found.best.policy
    content = torch.load(tmp_path / "run" / "weights.pt", weights_only=True)
    network = get_model(EXAMPLE).build(policy)
    network.load_state_dict(content["state"])
    splits = load_splits("digits", Path("nowhere"), (1, 28, 28))
    assert accuracy(network, splits.test) == document["accuracy"]["final_test"] > 0.5
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert "| features.0 |" in (tmp_path / "run" / "summary.md").read_text()


@given(st.text(max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / f"f{abs(hash(text))}.py").write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(NetworkError):
        own_network(f"{tmp_path / f'f{abs(hash(text))}.py'}:net")
