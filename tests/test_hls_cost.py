"""The tables against FINN's whole flow, on exported networks."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Sequence
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
from hls.exact import least_share
from hls.finn_backend import estimate_with_flow, set_foldings
from hls.finn_operators import HardwareGraph
from hls.legal import divisors
from hls.options import LayerKey, steps_of
from hls.topology import Topology
from hls.types import Estimate, Implementation
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
        return mine, estimate_with_flow(onnx, PYNQ_Z2, folding=mine.folding, implementations=mine.implementations)

    def built(
        self, policy: BitPolicy, implementations: Sequence[Implementation], rng: random.Random, folder: Path
    ) -> tuple[Estimate, Estimate]:
        """Every layer as told, or at random, every node at any of the foldings that are legal."""
        onnx = folder / "network.onnx"
        self.network.export(policy, onnx)
        folding, implementations = self.tables.draw_design(policy, rng, implementations)
        flow = estimate_with_flow(onnx, PYNQ_Z2, folding=folding, implementations=implementations)
        return self.estimator.foldings.at(policy, folding, implementations), flow


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

    @pytest.mark.parametrize("seed", range(4))
    def test_every_implementation_at_any_folding(self, tfc: Case, seed: int, tmp_path: Path) -> None:
        """HLS with thresholds merged and apart, and RTL, mixed at random; what the search would not choose too."""
        rng = random.Random(seed)
        policy = tfc.network.random_policy(rng, high=8 if seed else 2)
        assert differences(*tfc.built(policy, [], rng, tmp_path)) == []

    @pytest.mark.parametrize("implementation", list(Implementation))
    def test_one_implementation_for_all_of_cnv(self, cnv: Case, implementation: Implementation, tmp_path: Path) -> None:
        policy = cnv.network.random_policy(random.Random(5), low=2, high=4)
        mine, finn = cnv.built(policy, [implementation] * 9, random.Random(6), tmp_path)
        assert differences(mine, finn) == []
        assert set(mine.implementations[:-1]) == {implementation}

    def test_one_bit_activations_with_thresholds_apart(self, tfc: Case, tmp_path: Path) -> None:
        """FINN by itself fails where they are followed by wider weights: see `hls.finn_backend`."""
        policy = tfc.network.uniform(4).replace(fc0=LayerBits(4, 1), fc1=LayerBits(1, 1), fc2=LayerBits(3, 1))
        built = [Implementation.RTL, Implementation.HLS_APART, Implementation.HLS_APART, Implementation.HLS]
        assert differences(*tfc.built(policy, built, random.Random(7), tmp_path)) == []

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
            theirs = tfc.estimator.foldings.at(policy, folding)
            if theirs.resources <= LIMITS:
                best = max(best, theirs.fps)
        assert best > 0
        assert mine.resources <= LIMITS
        assert mine.fps >= best

    def test_what_is_optimised_is_what_is_reported(self, cnv: Case) -> None:
        """Every option costs what FINN and the corrections say of its nodes."""
        rng = random.Random(0)
        for layer in (0, 2, 5, 8):
            for _ in range(4):
                key = LayerKey(
                    rng.randint(1, 8), rng.randint(1, 8) if layer else None, rng.randint(1, 8) if layer < 8 else None
                )
                for options in steps_of(cnv.tables.sections(layer, key)):
                    for i in rng.sample(range(len(options.cycles)), min(20, len(options.cycles))):
                        nodes = [cnv.tables._figures_of(op) for op in options.nodes_of(i)]
                        used = sum((n.resources for n in nodes), Resources())
                        used = sum((c.resources for n in nodes for c in n.corrections), used)
                        if len(nodes) == 2:  # a window and its pool have a stream between them
                            used += Resources(lut=cnv.tables.stream(nodes[1].reads, nodes[1].reads, nodes[1].read_bits))
                        assert (used.lut, used.bram18, used.dsp) == (options.lut[i], options.bram18[i], options.dsp[i])
                        assert options.cycles[i] == max(n.cycles for n in nodes)

    def test_costs_do_not_depend_on_what_was_asked_before(self, tfc: Case) -> None:
        """An RTL unit's one-bit weights are of the type INT2, as two-bit ones are, but add up to more."""
        one, two = (LayerKey(weight, 4, 4) for weight in (1, 2))
        orders = [tfc.tables.with_weights(tfc.tables._units._integer_weights) for _ in range(2)]
        costs = [
            {key: [o.lut.tolist() for o in steps_of(tables.sections(1, key))] for key in keys}
            for tables, keys in zip(orders, [(one, two), (two, one)], strict=True)
        ]
        assert costs[0] == costs[1]

    def test_nodes_at_a_given_folding_are_not_kept(self, tfc: Case) -> None:
        policy = tfc.network.uniform(2)
        nodes = tfc.tables.nodes_at(policy, tfc.tables.draw_design(policy, random.Random(0), [Implementation.HLS] * 4)[0])
        tfc.tables.assemble(nodes)
        first = weakref.ref(nodes[0][0])
        del nodes
        gc.collect()
        assert first() is None

    @pytest.mark.parametrize("bits", [1, 4, 8])
    def test_a_design_fits_limits_of_its_own_size(self, tfc: Case, bits: int) -> None:
        policy = tfc.network.uniform(bits)
        found = tfc.estimator.estimate(policy, LIMITS)
        own = Resources(lut=found.resources.lut, ff=1, bram18=found.resources.bram18, dsp=found.resources.dsp)
        assert tfc.estimator.estimate(policy, own).bottleneck_cycles == found.bottleneck_cycles

    def test_four_bits_of_cnv_fit_where_there_is_room(self, cnv: Case) -> None:
        """Its weights alone fill more than the block RAM of a 7z020: nothing fits 85 % of it, something does 95 %."""
        policy, capacity = cnv.network.uniform(4), PYNQ_Z2.capacity
        nothing, proven = cnv.estimator.foldings.fastest_and_proof(policy, LIMITS)
        assert not nothing.resources <= LIMITS
        assert proven
        room = Resources(*(0.95 * n for n in (capacity.lut, capacity.ff, capacity.bram18, capacity.dsp)))
        assert cnv.estimator.estimate(policy, room).resources <= room

    def test_streams_have_one_width_at_both_ends(self, cnv: Case) -> None:
        policy = cnv.network.random_policy(random.Random(1))
        sections = [s for i, key in enumerate(cnv.tables.topology.keys(policy.values())) for s in cnv.tables.sections(i, key)]
        for before, behind in pairwise(sections):
            assert len({way[-1].handed_on_bits for way in before.ways} | {way[0].read_bits for way in behind.ways}) == 1
        for way in (w for s in sections for w in s.ways):
            assert all(a.handed_on_bits == b.read_bits for a, b in pairwise(way))

    def test_obeys_finns_rules(self, tfc: Case) -> None:
        for key in (LayerKey(1, None, 1), LayerKey(8, None, 8), LayerKey(8, 8, 8)):
            for unit in steps_of(tfc.tables.sections(0 if key.act_in is None else 1, key)):
                assert (np.diff(unit.cycles) >= 0).all()
                for op in (unit.nodes_of(i)[0] for i in range(len(unit.cycles))):
                    if op.op_type.startswith("MVAU"):
                        a = op.attributes
                        assert a["MH"] % a["PE"] == a["MW"] % a["SIMD"] == 0
                        assert a["PE"] * a["SIMD"] * key.weight <= 8191
                        assert a["SIMD"] * (key.act_in or 8) <= 8191
                        assert op.get_outstream_width() <= 8191
                        # the fault of the RTL unit, and the limit of the HLS library
                        assert a["SIMD"] < a["MW"] if op.op_type == "MVAU_rtl" else a["SIMD"] * 1024 >= a["MW"]

    @pytest.mark.parametrize(("name", "n"), [("tfc", 3), ("cnv", 1)])
    def test_against_highs(self, name: str, n: int, request: pytest.FixtureRequest) -> None:
        """The least share of the limits at the cycles found, and whether the next faster design is impossible."""
        case: Case = request.getfixturevalue(name)
        gaps = []
        for seed in range(n):
            policy = case.network.random_policy(random.Random(seed), high=3)
            found = case.estimator.foldings.fastest(policy, LIMITS)
            assert found.resources <= LIMITS
            keys = case.tables.topology.keys(policy.values())
            steps = [o for i, k in enumerate(keys) for o in steps_of(case.tables.sections(i, k))]
            cycles = np.unique(np.concatenate([o.cycles for o in steps]))
            (faster,) = cycles[cycles < found.bottleneck_cycles][-1:]
            here = least_share(case.tables, policy, LIMITS, found.bottleneck_cycles)
            gaps.append(found.resources.scarcest(LIMITS)[1] / here.share)
            assert here.share <= found.resources.scarcest(LIMITS)[1] + 1e-6
            assert least_share(case.tables, policy, LIMITS, float(faster)).bound > 1
        print(f"{name}: the scarcest resource of the fastest design over the least possible: {gaps}")
        assert max(gaps) < 1.1

    def test_a_folding_that_does_not_divide_is_refused(self, tfc: Case, tmp_path: Path) -> None:
        tfc.network.export(tfc.network.uniform(4), tmp_path / "network.onnx")
        wrong = {f"MVAU_hls_{i}": {"PE": 7 if i == 0 else 1, "SIMD": 4} for i in range(4)}
        with pytest.raises((FoldingError, GraphError), match="FINN"):
            estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, folding=wrong)
        with pytest.raises(FoldingError, match="the folding has node MVAU_rtl_9; nodes are "):
            estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, folding={"MVAU_rtl_9": {"PE": 1}})

    def test_finns_own_design_costs_what_the_flow_says(self, tfc: Case, tmp_path: Path) -> None:
        policy = tfc.network.uniform(3)
        tfc.network.export(policy, tmp_path / "network.onnx")
        flow = estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, target_fps=100_000)
        assert differences(tfc.estimator.foldings.at(policy, flow.folding), flow) == []

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
        at = tfc.estimator.foldings.at
        good = {f"MVAU_hls_{i}": {"PE": 1, "SIMD": 4, "ram_style": "block", "resType": "lut"} for i in range(4)}
        good |= {"ElementwiseMul_hls_0": {"PE": 1}}
        assert at(policy, good).folding == good
        with pytest.raises(FoldingError, match=text):
            at(policy, {**good, "MVAU_hls_0": {**good["MVAU_hls_0"], **wrong}})
        with pytest.raises(FoldingError, match="the folding lacks PE of node MVAU_hls_0"):
            at(policy, {n: f for n, f in good.items() if n != "MVAU_hls_0"})
        with pytest.raises(GraphError, match="2 implementations for the 4 layers fc0, fc1, fc2, fc3"):
            at(policy, good, [Implementation.HLS] * 2)

    def test_an_implementation_that_finn_lacks_is_refused(self, tfc: Case) -> None:
        policy = tfc.network.uniform(4).replace(fc0=LayerBits(4, 1))
        built = [Implementation.HLS, Implementation.RTL, Implementation.HLS, Implementation.HLS]
        with pytest.raises(GraphError, match="layer fc1 has 4-bit weights and 1-bit inputs, of which FINN has no RTL unit"):
            tfc.estimator.foldings.at(policy, {}, built)

    def test_needs_either_a_folding_or_a_target(self, tmp_path: Path) -> None:
        with pytest.raises(FoldingError, match="either a folding or a target frame rate"):
            estimate_with_flow(tmp_path / "none.onnx", PYNQ_Z2)


