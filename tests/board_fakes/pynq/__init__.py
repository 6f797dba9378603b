"""In place of pynq: an accelerator of two DMA engines that answers by a table, for the real driver to be run against.

The table is an .npz file, named by FAKE_ACCELERATOR: `inputs` and `outputs`, packed, a row a frame. With FAKE_HANGS in the
environment the accelerator never finishes calls of that many frames or more. FAKE_RAILS are rails and what they measure, in W,
as JSON; FAKE_NO_DEVICE and FAKE_NO_ROOT are what they say, and with FAKE_LOADS_ONCE a second bitfile is not taken. With
FAKE_PRINTS C code prints something. FAKE_LOADED is a file that is told of what is loaded, FAKE_HANGS_FILE one that is there
once the accelerator hangs.
"""

import ctypes
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

__version__ = os.environ.get("FAKE_PYNQ_VERSION", "3.1.2")
MEMORY = {}
LOG = []
LOADED = []


class Buffer(np.ndarray):
    def flush(self):
        MEMORY[self.device_address]["device"][...] = self

    def invalidate(self):
        self[...] = MEMORY[self.device_address]["device"]


def _tell(name, line):
    if name in os.environ:
        with Path(os.environ[name]).open("a") as file:
            file.write(line + "\n")


def allocate(shape, dtype, cacheable, target):
    buffer = np.zeros(shape, dtype).view(Buffer)
    buffer.device_address = 4096 * (1 + len(MEMORY))
    MEMORY[buffer.device_address] = {"device": np.zeros(shape, dtype)}
    return buffer


def get_rails():
    told = json.loads(os.environ.get("FAKE_RAILS", "{}"))
    return {name: SimpleNamespace(power=None if w is None else SimpleNamespace(value=w)) for name, w in told.items()}


class Engine:
    """A DMA engine's registers (finn-plus-driver, execute_on_buffers): 0x00 control, 0x10 address, 0x1C frames."""

    def __init__(self, run):
        self.registers = {0x00: 0x4}
        self.run = run

    def read(self, offset):
        return self.registers[offset]

    def write(self, offset, value):
        self.registers[offset] = value
        if offset == 0x00 and value & 1:
            self.registers[0x00] = 0x0
            self.run()


class PL:
    @staticmethod
    def reset():
        LOG.append("reset")


class _Devices(type):
    @property
    def active_device(cls):
        if "FAKE_NO_DEVICE" in os.environ:
            raise RuntimeError("No Devices Found")
        return SimpleNamespace(name="edge")


class Device(metaclass=_Devices):
    pass


class Overlay:
    def __init__(self, bitfile_name, download=True, device=None):
        assert LOG.pop() == "reset", "PL.reset() comes before the overlay"
        assert Path(bitfile_name).exists()
        LOADED.append(bitfile_name)
        if len(LOADED) > 1 and "FAKE_LOADS_ONCE" in os.environ:
            raise RuntimeError("timed out")
        if "FAKE_NO_ROOT" in os.environ:
            raise OSError("Root permissions required.")
        print("pynq prints this on standard output")
        if "FAKE_PRINTS" in os.environ:
            ctypes.CDLL(None).printf(b"and C code this, into a buffer of its own\n")
        _tell("FAKE_LOADED", "loaded")
        with np.load(os.environ["FAKE_ACCELERATOR"]) as table:
            self.answer = {bytes(i.tobytes()): o for i, o in zip(table["inputs"], table["outputs"], strict=True)}
            self.silence = np.zeros_like(table["outputs"][0])
        self.device = device
        self.idma0, self.odma0 = Engine(self._run), Engine(lambda: None)
        self.ip_dict = {"idma0": {}, "odma0": {}}

    def download(self):
        _tell("FAKE_LOADED", "loaded again")

    def _run(self):
        frames = MEMORY[self.idma0.registers[0x10]]["device"]
        out = MEMORY[self.odma0.registers[0x10]]["device"]
        n = self.idma0.registers[0x1C]
        for i in range(n):
            out[i] = self.answer.get(frames[i].tobytes(), self.silence)
        self.idma0.registers[0x00] = 0x6
        hangs = n >= int(os.environ.get("FAKE_HANGS", 1 << 30))
        self.odma0.registers[0x00] = 0x4 if hangs else 0x6
        if hangs:
            _tell("FAKE_HANGS_FILE", "hangs")


class Bitstream:
    pass
