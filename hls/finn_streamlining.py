"""FINN's streamlining for networks that are no plain chain: with forks, sums of two branches, or a mean over the image.

Streamlining moves scales and norms through a graph until thresholds take them up and what is left are integers
(Y. Umuroglu, M. Jahre, "Streamlined Deployment for Quantized Neural Networks", 2017). FINN's own step does that along
a chain. Where a tensor is read twice its scale has to be moved into both branches first, where two are added one scale
they share behind the sum; a mean has to become a sum and a scale before the layer behind it can read integers.

Which order a graph gets is read off the graph. What is moved is what finn/builder/custom_step_library/resnet.py moves;
in that order, though, a scale stays before the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hls.finn_operators import finn_steps


def needs_own_order(model: Any) -> bool:
    """Whether a graph has what FINN's step for chains leaves behind: a tensor that is read twice, or a mean."""
    read = [name for node in model.graph.node for name in node.input if model.get_initializer(name) is None]
    return len(set(read)) < len(read) or any(node.op_type == "GlobalAveragePool" for node in model.graph.node)


def streamline(model: Any) -> Any:
    """The graph with integers between its layers, channels last, as FINN's conversion to hardware wants it.

    Whatever FINN raises is raised; `hls.finn_backend` makes an error of ours of it.

    Args:
        model: QONNX's ModelWrapper behind FINN's `step_tidy_up`.
    """
    finn_steps()
    from finn.transformation.fpgadataflow.convert_to_hw.global_acc_pool import InferGlobalAccPoolLayer
    from finn.transformation.streamline import absorb, reorder
    from finn.transformation.streamline.collapse_repeated import CollapseRepeatedAdd, CollapseRepeatedMul
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.transformation.batchnorm_to_affine import BatchNormToAffine
    from qonnx.transformation.bipolar_to_xnor import ConvertBipolarMatMulToXnorPopcount
    from qonnx.transformation.general import ConvertDivToMul, ConvertSubToAdd, GiveReadableTensorNames, GiveUniqueNodeNames
    from qonnx.transformation.infer_data_layouts import InferDataLayouts
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul

    scales = [
        absorb.AbsorbScalarBiasIntoMultiThreshold(),
        reorder.MoveLinearPastFork(),
        reorder.MoveScalarMulPastConv(),
        reorder.MoveScalarMulPastMatMul(),
        reorder.MoveScalarLinearPastInvariants(),
        reorder.MoveMulPastMaxPool(),
        reorder.MoveLinearPastEltwiseAdd(),
        reorder.MoveAddPastMul(),
        CollapseRepeatedAdd(),
        CollapseRepeatedMul(),
        absorb.AbsorbAddIntoMultiThreshold(),
        absorb.FactorOutMulSignMagnitude(),
        absorb.AbsorbMulIntoMultiThreshold(),
        absorb.Absorb1BitMulIntoConv(),
        absorb.Absorb1BitMulIntoMatMul(),
        InferDataTypes(),
    ]
    layouts = [
        absorb.AbsorbTransposeIntoMultiThreshold(),
        reorder.MoveTransposePastFork(),
        reorder.MoveTransposePastJoinAdd(),
        reorder.MakeMaxPoolNHWC(),
        absorb.AbsorbConsecutiveTransposes(),
    ]
    model = _applied(model, [ConvertSubToAdd(), ConvertDivToMul(), BatchNormToAffine()])
    model = _settled(model, scales)
    # The mean becomes a sum with a scale behind it, which the scales below move past the last layer.
    mean = [InferDataLayouts(), InferGlobalAccPoolLayer(), absorb.AbsorbTransposeIntoFlatten()]
    model = _applied(model, [*mean, LowerConvsToMatMul(), reorder.MakeMaxPoolNHWC()])
    model = _settled(model, layouts)
    model = _applied(model, [InferDataTypes(), ConvertBipolarMatMulToXnorPopcount()])
    model = _applied(_settled(model, scales), [absorb.AbsorbScalarMulAddIntoTopK()])
    # A shortcut's thresholds lie below zero, too; FINN refuses that of an input that never does, unless they are clipped.
    return _applied(model, [RoundAndClipThresholds(), GiveUniqueNodeNames(), GiveReadableTensorNames(), InferDataLayouts()])


def _applied(model: Any, transformations: Sequence[Any]) -> Any:
    """The graph after transformations of FINN's, each for as long as it finds something to change."""
    for one in transformations:
        model = model.transform(one, make_deepcopy=False)
    return model


def _settled(model: Any, transformations: Sequence[Any]) -> Any:
    """The graph after rounds of transformations, until a round leaves the kinds of its nodes, in order, as they were."""
    while True:
        before = [node.op_type for node in model.graph.node]
        model = _applied(model, transformations)
        if [node.op_type for node in model.graph.node] == before:
            return model