class TestOneBitWeights:
    def test_keep_one_bit_behind_wide_inputs(self, cnv: Case) -> None:
        """FINN widens them to INT2, which doubles their memory; the flow and the tables both undo that."""
        block_rams = []
        for bits in (1, 2):
            op = cnv.tables._units.merged(cnv.tables._steps[5][-1].nodes[0], 5, LayerKey(bits, 4, 4))
            op.attributes.update(PE=1, SIMD=36, ram_style="block")
            block_rams.append(op.bram_estimation(PYNQ_Z2.fpga_part))
        assert block_rams[0] * 2 == block_rams[1]


def test_the_estimator_remembers_and_names_its_method(tfc: Case) -> None:
    policy = tfc.network.uniform(3)
    first = tfc.estimator.estimate(policy, LIMITS)
    assert tfc.estimator.estimate(policy, LIMITS) is first
    assert first.method == TABLES
    assert first.clock_mhz == PYNQ_Z2.clock_mhz


def test_keys_of_a_chain_hand_the_activations_on() -> None:
    bits = [LayerBits(1, 2), LayerBits(3, 4), LayerBits(5, None)]
    assert Topology.chain(("a", "b", "c")).keys(bits) == [LayerKey(1, None, 2), LayerKey(3, 2, 4), LayerKey(5, 4, None)]


def test_divisors() -> None:
    assert divisors(12) == (1, 2, 3, 4, 6, 12)


def test_a_graph_of_another_network_is_refused(tfc: Case) -> None:
    graph: HardwareGraph = tfc.tables._graph
    with pytest.raises(GraphError, match="4 matrix units for the 2 layers fc0, fc1"):
        CostTables(graph, tfc.network.specs[:2], lambda *_: np.zeros((1, 1)), 64, "zynq-7000")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no onnx")
    with pytest.raises(GraphError, match=r"no\.onnx"):
        estimate_with_flow(tmp_path / "no.onnx", PYNQ_Z2, target_fps=1000)
