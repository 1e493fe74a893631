// The phase-locked loop of Lattice's ECP5 devices, for simulation: its first output is the input's
// clock itself, since a bench has no time, only cycles; it locks after 8 of them.

module EHXPLLL #(
    parameter CLKI_DIV = 1,
    parameter CLKFB_DIV = 1,
    parameter CLKOP_DIV = 8,
    parameter CLKOP_ENABLE = "ENABLED",
    parameter CLKOP_CPHASE = 0,
    parameter CLKOP_FPHASE = 0,
    parameter FEEDBK_PATH = "CLKOP"
) (
    input CLKI, CLKFB, RST, STDBY,
    input PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
    output CLKOP, LOCK
);
  reg [3:0] cycles = 0;
  assign CLKOP = CLKI;
  assign LOCK = cycles[3];
  always @(posedge CLKI) if (!cycles[3]) cycles <= cycles + 1;
endmodule
