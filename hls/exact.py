"""The folding of a policy as a mixed-integer program, solved by HiGHS: a slow reference for `hls.folding`.

A design is a flow of one unit from the host through the widths of the trellis and back: every option and
every stream is an edge, flow is conserved at every width, and the edges of options are taken wholly or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from boards.board import Resources
from hls.cost import CostTables
from hls.folding import as_array
from hls.kernels import STEP
from hls.trellis import Layout
from models.policy import BitPolicy


@dataclass(frozen=True)
class Exact:
    """What HiGHS found of the least share of the limits.

    Attributes:
        share: of the best design found; infinite where none was.
        bound: no design uses less; infinite where there is none.
    """

    share: float
    bound: float


def least_share(
    tables: CostTables, policy: BitPolicy, limits: Resources, max_cycles: float, time_limit_s: float = 60.0
) -> Exact:
    """The smallest share of its scarcest resource that a design within a limit on cycles uses.

    Args:
        tables: of the network.
        policy: the bits.
        limits: above 0; LUT, block RAM and DSP slices.
        max_cycles: cycles a frame that no node and no width converter may exceed.
        time_limit_s: of the solver.
    """
    layout = Layout(tables, max_cycles)
    part = layout.policy(tables.topology.keys(policy.values()))
    if part is None:
        return Exact(np.inf, np.inf)
    costs, ends, streams = layout.arrays
    offsets = part.offsets
    tails, heads, amounts, whole = [], [], [], []
    for kind, first, last, src, dst in part.rows.tolist():
        if kind == STEP:
            tails.append(offsets[src] + ends[first:last, 0])
            heads.append(offsets[dst] + ends[first:last, 1])
            amounts.append(costs[first:last, 1:])
        else:
            n_exits = part.sizes[src]
            tails.append(np.repeat(offsets[src] + np.arange(n_exits), last))
            heads.append(np.tile(offsets[dst] + np.arange(last), n_exits))
            lut = streams[first : first + n_exits * last, 0]  # without end where its converter is too slow
            amounts.append(np.stack([lut, np.zeros_like(lut), np.zeros_like(lut)], axis=1))
        whole.append(np.full(len(tails[-1]), kind == STEP))
    tail, head, used = np.concatenate(tails), np.concatenate(heads), np.concatenate(amounts)
    there = np.isfinite(used).all(axis=1)
    tail, head, used, steps = tail[there], head[there], used[there], np.concatenate(whole)[there]
    n, n_nodes = len(tail), int(offsets[-1])
    edges = np.arange(n)
    flow = coo_array(
        (np.concatenate([np.ones(n), -np.ones(n)]), (np.concatenate([tail, head]), np.concatenate([edges, edges]))),
        shape=(n_nodes, n + 1),
    )
    supply = np.zeros(n_nodes)
    supply[0], supply[-1] = 1, -1
    limit, around = as_array(limits), as_array(tables.system_resources)
    within = np.concatenate([used.T / limit[:, None], -np.ones((3, 1))], axis=1)  # the last variable is the share
    result = milp(
        np.concatenate([np.zeros(n), [1.0]]),
        integrality=np.concatenate([steps, [False]]).astype(int),
        bounds=Bounds(0, np.concatenate([np.ones(n), [np.inf]])),
        constraints=[
            LinearConstraint(flow.tocsr(), supply, supply),
            LinearConstraint(within, -np.inf, -around / limit),
        ],
        options={"time_limit": time_limit_s, "mip_rel_gap": 1e-6},
    )
    if result.status == 2:  # HiGHS: infeasible
        return Exact(np.inf, np.inf)
    return Exact(
        float(result.x[-1]) if result.x is not None else np.inf,
        float(result.mip_dual_bound) if result.mip_dual_bound is not None else 0.0,
    )
