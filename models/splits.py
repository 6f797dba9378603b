"""Which images are held out: by seed, with every class in its share, or by whole groups.

Positions only, no images. Everything that decides is whole numbers or a seeded NumPy generator, so the same
labels and seed give the same split on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Seed = int | Sequence[int]


def class_quotas(counts: np.ndarray, n_held: int) -> np.ndarray:
    """How many images of each class are held out: its exact share, rounded to a neighbour.

    A class of two or more images gives at least one and keeps at least one, even where `n_held` has to be
    missed for that (by less than one a class); otherwise the quotas' sum is `n_held`.

    Args:
        counts: images of each class, 1 or more.
        n_held: 0 to the sum of `counts`.
    """
    if n_held in (0, counts.sum()):
        return counts * (n_held > 0)
    shares, rests = np.divmod(n_held * counts.astype(np.int64), counts.sum())
    quotas = np.clip(shares, np.minimum(1, counts - 1), counts - 1)
    may_grow = (quotas == shares) & (rests > 0) & (shares + 1 < counts)
    by_rest = np.argsort(-rests, kind="stable")  # the largest remainders first, equal ones by label
    grown = by_rest[may_grow[by_rest]][: max(0, n_held - int(quotas.sum()))]
    quotas[grown] += 1
    return quotas


def stratified_split(y: np.ndarray, n_held: int, seed: Seed) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (kept, held) images, of each class as many held as `class_quotas` says.

    Both are in random order, so that any prefix is a fair sample.

    Args:
        y: labels (N,), any integers.
        n_held: 0 to N.
        seed: of the choice and the order.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    by_class = order[np.argsort(y[order], kind="stable")]
    labels, counts = np.unique(y, return_counts=True)
    place = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    is_held, rank = np.empty(len(y), bool), np.empty(len(y))
    is_held[by_class] = place < np.repeat(class_quotas(counts, n_held), counts)
    # 0..1 within its class: a sort by it interleaves the classes.
    rank[by_class] = (place + np.repeat(rng.random(len(labels)), counts)) / np.repeat(counts, counts)
    interleaved = order[np.argsort(rank[order], kind="stable")]
    return rng.permutation(interleaved[~is_held[interleaved]]), rng.permutation(interleaved[is_held[interleaved]])


def grouped_split(y: np.ndarray, groups: np.ndarray, n_held: int, seed: Seed, n_left: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (kept, held) images, whole groups on one side, the classes as near to their quotas as those allow.

    Every class of more than `n_left` groups is on both sides, unless groups of several classes stand in the way:
    whoever needs all classes has to look. Both are in random order.

    Args:
        y: labels (N,), any integers.
        groups: (N,), integers or text.
        n_held: 0 to N.
        seed: of the choice and the order.
        n_left: groups of each class that are kept at least, 1 or more.
    """
    rng = np.random.default_rng(seed)
    _, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
    names, group = np.unique(groups, return_inverse=True)
    content = np.zeros((len(names), len(counts)), np.int64)  # images of each group and class
    np.add.at(content, (group, labels), 1)
    missing = class_quotas(counts, n_held)
    n_groups_kept = np.count_nonzero(content, axis=0)
    is_held = np.zeros(len(names), bool)
    order = rng.permutation(len(names))

    def gain(g: int) -> int:
        """How much nearer to the quotas, in squares, holding a group out brings all classes."""
        return int((missing**2).sum() - ((missing - content[g]) ** 2).sum())

    def may_go(g: int) -> bool:
        """Whether a group is kept and its classes can do without it."""
        return not is_held[g] and bool((n_groups_kept[content[g] > 0] > n_left).all())

    def hold(g: int) -> None:
        nonlocal missing, n_groups_kept
        is_held[g] = True
        missing = missing - content[g]
        n_groups_kept = n_groups_kept - (content[g] > 0)

    if n_held > 0:
        for label in np.argsort(n_groups_kept, kind="stable"):  # the rarest first: they have the least choice
            holders = order[content[order, label] > 0]
            if not is_held[holders].any():
                free = [g for g in holders if may_go(g)]
                if free:
                    hold(max(free, key=gain))
    for g in order:
        if may_go(g) and gain(g) > 0:
            hold(g)
    held = is_held[group]
    return rng.permutation(np.flatnonzero(~held)), rng.permutation(np.flatnonzero(held))
