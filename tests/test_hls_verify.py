"""Verdicts on made-up answers: what differs is found, counted and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hls.errors import VerificationError
from hls.finn_execution import Answers
from hls.verify import quantizers, verdicts
from models.probe import probe_layers
from models.registry import get_model

LAYERS = ("conv0", "fc0", "fc1")
LOGITS = np.array([[1.0, 2.0, -0.5], [0.0, 0.25, 0.5]])
CONV, FC = np.arange(48).reshape(2, 2, 3, 4), np.array([[1, 0], [3, 2]])
FILE = Answers("file", (CONV, FC), LOGITS)
GRAPH = Answers("graph", (CONV.transpose(0, 2, 3, 1), FC), LOGITS + 1e-7, step=0.25)


def test_the_same_network_agrees_whatever_its_layout() -> None:
    assert [v.agrees for v in verdicts(LAYERS, LOGITS, [FILE, GRAPH])] == [True, True]


def test_accumulators_are_counted_in_their_least_significant_bit() -> None:
    apart = LOGITS.copy()
    apart[0, 1] -= 0.5
    apart[1, 2] += 0.25
    file, graph = verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, logits=apart)])
    assert file.agrees
    assert (graph.wrong_logits, graph.largest_lsb, graph.wrong_classes, graph.first_layer) == (2, 2, 0, None)
    assert not graph.agrees


def test_another_class_is_counted() -> None:
    flipped = LOGITS[:, ::-1]
    assert verdicts(LAYERS, LOGITS, [replace(FILE, logits=flipped), GRAPH])[0].wrong_classes == 1


def test_wrong_choices_are_counted_and_of_equal_accumulators_any_will_do() -> None:
    chosen = np.array([[1, 0], [2, 1]])
    assert [v.wrong_choices for v in verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, chosen=chosen)])] == [0, 0]
    found = verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, chosen=chosen[:, ::-1])])[1]
    assert (found.wrong_choices, found.wrong_logits, found.agrees) == (2, 0, False)
    level = np.array([[1.0, 1.0, 0.0], [0.5, 0.5, 0.5]])
    stage = replace(GRAPH, logits=level, chosen=np.array([[1], [2]]))
    assert verdicts(LAYERS, level, [replace(FILE, logits=level), stage])[1].agrees


def test_quantizers_are_named_by_layers_and_sums() -> None:
    names = quantizers(probe_layers(get_model("resnet8:0.25").build(), (3, 32, 32)))
    assert names[:5] == ["conv", "block0_0.conv0", "block0_0.conv1, addend", "conv past block0_0.conv1", "block0_0.conv1, sum"]
    assert names[5:9] == ["block1_0.conv0", "block1_0.conv1, addend", "block1_0.shortcut, addend", "block1_0.conv1, sum"]
    assert len(names) == 13


def test_the_first_layer_that_differs_is_named() -> None:
    conv, fc = GRAPH.activations[0].copy(), FC.copy()
    fc[1, 1] = 9
    assert verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, activations=(conv, fc))])[1].first_layer == "fc0"
    conv[0, 0, 0, :2] += 3
    _, found = verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, activations=(conv, fc))])
    assert (found.first_layer, found.wrong_activations, found.largest_step) == ("conv0", 2, 3)
    assert not found.agrees


def test_a_layer_that_is_missing_or_of_another_size_is_named() -> None:
    assert verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, activations=GRAPH.activations[:1])])[1].first_layer == "fc0"
    smaller = (CONV[:, :, :2], FC)
    assert verdicts(LAYERS, LOGITS, [FILE, replace(GRAPH, activations=smaller)])[1].first_layer == "conv0"


def test_what_has_no_name_is_looked_at_too() -> None:
    fc = FC + np.array([[0, 0], [0, 1]])
    found = verdicts(LAYERS[:1], LOGITS, [FILE, replace(GRAPH, activations=(GRAPH.activations[0], fc))])[1]
    assert (found.first_layer, found.wrong_activations) == ("quantizer 1", 1)


def test_as_many_channels_as_rows_and_columns_are_no_difference() -> None:
    cube = np.arange(54).reshape(2, 3, 3, 3)
    stages = [replace(FILE, activations=(cube, FC)), replace(GRAPH, activations=(cube.transpose(0, 2, 3, 1), FC))]
    assert verdicts(LAYERS, LOGITS, stages)[1].agrees


def test_a_step_is_needed() -> None:
    with pytest.raises(VerificationError, match="no stage has a factor"):
        verdicts(LAYERS, LOGITS, [FILE])
