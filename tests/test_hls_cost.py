"""The tables against FINN's whole flow, on exported networks."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from hls.cost import CostTables
from hls.equality import differences
from hls.errors import FoldingError, GraphError
from hls.estimators import TABLES, TableEstimator
from hls.finn_backend import HardwareGraph, estimate_with_flow, set_foldings
from hls.folding import estimate_at
from hls.options import LayerKey, divisors, layer_keys
from hls.types import Estimate
from models.policy import BitPolicy, LayerBits
from tests.networks import Network

LIMITS = Resources(lut=0.85 * 53_200, ff=0.85 * 106_400, bram18=0.85 * 280, dsp=0.85 * 220)


class Case:
    """A network, its tables, and FINN's flow to hold them against."""

    def __init__(self, name: str) -> None:
        self.network = Network(name)
        self.tables = self.network.tables(PYNQ_Z2)
        self.estimator = TableEstimator(self.tables, PYNQ_Z2)

    def both(self, policy: BitPolicy, folder: Path) -> tuple[Estimate, Estimate]:
        onnx = folder / "network.onnx"
        self.network.export(policy, onnx)
        mine = self.estimator.estimate(policy, LIMITS)
        return mine, estimate_with_flow(onnx, PYNQ_Z2, folding=mine.folding)


@pytest.fixture(scope="module")
def tfc() -> Case:
    return Case("tfc")


@pytest.fixture(scope="module")
def cnv() -> Case:
    return Case("cnv")


class TestEqualToFinn:
    """Node by node: class, cycles, LUT, block RAM, DSP and folding."""

    @pytest.mark.parametrize("bits", [1, 8])
    def test_uniform_policies_of_tfc(self, tfc: Case, bits: int, tmp_path: Path) -> None:
        assert differences(*tfc.both(tfc.network.uniform(bits), tmp_path)) == []

    @pytest.mark.parametrize("seed", range(4))
    def test_random_policies_of_tfc(self, tfc: Case, seed: int, tmp_path: Path) -> None:
        policy = tfc.network.random_policy(random.Random(seed))
        assert differences(*tfc.both(policy, tmp_path)) == []

    def test_one_bit_activations_before_wider_weights(self, tfc: Case, tmp_path: Path) -> None:
        policy = tfc.network.uniform(1).replace(fc1=LayerBits(5, 1), fc3=LayerBits(3, None))
        assert differences(*tfc.both(policy, tmp_path)) == []

    def test_uniform_policy_of_cnv(self, cnv: Case, tmp_path: Path) -> None:
        assert differences(*cnv.both(cnv.network.uniform(1), tmp_path)) == []

    def test_random_policy_of_cnv(self, cnv: Case, tmp_path: Path) -> None:
        policy = cnv.network.random_policy(random.Random(0), high=4)
        assert differences(*cnv.both(policy, tmp_path)) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1, 21))
    def test_more_random_policies_of_cnv(self, cnv: Case, seed: int, tmp_path: Path) -> None:
        policy = cnv.network.random_policy(random.Random(seed), high=3 if seed % 2 else 8)
        assert differences(*cnv.both(policy, tmp_path)) == []


