"""Writes the module around an accelerator: instances, streams, and what counts on them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hls.rtlsim.netlist import Instance, Netlist

TOP = "bitloop_top"
_LEAST_WIDTH = 96  # from 65 bits on Verilator makes a port an array of 32-bit words


def port_words(width: int) -> int:
    """32-bit words of a port of the top for a stream of so many bits."""
    return max(_LEAST_WIDTH, width + -width % 32) // 32


def top_module(netlist: Netlist) -> str:
    """The text of the top module.

    Its ports are the streams at the ends, each at least 96 bits wide; `counting`, while which the counters of streams and
    nodes count; and `moving`, whether any stream moves in this cycle. At the end the counters are told to the program around
    it.

    A node is busy in a cycle in which one of its streams moves; it is stalled if none does and its reader is not ready for
    what it has; starved if neither and it lacks a word that it would take; else busy, as it computes.
    """
    number = {name: i for i, name in enumerate(netlist.streams)}
    reads, hands_on = netlist.streams[netlist.reads], netlist.streams[netlist.hands_on]
    n, source, sink = len(number), number[netlist.reads], number[netlist.hands_on]
    n_nodes = len(netlist.nodes)
    in_width, out_width = 32 * port_words(reads.width), 32 * port_words(hands_on.width)
    lines = [
        'import "DPI-C" function void bitloop_stream('
        "input int id, input longint words, input longint stalled, input longint starved, input bit valid, input bit ready);",
        'import "DPI-C" function void bitloop_node(input int id, input longint stalled, input longint starved);',
        'import "DPI-C" function void bitloop_word(input int id, input string word);',
        f"module {TOP}(",
        "\tinput ap_clk, input ap_rst_n, input counting, input recording, output moving,",
        f"\tinput [{in_width - 1}:0] in_data, input in_valid, output in_ready,",
        f"\toutput [{out_width - 1}:0] out_data, output out_valid, input out_ready",
        ");",
        *(f"\twire [{stream.width - 1}:0] d{number[name]};" for name, stream in netlist.streams.items()),
        f"\twire {', '.join(f'v{i}, r{i}' for i in range(n))};",
        f"\twire [{n - 1}:0] v = {_together('v', n)}, r = {_together('r', n)};",
        f"\tassign d{source} = in_data[{reads.width - 1}:0], v{source} = in_valid, in_ready = r{source};",
        f"\tassign out_data = {out_width}'(d{sink}), out_valid = v{sink}, r{sink} = out_ready;",
        "\tassign moving = |(v & r);",
        # what follows from a port is computed anew whenever a port changes: of the reset that would be nearly everything
        "\tlogic rst_n = 0;",
        "\talways_ff @(posedge ap_clk) rst_n <= ap_rst_n;",
        *(_instance(instance, number) for instance in netlist.instances),
        f"\tlongint words[{n}], stalled[{n}], starved[{n}], node_stalled[{n_nodes}], node_starved[{n_nodes}];",
        f"\twire [{n_nodes - 1}:0] moves, blocked, lacks;",
        *(_state(instance, i, number) for i, instance in enumerate(netlist.nodes)),
        "\talways_ff @(posedge ap_clk) if(counting) begin",
        "\t\t// verilator unroll_disable",
        f"\t\tfor(int i = 0; i < {n}; i++) begin",
        "\t\t\tif(v[i] && r[i])  words[i] = words[i] + 1;",
        "\t\t\telse if(v[i])  stalled[i] = stalled[i] + 1;",
        "\t\t\telse if(r[i])  starved[i] = starved[i] + 1;",
        "\t\tend",
        "\t\t// verilator unroll_disable",
        f"\t\tfor(int i = 0; i < {n_nodes}; i++) if(!moves[i]) begin",
        "\t\t\tif(blocked[i])  node_stalled[i] = node_stalled[i] + 1;",
        "\t\t\telse if(lacks[i])  node_starved[i] = node_starved[i] + 1;",
        "\t\tend",
        "\tend",
        "\talways_ff @(posedge ap_clk) if(recording && ap_rst_n) begin",
        *(f'\t\tif(v{i} && r{i})  bitloop_word({i}, $sformatf("%h", d{i}));' for i in range(n)),
        "\tend",
        "\tfinal begin",
        f"\t\tfor(int i = 0; i < {n}; i++)  bitloop_stream(i, words[i], stalled[i], starved[i], v[i], r[i]);",
        f"\t\tfor(int i = 0; i < {n_nodes}; i++)  bitloop_node(i, node_stalled[i], node_starved[i]);",
        "\tend",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _state(instance: Instance, place: int, number: dict[str, int]) -> str:
    """What a node does in a cycle, of what its streams show."""
    reads, writes = [number[name] for name in instance.reads.values()], [number[name] for name in instance.out_streams]
    moves = " || ".join(f"v{i} && r{i}" for i in (*reads, *writes))
    blocked = " || ".join(f"v{i} && !r{i}" for i in writes)
    # of those that are ready only where a word is there it is the word that says so
    lacks = " || ".join(f"!v{i}" if instance.waits_for_words else f"!v{i} && r{i}" for i in reads)
    return f"\tassign moves[{place}] = {moves}, blocked[{place}] = {blocked}, lacks[{place}] = {lacks};"


def _instance(instance: Instance, number: dict[str, int]) -> str:
    ports = [".ap_clk(ap_clk)", ".ap_rst_n(rst_n)"]
    for prefix, streams in (*instance.reads.items(), *instance.writes.items()):
        ids = [number[name] for name in reversed((streams,) if isinstance(streams, str) else streams)]
        for signal, parts in (("TDATA", [f"d{i}" for i in ids]), ("TVALID", [f"v{i}" for i in ids]),
                              ("TREADY", [f"r{i}" for i in ids])):  # fmt: skip
            # FINN's streamers of weights have theirs in small letters
            ports.append(f".{prefix}_{signal if prefix.endswith('_V') else signal.lower()}({_joined(parts)})")
    ports += [f".{port}({expression})" for port, expression in instance.ties.items()]
    told = ", ".join(f".{name}({value})" for name, value in instance.parameters.items())
    return f"\t{instance.module} {f'#({told}) ' if told else ''}{identifier(instance.node)}({', '.join(ports)});"


def _together(name: str, n: int) -> str:
    """One signal of each stream as a vector. Signals of their own are computed each for itself, bits of a vector are not."""
    return _joined(f"{name}{i}" for i in reversed(range(n)))


def _joined(parts: Iterable[str]) -> str:
    found = list(parts)
    return found[0] if len(found) == 1 else "{" + ", ".join(found) + "}"


def identifier(node: str) -> str:
    """What an instance is called: `u_` and the node's name."""
    return "u_" + re.sub(r"\W", "_", node)
