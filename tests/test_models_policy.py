"""Policies: round trips, equality, what they refuse and in which words."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import PolicyError
from models.policy import BitPolicy, LayerBits
from models.probe import probe_layers
from models.registry import get_model
from models.spec import LayerSpec
from tests.tiny import INPUT_SHAPE, tiny_network

bits = st.integers(1, 8)
layer_bits = st.builds(LayerBits, bits, st.none() | bits)
policies = st.dictionaries(st.text(min_size=1, max_size=8), layer_bits, min_size=1, max_size=6).map(BitPolicy)


@pytest.fixture(scope="module")
def specs() -> tuple[LayerSpec, ...]:
    return probe_layers(tiny_network(None), INPUT_SHAPE)


@given(policies)
def test_json_round_trip(policy: BitPolicy) -> None:
    text = policy.to_json()
    back = BitPolicy.from_json(text)
    assert back == policy
    assert hash(back) == hash(policy)
    assert list(back) == list(policy)
    assert back.digest == policy.digest
    assert back.to_json() == text
    assert "\n" not in text


@given(policies, policies)
def test_equal_exactly_where_text_and_digest_are(a: BitPolicy, b: BitPolicy) -> None:
    assert (a == b) == (a.to_json() == b.to_json()) == (a.digest == b.digest)


def test_order_matters() -> None:
    x, y = ("a", LayerBits(1, 2)), ("b", LayerBits(3, 4))
    assert BitPolicy([x, y]) != BitPolicy([y, x])


def test_digest_is_stable() -> None:
    # sha256sum of the text in the second line, first 12 hex digits: stored runs refer to it.
    policy = BitPolicy({"conv0": LayerBits(4, 2), "fc0": LayerBits(1, None)})
    assert policy.to_json() == '{"conv0": {"weight": 4, "act": 2}, "fc0": {"weight": 1, "act": null}}'
    assert policy.digest == "a985dcbb1093"


@given(policies, layer_bits)
def test_replace_changes_the_named_layer_only(policy: BitPolicy, other: LayerBits) -> None:
    name = next(iter(policy))
    replaced = policy.replace(**{name: other})
    assert replaced[name] == other
    assert list(replaced) == list(policy)
    assert all(replaced[n] == policy[n] for n in policy if n != name)


def test_replace_of_an_unknown_layer() -> None:
    policy = BitPolicy({"conv0": LayerBits(4, 2), "fc0": LayerBits(4, None)})
    with pytest.raises(PolicyError, match=r"^no layer 'conv1' in the policy; it has conv0, fc0$"):
        policy.replace(conv1=LayerBits(1, 1))


@pytest.mark.parametrize("wrong", [0, 9, -1, 4.0, True, "4", None])
def test_bits_outside_1_to_8(wrong: object) -> None:
    with pytest.raises(PolicyError) as caught:
        LayerBits(wrong, 4)  # type: ignore[arg-type]
    assert str(caught.value) == f"a weight has {wrong!r} bits; allowed are the whole numbers 1 to 8"
    if wrong is not None:
        with pytest.raises(PolicyError) as caught:
            LayerBits(4, wrong)  # type: ignore[arg-type]
        assert str(caught.value) == f"an activation has {wrong!r} bits; allowed are the whole numbers 1 to 8"


def test_layer_bits_as_text() -> None:
    assert str(LayerBits(3, 2)) == "W3A2"
    assert str(LayerBits(3, None)) == "W3"
    assert repr(BitPolicy({"a": LayerBits(3, 2), "b": LayerBits(1, None)})) == "BitPolicy(a=W3A2, b=W1)"


def test_empty_and_wrongly_filled_policies() -> None:
    with pytest.raises(PolicyError, match=r"^a policy needs at least one layer; this one is empty$"):
        BitPolicy({})
    with pytest.raises(PolicyError, match=r"^layer 'conv0' has 4; a LayerBits is wanted$"):
        BitPolicy({"conv0": 4})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a policy must be JSON: Expecting value"),
        ('{"conv0": ', "a policy must be JSON: Expecting value"),
        ("[" * 100_000, "a policy must be JSON: maximum recursion depth"),
        ("[]", "a policy must be an object of layers such as"),
        ("null", "a policy must be an object of layers such as"),
        ("{}", "a policy needs at least one layer"),
        ('{"conv0": 4}', """layer 'conv0' must be {"weight": bits, "act": bits or null}, not 4"""),
        ('{"conv0": {"weight": 4}}', "layer 'conv0' must be"),
        ('{"conv0": {"weight": 4, "act": 4, "bias": 4}}', "layer 'conv0' must be"),
        ('{"conv0": {"weight": 9, "act": 4}}', "the weight of layer 'conv0' has 9 bits; allowed are"),
        ('{"conv0": {"weight": 4, "act": 0}}', "the activation of layer 'conv0' has 0 bits; allowed are"),
        ('{"conv0": {"weight": 4.5, "act": 4}}', "the weight of layer 'conv0' has 4.5 bits"),
        ('{"conv0": {"weight": null, "act": 4}}', "the weight of layer 'conv0' has None bits"),
    ],
)
def test_texts_that_are_no_policy(text: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        BitPolicy.from_json(text)
    assert words in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
)


@given(json_values)
def test_no_json_makes_another_error(raw: object) -> None:
    with contextlib.suppress(PolicyError):
        BitPolicy.from_json(json.dumps(raw))


def test_uniform_leaves_the_last_activation_out(specs: tuple[LayerSpec, ...]) -> None:
    policy = BitPolicy.uniform(specs, 3, 2)
    assert policy == BitPolicy({"conv0": LayerBits(3, 2), "fc0": LayerBits(3, 2), "fc1": LayerBits(3, None)})
    policy.check_against(specs)


def test_check_against_names_what_does_not_fit(specs: tuple[LayerSpec, ...]) -> None:
    good = BitPolicy.uniform(specs, 4, 4)
    with pytest.raises(PolicyError) as caught:
        BitPolicy({"conv0": LayerBits(4, 4), "fc9": LayerBits(4, 4)}).check_against(specs)
    assert str(caught.value) == (
        "the policy does not fit the network: it lacks fc0, fc1; it has no such layer as fc9; the layers are conv0, fc0, fc1"
    )
    with pytest.raises(PolicyError, match=r"out of order; the order is conv0, fc0, fc1$"):
        BitPolicy(reversed(list(good.items()))).check_against(specs)
    with pytest.raises(PolicyError, match=r"^layer 'fc1' takes no activation bits \(null\), the policy gives 4$"):
        good.replace(fc1=LayerBits(4, 4)).check_against(specs)
    with pytest.raises(PolicyError, match=r"^layer 'conv0' takes 1 to 8 bits, the policy gives None$"):
        good.replace(conv0=LayerBits(4, None)).check_against(specs)


def test_a_policy_cannot_be_changed() -> None:
    layers = {"conv0": LayerBits(4, 4)}
    policy = BitPolicy(layers)
    layers["conv0"] = LayerBits(1, 1)
    assert policy["conv0"] == LayerBits(4, 4)
    with pytest.raises(TypeError):
        policy["conv0"] = LayerBits(1, 1)  # type: ignore[index]


def test_a_policy_of_a_real_network() -> None:
    info = get_model("tfc")
    specs = probe_layers(info.build(), info.input_shape)
    assert list(BitPolicy.uniform(specs, 2, 2)) == ["fc0", "fc1", "fc2", "fc3"]
