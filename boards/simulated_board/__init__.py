"""The simulated board: PYNQ's own Python on a `Device` whose FPGA is a program. A program of its own; see `__main__`.

    python boards/simulated_board STATE on_device.py ARGUMENTS

runs in an interpreter that has what `requirements.txt` says and nothing of bitloop.
"""
