"""What an FPGA board is, how one is reached, what was measured on it."""
