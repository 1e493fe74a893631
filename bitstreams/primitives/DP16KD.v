// The 18 kbit block RAM of Lattice's ECP5 devices, for simulation, written from the ECP5 memory
// guide (TN1264): what a mapped design of Nandu's uses of it. Modelled are memories of 512 x 36,
// written on port A and read on port B, without output registers and without a reset of the
// output. Other parameters stop the elaboration.

module DP16KD #(
    parameter [319:0] INITVAL_00 = 0,
    parameter [319:0] INITVAL_01 = 0,
    parameter [319:0] INITVAL_02 = 0,
    parameter [319:0] INITVAL_03 = 0,
    parameter [319:0] INITVAL_04 = 0,
    parameter [319:0] INITVAL_05 = 0,
    parameter [319:0] INITVAL_06 = 0,
    parameter [319:0] INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0,
    parameter [319:0] INITVAL_09 = 0,
    parameter [319:0] INITVAL_0A = 0,
    parameter [319:0] INITVAL_0B = 0,
    parameter [319:0] INITVAL_0C = 0,
    parameter [319:0] INITVAL_0D = 0,
    parameter [319:0] INITVAL_0E = 0,
    parameter [319:0] INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0,
    parameter [319:0] INITVAL_11 = 0,
    parameter [319:0] INITVAL_12 = 0,
    parameter [319:0] INITVAL_13 = 0,
    parameter [319:0] INITVAL_14 = 0,
    parameter [319:0] INITVAL_15 = 0,
    parameter [319:0] INITVAL_16 = 0,
    parameter [319:0] INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0,
    parameter [319:0] INITVAL_19 = 0,
    parameter [319:0] INITVAL_1A = 0,
    parameter [319:0] INITVAL_1B = 0,
    parameter [319:0] INITVAL_1C = 0,
    parameter [319:0] INITVAL_1D = 0,
    parameter [319:0] INITVAL_1E = 0,
    parameter [319:0] INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0,
    parameter [319:0] INITVAL_21 = 0,
    parameter [319:0] INITVAL_22 = 0,
    parameter [319:0] INITVAL_23 = 0,
    parameter [319:0] INITVAL_24 = 0,
    parameter [319:0] INITVAL_25 = 0,
    parameter [319:0] INITVAL_26 = 0,
    parameter [319:0] INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0,
    parameter [319:0] INITVAL_29 = 0,
    parameter [319:0] INITVAL_2A = 0,
    parameter [319:0] INITVAL_2B = 0,
    parameter [319:0] INITVAL_2C = 0,
    parameter [319:0] INITVAL_2D = 0,
    parameter [319:0] INITVAL_2E = 0,
    parameter [319:0] INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0,
    parameter [319:0] INITVAL_31 = 0,
    parameter [319:0] INITVAL_32 = 0,
    parameter [319:0] INITVAL_33 = 0,
    parameter [319:0] INITVAL_34 = 0,
    parameter [319:0] INITVAL_35 = 0,
    parameter [319:0] INITVAL_36 = 0,
    parameter [319:0] INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0,
    parameter [319:0] INITVAL_39 = 0,
    parameter [319:0] INITVAL_3A = 0,
    parameter [319:0] INITVAL_3B = 0,
    parameter [319:0] INITVAL_3C = 0,
    parameter [319:0] INITVAL_3D = 0,
    parameter [319:0] INITVAL_3E = 0,
    parameter [319:0] INITVAL_3F = 0,
    parameter DATA_WIDTH_A = 18,
    parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA",
    parameter CLKBMUX = "CLKB",
    parameter GSR = "DISABLED"
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
      DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
      DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
      DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
      DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  generate
    if (DATA_WIDTH_A != 36 || DATA_WIDTH_B != 36)
      $error("DP16KD: only memories of 512 x 36 are modelled");
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $error("DP16KD: output registers and inverted clocks are not modelled");
  endgenerate

  // The two halves of a row of 36 bits are words beside each other.
  reg [17:0] words [0:1023];
  integer i;
  initial begin
      for (i = 0; i < 16; i = i + 1) words[0 + i] = INITVAL_00[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[16 + i] = INITVAL_01[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[32 + i] = INITVAL_02[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[48 + i] = INITVAL_03[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[64 + i] = INITVAL_04[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[80 + i] = INITVAL_05[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[96 + i] = INITVAL_06[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[112 + i] = INITVAL_07[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[128 + i] = INITVAL_08[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[144 + i] = INITVAL_09[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[160 + i] = INITVAL_0A[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[176 + i] = INITVAL_0B[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[192 + i] = INITVAL_0C[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[208 + i] = INITVAL_0D[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[224 + i] = INITVAL_0E[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[240 + i] = INITVAL_0F[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[256 + i] = INITVAL_10[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[272 + i] = INITVAL_11[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[288 + i] = INITVAL_12[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[304 + i] = INITVAL_13[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[320 + i] = INITVAL_14[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[336 + i] = INITVAL_15[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[352 + i] = INITVAL_16[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[368 + i] = INITVAL_17[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[384 + i] = INITVAL_18[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[400 + i] = INITVAL_19[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[416 + i] = INITVAL_1A[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[432 + i] = INITVAL_1B[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[448 + i] = INITVAL_1C[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[464 + i] = INITVAL_1D[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[480 + i] = INITVAL_1E[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[496 + i] = INITVAL_1F[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[512 + i] = INITVAL_20[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[528 + i] = INITVAL_21[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[544 + i] = INITVAL_22[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[560 + i] = INITVAL_23[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[576 + i] = INITVAL_24[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[592 + i] = INITVAL_25[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[608 + i] = INITVAL_26[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[624 + i] = INITVAL_27[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[640 + i] = INITVAL_28[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[656 + i] = INITVAL_29[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[672 + i] = INITVAL_2A[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[688 + i] = INITVAL_2B[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[704 + i] = INITVAL_2C[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[720 + i] = INITVAL_2D[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[736 + i] = INITVAL_2E[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[752 + i] = INITVAL_2F[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[768 + i] = INITVAL_30[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[784 + i] = INITVAL_31[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[800 + i] = INITVAL_32[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[816 + i] = INITVAL_33[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[832 + i] = INITVAL_34[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[848 + i] = INITVAL_35[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[864 + i] = INITVAL_36[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[880 + i] = INITVAL_37[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[896 + i] = INITVAL_38[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[912 + i] = INITVAL_39[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[928 + i] = INITVAL_3A[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[944 + i] = INITVAL_3B[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[960 + i] = INITVAL_3C[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[976 + i] = INITVAL_3D[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[992 + i] = INITVAL_3E[20 * i +: 18];
      for (i = 0; i < 16; i = i + 1) words[1008 + i] = INITVAL_3F[20 * i +: 18];
  end

  wire [8:0] read_row = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5};
  reg [17:0] low = 0, high = 0;
  always @(posedge CLKB)
    if (CEB) begin
      low <= words[{read_row, 1'b0}];
      high <= words[{read_row, 1'b1}];
    end
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
    DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = low;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
    DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = high;

  wire [8:0] write_row = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5};
  wire [17:0] given_low = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8,
    DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] given_high = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  always @(posedge CLKA)
    if (CEA & WEA) begin
      if (ADA0) words[{write_row, 1'b0}][8:0] <= given_low[8:0];
      if (ADA1) words[{write_row, 1'b0}][17:9] <= given_low[17:9];
      if (ADA2) words[{write_row, 1'b1}][8:0] <= given_high[8:0];
      if (ADA3) words[{write_row, 1'b1}][17:9] <= given_high[17:9];
    end
endmodule