class TestFolding:
    def test_is_never_slower_than_finns_own(self, tfc: Case, tmp_path: Path) -> None:
        """FINN's SetFolding over a sweep of targets: the best of its designs that fit."""
        policy = tfc.network.uniform(4)
        mine, _ = tfc.both(policy, tmp_path)
        best = 0.0
        for folding in set_foldings(tmp_path / "network.onnx", PYNQ_Z2, range(50_000, 1_000_000, 50_000), (36, 8191)):
            theirs = estimate_at(tfc.tables, policy, folding, 100.0, "SetFolding")
            if theirs.resources <= LIMITS:
                best = max(best, theirs.fps)
        assert best > 0
        assert mine.resources <= LIMITS
        assert mine.fps >= best

    @pytest.mark.parametrize("bits", [1, 4, 8])
    def test_what_is_optimised_is_what_is_reported(self, tfc: Case, bits: int) -> None:
        """A design fits limits of exactly its own size, and streams have one width at both ends."""
        policy = tfc.network.uniform(bits)
        found = tfc.estimator.estimate(policy, LIMITS)
        own = Resources(lut=found.resources.lut, ff=1, bram18=found.resources.bram18, dsp=LIMITS.dsp)
        assert tfc.estimator.estimate(policy, own).bottleneck_cycles == found.bottleneck_cycles
        steps = [o for i, key in enumerate(layer_keys(policy)) for o in tfc.tables.options(i, key)]
        assert all(a.handed_on_bits == b.read_bits for a, b in pairwise(steps))

    def test_obeys_finns_rules(self, tfc: Case) -> None:
        for key in (LayerKey(1, None, 1), LayerKey(8, None, 8)):
            (unit,) = tfc.tables.options(0, key)
            for (folding,) in unit.foldings:
                pe, simd = int(folding["PE"]), int(folding["SIMD"])
                assert 64 % pe == 0
                assert 784 % simd == 0
                assert pe * simd * key.weight <= 8191
            assert (np.diff(unit.cycles) >= 0).all()

    def test_a_folding_that_does_not_divide_is_refused(self, tfc: Case, tmp_path: Path) -> None:
        mine, _ = tfc.both(tfc.network.uniform(4), tmp_path)
        first = mine.nodes[0].node
        wrong = {**mine.folding, first: {**mine.folding[first], "PE": 7}}
        with pytest.raises((FoldingError, GraphError), match="FINN"):
            estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, folding=wrong)

    def test_finns_own_design_costs_what_the_flow_says(self, tfc: Case, tmp_path: Path) -> None:
        policy = tfc.network.uniform(3)
        tfc.network.export(policy, tmp_path / "network.onnx")
        flow = estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, target_fps=100_000)
        assert differences(estimate_at(tfc.tables, policy, flow.folding, 100.0, "SetFolding"), flow) == []

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            ({"PE": 7}, r"node MVAU_hls_0 has PE=7; allowed are 1, 2, 4, 8, 16, 32, 64"),
            ({"SIMD": 13}, r"node MVAU_hls_0 has SIMD=13; allowed are 1, 2, 4, 7, 8, 14, 16, 28, 49, 56"),
            ({"ram_style": "ultra"}, r"has ram_style=ultra; allowed are block, distributed"),
        ],
    )
    def test_what_is_wrong_with_a_folding_is_said(self, tfc: Case, wrong: dict[str, int | str], text: str) -> None:
        policy = tfc.network.uniform(4)
        good = tfc.estimator.estimate(policy, LIMITS).folding
        assert estimate_at(tfc.tables, policy, good, 100.0, "x").folding == good
        with pytest.raises(FoldingError, match=text):
            estimate_at(tfc.tables, policy, {**good, "MVAU_hls_0": {**good["MVAU_hls_0"], **wrong}}, 100.0, "x")
        with pytest.raises(FoldingError, match="the folding lacks PE of node MVAU_hls_0"):
            estimate_at(tfc.tables, policy, {n: f for n, f in good.items() if n != "MVAU_hls_0"}, 100.0, "x")

    def test_needs_either_a_folding_or_a_target(self, tmp_path: Path) -> None:
        with pytest.raises(FoldingError, match="either a folding or a target frame rate"):
            estimate_with_flow(tmp_path / "none.onnx", PYNQ_Z2)


class TestOneBitWeights:
    def test_keep_one_bit_behind_wide_inputs(self, cnv: Case) -> None:
        """FINN widens them to INT2, which doubles their memory; the flow and the tables both undo that."""
        narrow = cnv.tables.options(5, LayerKey(1, 4, 4))[-1]
        wide = cnv.tables.options(5, LayerKey(2, 4, 4))[-1]
        same = [f for (f,) in narrow.foldings].index({"PE": 1, "SIMD": 36, "ram_style": "block"})
        other = [f for (f,) in wide.foldings].index({"PE": 1, "SIMD": 36, "ram_style": "block"})
        assert narrow.bram18[same] * 2 == wide.bram18[other]


def test_the_estimator_remembers_and_names_its_method(tfc: Case) -> None:
    policy = tfc.network.uniform(3)
    first = tfc.estimator.estimate(policy, LIMITS)
    assert tfc.estimator.estimate(policy, LIMITS) is first
    assert first.method == TABLES
    assert first.clock_mhz == PYNQ_Z2.clock_mhz


def test_layer_keys_hand_the_activations_on() -> None:
    policy = BitPolicy({"a": LayerBits(1, 2), "b": LayerBits(3, 4), "c": LayerBits(5, None)})
    assert layer_keys(policy) == [LayerKey(1, None, 2), LayerKey(3, 2, 4), LayerKey(5, 4, None)]


def test_divisors() -> None:
    assert divisors(12) == (1, 2, 3, 4, 6, 12)


def test_a_graph_of_another_network_is_refused(tfc: Case) -> None:
    graph: HardwareGraph = tfc.tables._graph
    with pytest.raises(GraphError, match="4 matrix units for the 2 layers fc0, fc1"):
        CostTables(graph, ["fc0", "fc1"], lambda *_: np.zeros((1, 1)), 64)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no onnx")
    with pytest.raises(GraphError, match=r"no\.onnx"):
        estimate_with_flow(tmp_path / "no.onnx", PYNQ_Z2, target_fps=1000)
