"""Matrix-vector units and their thresholds: types for given bits, and what each folding costs, asked of FINN's operators.

FINN's figures of a unit are a sum of parts that do not depend on all of its attributes: cycles and
block RAM not on activations, the arithmetic not on the memory, thresholds not on SIMD. Each part is
asked once for what it depends on; `tests/test_hls_cost.py` holds the sums against FINN's whole flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.assembly import THRESHOLDS_OF
from hls.corrections import correct_node
from hls.finn_operators import HardwareGraph, operator, threshold_type
from hls.legal import NodeFolding, multipliers, unit_shapes
from hls.options import IntegerWeights, LayerKey, Options
from hls.rtl_unit import unit_luts, unit_slices

# The widest accumulator that the DSP slices of an RTL unit hold (finn.util.basic.get_dsp_datapath_limits, the smallest).
_MAX_RTL_ACC_BITS = 48
_MEMORIES = ("block", "distributed")


@dataclass(frozen=True)
class _Grid:
    """The shapes of a unit by FINN's rules, and what of their cost does not depend on activations; arrays of one length.

    `bram18` and `lut_of_memory` have a second axis: weights in block RAM, in LUT RAM.
    """

    pe: NDArray[np.int64]
    simd: NDArray[np.int64]
    cycles: NDArray[np.int64]
    bram18: NDArray[np.int64]
    lut_of_memory: NDArray[np.float64]

    @cached_property
    def foldings(self) -> list[tuple[NodeFolding]]:
        """For every shape, memory and kind of multiplier a folding; see `folding`."""
        shapes = zip(self.pe.tolist(), self.simd.tolist(), strict=True)
        return [
            ({"PE": pe, "SIMD": simd, "ram_style": memory, "resType": made_of},)
            for pe, simd in shapes
            for memory in _MEMORIES
            for made_of in ("lut", "dsp")
        ]

    def folding(self, memory: int, made_of: str) -> NDArray[np.int64]:
        """Positions in `foldings`, a shape each."""
        return 4 * np.arange(len(self.pe)) + 2 * memory + int(made_of == "dsp")


@dataclass(frozen=True)
class _Way:
    """One way to build a unit, at every shape of its grid; LUT is infinite where it cannot have the shape."""

    built: int
    lut: NDArray[np.float64]
    bram18: NDArray[np.int64]
    dsp: NDArray[np.int64]
    folding: NDArray[np.int64]


def first_value(handed_on: str | None) -> int:
    """What thresholds of a type begin to count at (FINN's ActVal); 0 for one bit and for none."""
    return -(2 ** (int(handed_on[3:]) - 1)) if handed_on is not None and handed_on.startswith("INT") else 0


def compared(read: str, handed_on: str) -> dict[str, Any]:
    """The types of thresholds of their own, and how many they are: QONNX types of what they read and hand on."""
    bits = 1 if handed_on == "BIPOLAR" else int(handed_on.lstrip("UINT"))
    return {
        "numSteps": 2**bits - 1, "inputDataType": read, "weightDataType": threshold_type(read), "outputDataType": handed_on,
        "ActVal": first_value(handed_on),
    }  # fmt: skip


class MatrixUnits:
    """The matrix units of one network.

    Args:
        graph: the network's dataflow graph, thresholds merged into its units.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
        wide_weights: whether the part's DSP slices let RTL units have weights of -2^(bits-1); those of the
            7 series do not.
    """

    def __init__(
        self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights, wide_weights: bool
    ) -> None:
        self._graph = graph
        self._layers = layers
        self._integer_weights = integer_weights
        self._wide_weights = wide_weights
        self._weights: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._typed: dict[tuple[int, int, str, bool], dict[str, Any]] = {}
        self._grids: dict[tuple[int, str], _Grid] = {}
        self._arithmetic: dict[tuple[int, str, str, str, str, str], NDArray[np.float64]] = {}
        self._dsp: dict[tuple[int, str, str, str], NDArray[np.int64]] = {}

    def merged(self, index: int, layer: int, key: LayerKey) -> Any:
        """The HLS unit at position `index` of the graph with a layer's bits, its thresholds merged into it."""
        typed = self._types(index, layer, key, rtl=False)
        handed_on = {"outputDataType": key.unit_type or typed["accDataType"], "ActVal": first_value(key.unit_type)}
        return self._graph.with_attributes(index, {**typed, **handed_on})

    def apart(self, index: int, layer: int, key: LayerKey, rtl: bool) -> Any | None:
        """The unit without thresholds; None where FINN has no RTL unit for such bits."""
        typed = self._types(index, layer, key, rtl)
        attributes = {**typed, "noActivation": 1, "ActVal": 0, "outputDataType": typed["accDataType"]}
        if not rtl:
            return self._graph.with_attributes(index, attributes)
        op = operator("MVAU_rtl", self._graph.ops[index].name, attributes)
        return op if self._is_buildable(op, layer, key) else None

    def _is_buildable(self, op: Any, layer: int, key: LayerKey) -> bool:
        """Whether FINN's RTL unit takes such types.

        Source: finn/transformation/fpgadataflow/specialize_layers.py, _mvu_rtl_possible; that the accumulator
        holds any one product: finn-rtllib/mvu/mvu.sv, which gives up otherwise.
        """
        read, weight, acc = op.get_input_datatype(0), op.get_input_datatype(1), op.get_output_datatype()
        narrow = self._weights[layer, key.weight].min() > weight.min()
        return bool(
            not op.attributes["binaryXnorMode"]
            and weight.signed()
            and min(read.bitwidth(), weight.bitwidth()) >= 2
            and (narrow or self._wide_weights)
            and weight.bitwidth() + read.bitwidth() - read.signed() <= acc.bitwidth() <= _MAX_RTL_ACC_BITS
        )

    def thresholds(self, unit: Any, key: LayerKey) -> Any:
        """The node of its own that holds the thresholds of a unit without them."""
        assert key.unit_type is not None
        return operator(
            "Thresholding_rtl",
            unit.name + THRESHOLDS_OF,
            {
                "NumChannels": unit.attributes["MH"],
                "numInputVectors": unit.attributes["numInputVectors"],
                **compared(unit.attributes["accDataType"], key.unit_type),
                "PE": 1,
            },
        )

    def _types(self, index: int, layer: int, key: LayerKey, rtl: bool) -> dict[str, Any]:
        """The attributes but for the output's type."""
        read = key.read_type
        wide = rtl and key.weight == 1  # the only difference
        typed = self._typed.get((layer, key.weight, read, wide))
        if typed is not None:
            return typed
        if (layer, key.weight) not in self._weights:
            self._weights[layer, key.weight] = self._integer_weights(self._layers[layer], key.weight)
        weights = self._weights[layer, key.weight]
        counting = read == "BINARY"
        op = self._graph.with_attributes(
            index,
            {
                **self._graph.ops[index].attributes,
                "inputDataType": read,
                "weightDataType": "BINARY" if counting else f"INT{key.weight}",
                "binaryXnorMode": int(counting),
            },
        )
        if counting:
            weights = (weights + 1) / 2
        model = SimpleNamespace(get_initializer=lambda _: weights, find_direct_successors=lambda _: [None])
        op.input = (None, None)
        if not counting:
            op.minimize_weight_bit_width(model)
        op.minimize_accumulator_width(model)
        if key.weight == 1 and not counting and not rtl:
            op.attributes["weightDataType"] = "BIPOLAR"  # see finn_backend: FINN would widen it
        self._typed[layer, key.weight, read, wide] = op.attributes
        return op.attributes  # type: ignore[no-any-return]

    def _grid(self, layer: int, op: Any) -> _Grid:
        """Every shape that an HLS or an RTL unit may have, with FINN's cycles and block RAM."""
        name = (layer, op.attributes["weightDataType"])
        if name not in self._grids:
            asked = operator("MVAU_hls", op.name, op.attributes)  # of the RTL unit FINN counts no LUT
            a = op.attributes  # the shapes of the narrowest types: they are to be the same for all
            shapes = sorted({s for rtl in (False, True) for s in unit_shapes(a["MW"], a["MH"], 1, 1, 1, rtl)})
            rows = []
            for pe, simd in shapes:
                memories = []
                for memory in _MEMORIES:
                    asked.attributes.update(PE=pe, SIMD=simd, ram_style=memory)
                    memories.append(self._graph.resources_of(asked))
                block, distributed = memories
                rows.append((asked.get_exp_cycles(), block.bram18, distributed.bram18, 0.0, distributed.lut - block.lut))
            table = np.array(rows, float)
            whole = table.astype(np.int64)
            pe_and_simd = np.array(shapes)
            self._grids[name] = _Grid(pe_and_simd[:, 0], pe_and_simd[:, 1], whole[:, 0], whole[:, 1:3], table[:, 3:5])
        return self._grids[name]

    def _arithmetic_luts(self, layer: int, op: Any, made_of: str) -> NDArray[np.float64]:
        """LUT of a unit at every shape of its grid, weights in block RAM, thresholds left out; of an HLS one FINN's."""
        a = op.attributes
        name = (layer, op.op_type, a["weightDataType"], a["inputDataType"], a["accDataType"], made_of)
        if name not in self._arithmetic:
            asked = type(op)(op.name, {**a, "outputDataType": a["accDataType"], "ram_style": "block", "resType": made_of})
            graph, rtl = self._graph, op.op_type == "MVAU_rtl"
            of_one = (unit_luts(asked, graph.dsp_block) if rtl else graph.luts_of(asked) for _ in self._at_shapes(layer, asked))
            self._arithmetic[name] = np.fromiter(of_one, float)
        return self._arithmetic[name]

    def _dsp_slices(self, layer: int, op: Any, made_of: str) -> NDArray[np.int64]:
        """DSP slices of a unit at every shape of its grid, those that FINN leaves out included."""
        name = (layer, op.op_type, op.attributes["weightDataType"], f"{op.attributes['inputDataType']} {made_of}")
        if name not in self._dsp:
            asked, graph = type(op)(op.name, {**op.attributes, "resType": made_of}), self._graph
            slices = np.array([int(asked.dsp_estimation(graph.fpga_part)) for _ in self._at_shapes(layer, asked)])
            if op.op_type == "MVAU_rtl":
                slices = np.maximum(slices, [unit_slices(asked, graph.dsp_block) for _ in self._at_shapes(layer, asked)])
            self._dsp[name] = slices
        return self._dsp[name]

    def _at_shapes(self, layer: int, op: Any) -> Iterator[None]:
        """Go through the shapes of a unit's grid: the operator has one after the other."""
        grid = self._grid(layer, op)
        for pe, simd in zip(grid.pe.tolist(), grid.simd.tolist(), strict=True):
            op.attributes.update(PE=pe, SIMD=simd)
            yield

    def _ways(self, layer: int, op: Any, position: int) -> list[_Way]:
        """A unit, at `position` among the ways, in every memory and with every kind of multiplier."""
        grid, rtl = self._grid(layer, op), op.op_type == "MVAU_rtl"
        a, handed_on_bits = op.attributes, op.get_output_datatype().bitwidth()
        read_bits, weight_bits = (op.get_input_datatype(i).bitwidth() for i in (0, 1))
        legal = set(unit_shapes(a["MW"], a["MH"], weight_bits, read_bits, handed_on_bits, rtl))
        barred = np.array([0.0 if s in legal else np.inf for s in zip(grid.pe.tolist(), grid.simd.tolist(), strict=True)])
        ways = []
        for made_of in multipliers(op):
            lut, dsp = self._arithmetic_luts(layer, op, made_of) + barred, self._dsp_slices(layer, op, made_of)
            for m in range(len(_MEMORIES)):
                ways.append(_Way(position, lut + grid.lut_of_memory[:, m], grid.bram18[:, m], dsp, grid.folding(m, made_of)))
        return ways

    def _options(self, layer: int, built: Sequence[Any], ways: Sequence[_Way]) -> Options:
        """The options of a unit: of every shape the ways that no other beats."""
        grid = self._grid(layer, built[0])
        costs = np.stack([np.stack([w.lut, w.bram18, w.dsp]) for w in ways])  # way, resource, shape
        at_most = np.asarray((costs[:, None] <= costs[None]).all(axis=2))  # way a is at most way b: (a, b, shape)
        earlier = np.arange(len(ways))[:, None] < np.arange(len(ways))[None]
        beats = at_most & (~at_most.transpose(1, 0, 2) | earlier[:, :, None])
        way, shape = np.nonzero(~beats.any(axis=0) & np.isfinite(costs[:, 0]))
        order = np.lexsort((way, costs[way, 0, shape], grid.cycles[shape]))
        way, shape = way[order], shape[order]
        folding = np.stack([w.folding for w in ways])
        return Options(
            cycles=grid.cycles[shape],
            lut=costs[way, 0, shape],
            bram18=costs[way, 1, shape].astype(np.int64),
            dsp=costs[way, 2, shape].astype(np.int64),
            reads=grid.simd[shape],
            hands_on=grid.pe[shape],
            read_bits=built[0].get_input_datatype(0).bitwidth(),
            handed_on_bits=built[0].get_output_datatype().bitwidth(),
            built=[(op,) for op in built],
            way=np.array([w.built for w in ways])[way],
            foldings=grid.foldings,
            folding=folding[way, shape],
            n_read=prod(map(int, built[0].get_normal_input_shape(0))),
        )

    def merged_options(self, index: int, layer: int, key: LayerKey) -> Options:
        """The options of an HLS unit with its thresholds, which take LUT by the lane."""
        op = self.merged(index, layer, key)
        grid = self._grid(layer, op)
        asked = type(op)(op.name, {**op.attributes, "SIMD": 1})
        lanes = {}
        for pe in set(grid.pe.tolist()):
            asked.attributes["PE"] = pe
            lanes[pe] = sum((c.resources for c in correct_node(self._graph, asked, "")), Resources()).lut
        thresholds = np.array([lanes[pe] for pe in grid.pe.tolist()])
        return self._options(layer, [op], [replace(w, lut=w.lut + thresholds) for w in self._ways(layer, op, 0)])

    def apart_options(self, index: int, layer: int, key: LayerKey) -> Options:
        """The options of a unit without thresholds, HLS or RTL."""
        built: list[Any] = []
        ways: list[list[_Way]] = []
        for rtl in (False, True):
            op = self.apart(index, layer, key, rtl)
            if op is not None:
                ways.append(self._ways(layer, op, len(built)))
                built.append(op)
        return self._options(layer, built, [w for of_one in ways for w in of_one])
