"""The cocotb bench of each block; `hw.cosim` builds and runs them."""
