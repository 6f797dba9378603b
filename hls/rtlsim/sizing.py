"""Finds how deep FIFOs must be, by simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hls.corrections import FIFO_DEPTH
from hls.rtlsim.errors import DeadlockError, SimulationError
from hls.rtlsim.results import Simulated
from hls.rtlsim.simulator import Feed, Simulator

_SHALLOW = FIFO_DEPTH  # shallower FIFOs take no less (`hls.corrections`)


@dataclass(frozen=True)
class SizedFifos:
    """FIFOs as deep as they must be.

    Attributes:
        depths: node to the words of the FIFOs behind it, as `BuildPlan.fifo_depths` takes them.
        by_fifo: FIFO to its words.
        interval_cycles: in the steady state with FIFOs that hold everything.
        sized: the simulation with these depths, fed as fast as it takes words.
        bits: of all of them together.
        n_simulations: that it took.
    """

    depths: Mapping[str, int]
    by_fifo: Mapping[str, int]
    interval_cycles: int
    sized: Simulated
    bits: int
    n_simulations: int


def size_fifos(
    simulator: Simulator, frames: NDArray[Any], effort: int = 12, progress: Callable[[str, int, int], None] | None = None
) -> SizedFifos:
    """Find depths that slow nothing down.

    With FIFOs that hold everything the interval is what the slowest node needs. Frames that come no faster leave no more in a
    FIFO than it must hold: those are the depths to begin with. Then deep ones are halved, those of most bits first, while the
    interval holds.

    Args:
        simulator: of a netlist that was made for sizing (`hls.finn_rtl.rtl_accelerator`).
        frames: (n, …), three or more; more than one must be under way.
        effort: simulations for making FIFOs shallower; 0 for none.
        progress: told what is simulated, how much there is, and how much is done.

    Raises:
        DeadlockError: even with FIFOs that hold everything nothing moves at some time.
        SimulationError: FIFOs of the netlist have fixed depths, or frames are too few.
    """
    net = simulator.netlist
    if not net.adjustable or not net.fifos:
        raise SimulationError("the netlist has no FIFOs whose depths can be tried; make it for sizing")
    if len(frames) < 3:
        raise SimulationError(f"{len(frames)} frames are too few to size FIFOs with; 3 or more are wanted")
    tell, total, n = progress or (lambda what, all_of_it, done: None), 3 + effort, 0

    def simulate(depths: Mapping[str, int], feed: Feed | None = None) -> Simulated:
        nonlocal n
        tell("simulations", total, n)
        n += 1
        return simulator.run(frames, feed, depths)

    everything = {fifo.node: 1 << 30 for fifo in net.fifos}
    free = simulate(everything)
    interval = _interval(free)
    paced = simulate(everything, Feed(pace_cycles=interval))
    most = {use.node: use.most for use in paced.fifos}
    depths = {fifo.node: max(_SHALLOW, most[fifo.node]) for fifo in net.fifos}
    found = simulate(depths)
    if _interval(found) > interval:  # a paced source is not always the worst case: what a free one leaves then counts, too
        most = {use.node: use.most for use in free.fifos}
        depths = {name: max(depth, min(most[name], 2 * depth)) for name, depth in depths.items()}
        found = simulate(depths)
        if _interval(found) > interval:
            depths = {name: max(_SHALLOW, most[name]) for name in depths}
            found = simulate(depths)
    bits = {fifo.node: fifo.bits for fifo in net.fifos}
    given_up: set[str] = set()
    for _ in range(effort):
        deep = [name for name, depth in depths.items() if depth > _SHALLOW and name not in given_up]
        if not deep:
            break
        name = max(deep, key=lambda fifo: depths[fifo] * bits[fifo])
        tried = {**depths, name: max(_SHALLOW, depths[name] // 2)}
        try:
            trial = simulate(tried)
        except DeadlockError:
            given_up.add(name)
            continue
        if _interval(trial) > _interval(found):
            given_up.add(name)
        else:
            depths, found = tried, trial
    tell("simulations", total, total)
    behind: dict[str, int] = {}
    for fifo in net.fifos:
        if fifo.behind:
            behind[fifo.behind] = max(behind.get(fifo.behind, 0), depths[fifo.node])
    total_bits = sum(depth * bits[name] for name, depth in depths.items())
    return SizedFifos(behind, depths, interval, found, total_bits, n)


def _interval(simulated: Simulated) -> int:
    assert simulated.interval_cycles is not None
    return simulated.interval_cycles
