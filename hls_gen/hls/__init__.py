"""HLS C++ of the blocks, for Vitis HLS; docs/hls.md says what stands and what was checked."""
