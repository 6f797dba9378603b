"""The recipes of HAQ and finn_rl: which bits they choose, and what becomes of policies that do not fit."""

from __future__ import annotations

from flow.decision import Decisions
from flow.searchers.recipes import FinnRLSearcher, HAQSearcher
from flow.tabular import BudgetBounds, Budgets, allowed_bits
from models.spec import LayerSpec

N_LAYERS, N_POLICIES = 5, 20
CHAIN = tuple(
    LayerSpec(f"c{i}", i, "conv", 8, 8, 3, 1, 8, 8, n_params=600, n_macs=1000, weight_std=0.1, has_act=i < N_LAYERS - 1)
    for i in range(N_LAYERS)
)


def chain(memory: float) -> Decisions:
    """A chain of like layers with a budget of memory, of what 8 bits everywhere take, and none of operations."""
    levels = [(1, 2, 3, 4, 5, 6, 7, 8)] * (2 * N_LAYERS - 1)
    return Decisions(CHAIN, BudgetBounds(CHAIN, allowed_bits(CHAIN, levels), Budgets(1.0, memory)))


def test_haq_gives_the_ends_eight_bits_and_strips_the_others_from_the_last_to_the_first() -> None:
    searcher = HAQSearcher(chain(0.55), 0)
    stripped = 0
    for _ in range(N_POLICIES):
        policy = searcher.ask()
        bits = list(policy.values())
        assert all(b.weight >= 2 and (b.act is None or b.act >= 2) for b in bits)
        if bits[0].weight == bits[-1].weight == 8 and sum(b.weight for b in bits) == round(0.55 * 8 * N_LAYERS):
            stripped += 1
            assert bits[-2].act == 8  # what the last layer reads
    assert stripped > N_POLICIES / 2


def test_haq_strips_the_ends_too_where_two_bits_between_them_do_not_fit() -> None:
    for memory, stripped in ((0.5, (7, 2, 2, 2, 7)), (0.475, (7, 2, 2, 2, 6)), (0.3, (3, 2, 2, 2, 3)), (0.25, (2, 2, 2, 2, 2))):
        searcher = HAQSearcher(chain(memory), 0)
        found = {tuple(b.weight for b in searcher.ask().values()) for _ in range(N_POLICIES)}
        assert stripped in found
        assert all(sum(w) <= memory * 8 * N_LAYERS and min(w) >= 2 for w in found)


def test_haq_takes_one_bit_where_two_everywhere_do_not_fit() -> None:
    assert {b.weight for b in HAQSearcher(chain(0.125), 0).ask().values()} == {1}


def test_haq_leaves_alone_what_fits_and_never_chooses_one_bit() -> None:
    searcher = HAQSearcher(chain(1.0), 0)
    chosen = [b for _ in range(N_POLICIES) for b in searcher.ask().values()]
    assert min(b.weight for b in chosen) == 2
    assert min(b.act for b in chosen if b.act is not None) == 2
    assert max(b.weight for b in chosen) == 8


def test_finn_rl_never_chooses_one_bit_for_activations_but_for_weights() -> None:
    searcher = FinnRLSearcher(chain(1.0), 0)
    chosen = [b for _ in range(N_POLICIES) for b in searcher.ask().values()]
    assert min(b.weight for b in chosen) == 1
    assert min(b.act for b in chosen if b.act is not None) == 2


def test_finn_rl_takes_bits_where_there_are_most() -> None:
    free, limited = (FinnRLSearcher(chain(memory), 3) for memory in (1.0, 0.5))
    for _ in range(5):
        wanted, got = ([b.weight for b in s.ask().values()] for s in (free, limited))
        if sum(wanted) > 0.5 * 8 * N_LAYERS:
            most = max(got)
            assert all(g == w or g >= most - 1 for w, g in zip(wanted, got, strict=True))
            assert sum(got) == 0.5 * 8 * N_LAYERS
