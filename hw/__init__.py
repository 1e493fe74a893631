"""Floor 1: the FPGA accelerator in Amaranth, from the DSP chain upwards, and co-simulation."""
