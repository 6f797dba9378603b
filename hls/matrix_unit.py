"""Matrix-vector units: their types for given bits, and what each folding costs, asked of FINN's operator.

FINN's figures of a unit are a sum of parts that do not depend on all of its attributes: cycles and
block RAM not on activations, the arithmetic not on the memory, thresholds not on SIMD. Each part is
asked once for what it depends on; `tests/test_hls_cost.py` holds the sums against FINN's whole flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.corrections import correct_node
from hls.finn_backend import HardwareGraph
from hls.options import Folding, IntegerWeights, LayerKey, Options, act_type, divisors

# Xilinx' ap_int ends at 8191 bits (finn.transformation.fpgadataflow.set_folding, MAX_ALLOWED_AP_INT_W).
MAX_STREAM_BITS = 8191
# The HLS library unrolls at most this many folds of the weight matrix's width; SetFolding does not check it.
MAX_HLS_FOLDS = 1024


@dataclass(frozen=True)
class UnitFoldings:
    """The foldings of a matrix unit that FINN accepts, and what of their cost does not depend on activations.

    Arrays of one length, in order of cycles; `lut_of_memory` is what weights in LUT RAM add.
    """

    pe: NDArray[np.int64]
    simd: NDArray[np.int64]
    cycles: NDArray[np.int64]
    bram18: NDArray[np.int64]
    lut_of_memory: NDArray[np.float64]
    foldings: tuple[tuple[Folding, ...], ...]


class MatrixUnits:
    """The matrix units of one network.

    Args:
        graph: the network's dataflow graph.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
    """

    def __init__(self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights) -> None:
        self._graph = graph
        self._layers = layers
        self._integer_weights = integer_weights
        self._weights: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._typed: dict[tuple[int, int, str], dict[str, Any]] = {}
        self._foldings: dict[tuple[int, str], UnitFoldings] = {}
        self._arithmetic: dict[tuple[int, int, str], NDArray[np.float64]] = {}

    def attributes(self, index: int, layer: int, key: LayerKey) -> dict[str, Any]:
        """Attributes of the unit at position `index` of the graph with the types of a layer's bits."""
        typed = self._types(index, layer, key)
        return {**typed, "outputDataType": key.handed_on_type or typed["accDataType"]}

    def _types(self, index: int, layer: int, key: LayerKey) -> dict[str, Any]:
        """The attributes but for the output's type."""
        read = act_type(key.act_in, key.weight)
        typed = self._typed.get((layer, key.weight, read))
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
        if key.weight == 1 and not counting:
            op.attributes["weightDataType"] = "BIPOLAR"  # see finn_backend: FINN would widen it
        self._typed[layer, key.weight, read] = op.attributes
        return op.attributes  # type: ignore[no-any-return]

    def _unit_foldings(self, layer: int, index: int, typed: dict[str, Any]) -> UnitFoldings:
        """Every folding of a matrix unit by FINN's rules, with FINN's cycles and block RAM."""
        found = self._foldings.get((layer, typed["weightDataType"]))
        if found is not None:
            return found
        op = self._graph.with_attributes(index, dict(typed))
        rows = []
        for simd in divisors(typed["MW"]):
            if simd * MAX_HLS_FOLDS < typed["MW"]:
                continue
            for pe in divisors(typed["MH"]):
                op.attributes.update(PE=pe, SIMD=simd, ram_style="block")
                if op.get_instream_width(1) > MAX_STREAM_BITS:
                    continue
                cycles, block = int(op.get_exp_cycles()), self._graph.resources_of(op)
                op.attributes["ram_style"] = "distributed"
                distributed = self._graph.resources_of(op)
                rows.append((cycles, pe, simd, False, block.bram18, 0.0))
                rows.append((cycles, pe, simd, True, distributed.bram18, distributed.lut - block.lut))
        rows.sort()
        a = np.array(rows)
        whole = a[:, :3].astype(np.int64)
        foldings = tuple(({"PE": int(r[1]), "SIMD": int(r[2]), "ram_style": "distributed" if r[3] else "block"},) for r in rows)
        unit = UnitFoldings(
            pe=whole[:, 1],
            simd=whole[:, 2],
            cycles=whole[:, 0],
            bram18=a[:, 4].astype(np.int64),
            lut_of_memory=a[:, 5],
            foldings=foldings,
        )
        self._foldings[layer, typed["weightDataType"]] = unit
        return unit

    def _arithmetic_luts(self, index: int, layer: int, key: LayerKey, unit: UnitFoldings) -> NDArray[np.float64]:
        """FINN's LUT of every folding with weights in block RAM."""
        typed = self._types(index, layer, key)
        name = (layer, key.weight, typed["inputDataType"])
        if name not in self._arithmetic:
            op = self._graph.with_attributes(index, {**typed, "outputDataType": typed["accDataType"], "ram_style": "block"})
            found: dict[tuple[int, int], float] = {}
            for pe, simd in set(zip(unit.pe.tolist(), unit.simd.tolist(), strict=True)):
                op.attributes.update(PE=pe, SIMD=simd)
                found[pe, simd] = self._graph.luts_of(op)
            self._arithmetic[name] = np.array([found[pair] for pair in zip(unit.pe.tolist(), unit.simd.tolist(), strict=True)])
        return self._arithmetic[name]

    def options(self, index: int, layer: int, key: LayerKey) -> Options:
        """The options of the unit at position `index`: what FINN says of each folding, and its thresholds a lane."""
        attributes = self.attributes(index, layer, key)
        unit = self._unit_foldings(layer, index, attributes)
        op = self._graph.with_attributes(index, {**attributes, "SIMD": 1})
        thresholds = {}
        for pe in set(unit.pe.tolist()):
            op.attributes["PE"] = pe
            thresholds[pe] = sum((c.resources for c in correct_node(self._graph, op, "")), Resources()).lut
        lut = self._arithmetic_luts(index, layer, key, unit) + unit.lut_of_memory
        lut = lut + np.array([thresholds[pe] for pe in unit.pe.tolist()])
        read_bits = op.get_input_datatype(0).bitwidth()
        fits = unit.simd * read_bits <= MAX_STREAM_BITS
        return Options(
            nodes=(index,),
            cycles=unit.cycles[fits],
            lut=lut[fits],
            bram18=unit.bram18[fits],
            dsp=np.zeros(int(fits.sum()), np.int64),
            reads=unit.simd[fits],
            hands_on=unit.pe[fits],
            read_bits=read_bits,
            handed_on_bits=op.get_output_datatype(0).bitwidth(),
            foldings=tuple(f for f, ok in zip(unit.foldings, fits.tolist(), strict=True) if ok),
        )
