// The DSP48E2 slice of AMD's UltraScale+ devices, written from UG579's description: what Nandu uses
// of it. The multiplier, the pre-adder, the 48-bit adder and their registers are modelled. Other
// parameters stop the elaboration, other modes the simulation, and pins of what is not modelled
// (pattern detector, carries out, wide XOR) are left out, so that nobody can connect them.

module DSP48E2 #(
    parameter integer ACASCREG = 1,
    parameter integer ADREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter AMULTSEL = "A",
    parameter integer AREG = 1,
    parameter AUTORESET_PATDET = "NO_RESET",
    parameter AUTORESET_PRIORITY = "RESET",
    parameter A_INPUT = "DIRECT",
    parameter integer BCASCREG = 1,
    parameter BMULTSEL = "B",
    parameter integer BREG = 1,
    parameter B_INPUT = "DIRECT",
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer INMODEREG = 1,
    parameter [3:0] IS_ALUMODE_INVERTED = 0,
    parameter [0:0] IS_CARRYIN_INVERTED = 0,
    parameter [0:0] IS_CLK_INVERTED = 0,
    parameter [4:0] IS_INMODE_INVERTED = 0,
    parameter [8:0] IS_OPMODE_INVERTED = 0,
    parameter [0:0] IS_RSTALLCARRYIN_INVERTED = 0,
    parameter [0:0] IS_RSTALUMODE_INVERTED = 0,
    parameter [0:0] IS_RSTA_INVERTED = 0,
    parameter [0:0] IS_RSTB_INVERTED = 0,
    parameter [0:0] IS_RSTCTRL_INVERTED = 0,
    parameter [0:0] IS_RSTC_INVERTED = 0,
    parameter [0:0] IS_RSTD_INVERTED = 0,
    parameter [0:0] IS_RSTINMODE_INVERTED = 0,
    parameter [0:0] IS_RSTM_INVERTED = 0,
    parameter [0:0] IS_RSTP_INVERTED = 0,
    parameter [47:0] MASK = 48'h3FFFFFFFFFFF,
    parameter integer MREG = 1,
    parameter integer OPMODEREG = 1,
    parameter [47:0] PATTERN = 0,
    parameter PREADDINSEL = "A",
    parameter integer PREG = 1,
    parameter [47:0] RND = 0,
    parameter SEL_MASK = "MASK",
    parameter SEL_PATTERN = "PATTERN",
    parameter USE_MULT = "MULTIPLY",
    parameter USE_PATTERN_DETECT = "NO_PATDET",
    parameter USE_SIMD = "ONE48",
    parameter USE_WIDEXOR = "FALSE",
    parameter XORSIMD = "XOR24_48_96"
) (
    input CLK,
    input signed [29:0] A,
    input signed [29:0] ACIN,
    input signed [17:0] B,
    input signed [17:0] BCIN,
    input [47:0] C,
    input signed [26:0] D,
    input [47:0] PCIN,
    input CARRYIN,
    input CARRYCASCIN,
    input MULTSIGNIN,
    input [8:0] OPMODE,
    input [4:0] INMODE,
    input [3:0] ALUMODE,
    input [2:0] CARRYINSEL,
    input CEA1, CEA2, CEB1, CEB2, CEC, CED, CEAD, CEM, CEP,
    input CECTRL, CEINMODE, CEALUMODE, CECARRYIN,
    input RSTA, RSTB, RSTC, RSTD, RSTM, RSTP,
    input RSTCTRL, RSTINMODE, RSTALUMODE, RSTALLCARRYIN,
    output signed [29:0] ACOUT,
    output signed [17:0] BCOUT,
    output [47:0] P,
    output [47:0] PCOUT
);

  generate
    if (AREG < 0 || AREG > 2 || BREG < 0 || BREG > 2 || CREG < 0 || CREG > 1 || DREG < 0 ||
        DREG > 1 || ADREG < 0 || ADREG > 1 || MREG < 0 || MREG > 1 || PREG < 0 || PREG > 1 ||
        OPMODEREG < 0 || OPMODEREG > 1 || INMODEREG < 0 || INMODEREG > 1)
      $error("DSP48E2: there are 0 to 2 registers behind A and B, 0 or 1 elsewhere");
    if (ACASCREG != AREG || BCASCREG != BREG)
      $error("DSP48E2: only ACASCREG = AREG and BCASCREG = BREG are modelled");
    if (ALUMODEREG != 0 || CARRYINREG != 0 || CARRYINSELREG != 0)
      $error("DSP48E2: no registers behind ALUMODE, CARRYIN and CARRYINSEL are modelled");
    if ((A_INPUT != "DIRECT" && A_INPUT != "CASCADE") ||
        (B_INPUT != "DIRECT" && B_INPUT != "CASCADE"))
      $error("DSP48E2: A_INPUT and B_INPUT are DIRECT or CASCADE");
    if ((AMULTSEL != "A" && AMULTSEL != "AD") || BMULTSEL != "B" || PREADDINSEL != "A")
      $error("DSP48E2: only the multiplier of A or AD by B is modelled");
    if (USE_MULT != "MULTIPLY" || USE_SIMD != "ONE48")
      $error("DSP48E2: only MULTIPLY and ONE48 are modelled");
    if (USE_PATTERN_DETECT != "NO_PATDET" || AUTORESET_PATDET != "NO_RESET" ||
        USE_WIDEXOR != "FALSE")
      $error("DSP48E2: neither pattern detector nor wide XOR are modelled");
    if (IS_CLK_INVERTED || IS_CARRYIN_INVERTED || |IS_ALUMODE_INVERTED || |IS_INMODE_INVERTED ||
        |IS_OPMODE_INVERTED || IS_RSTALLCARRYIN_INVERTED || IS_RSTALUMODE_INVERTED ||
        IS_RSTA_INVERTED || IS_RSTB_INVERTED || IS_RSTCTRL_INVERTED || IS_RSTC_INVERTED ||
        IS_RSTD_INVERTED || IS_RSTINMODE_INVERTED || IS_RSTM_INVERTED || IS_RSTP_INVERTED)
      $error("DSP48E2: inverted pins are not modelled");
  endgenerate

  // Every register, and what is seen behind it: the register, or its input where it is left out.
  reg signed [29:0] a1 = 0, a2 = 0;
  reg signed [17:0] b1 = 0, b2 = 0;
  reg signed [26:0] d1 = 0, ad1 = 0;
  reg signed [44:0] m1 = 0;
  reg [47:0] c1 = 0, p1 = 0;
  reg [8:0] opmode1 = 0;
  reg [4:0] inmode1 = 0;

  wire signed [29:0] a_in = A_INPUT == "CASCADE" ? ACIN : A;
  wire signed [17:0] b_in = B_INPUT == "CASCADE" ? BCIN : B;
  wire signed [29:0] a = AREG >= 1 ? a2 : a_in;
  wire signed [17:0] b = BREG >= 1 ? b2 : b_in;
  wire [47:0] c = CREG == 1 ? c1 : C;
  wire signed [26:0] d = DREG == 1 ? d1 : D;
  wire [8:0] opmode = OPMODEREG == 1 ? opmode1 : OPMODE;
  wire [4:0] inmode = INMODEREG == 1 ? inmode1 : INMODE;

  // INMODE[1] takes A from the pre-adder, [2] lets D in, [3] subtracts A.
  wire signed [26:0] a_added = inmode[1] ? 27'sd0 : a[26:0];
  wire signed [26:0] d_added = inmode[2] ? d : 27'sd0;
  wire signed [26:0] ad_sum = inmode[3] ? d_added - a_added : d_added + a_added;
  wire signed [26:0] ad = ADREG == 1 ? ad1 : ad_sum;
  wire signed [26:0] factor = AMULTSEL == "AD" ? ad : a[26:0];
  wire signed [44:0] product = factor * b;
  wire signed [44:0] m = MREG == 1 ? m1 : product;

  wire [1:0] choose_x = opmode[1:0], choose_y = opmode[3:2], choose_w = opmode[8:7];
  wire [2:0] choose_z = opmode[6:4];
  // X and Y hold the two halves of the product: it counts once.
  wire [47:0] x = choose_x == 2'd1 ? {{3{m[44]}}, m} : choose_x == 2'd2 ? p1 : 48'd0;
  wire [47:0] y = choose_y == 2'd3 ? c : 48'd0;
  wire [47:0] z = choose_z == 3'd1 ? PCIN : choose_z == 3'd2 ? p1 : choose_z == 3'd3 ? c : 48'd0;
  wire [47:0] w = choose_w == 2'd1 ? p1 : choose_w == 2'd2 ? RND : choose_w == 2'd3 ? c : 48'd0;
  wire [47:0] sum = z + w + x + y + {47'd0, CARRYIN};

  assign P = PREG == 1 ? p1 : sum;
  assign PCOUT = P;
  assign ACOUT = a;
  assign BCOUT = b;

  always @(posedge CLK) begin
    if (RSTA) a1 <= 0; else if (CEA1) a1 <= a_in;
    if (RSTA) a2 <= 0; else if (CEA2) a2 <= AREG == 2 ? a1 : a_in;
    if (RSTB) b1 <= 0; else if (CEB1) b1 <= b_in;
    if (RSTB) b2 <= 0; else if (CEB2) b2 <= BREG == 2 ? b1 : b_in;
    if (RSTC) c1 <= 0; else if (CEC) c1 <= C;
    if (RSTD) d1 <= 0; else if (CED) d1 <= D;
    if (RSTD) ad1 <= 0; else if (CEAD) ad1 <= ad_sum;
    if (RSTM) m1 <= 0; else if (CEM) m1 <= product;
    if (RSTP) p1 <= 0; else if (CEP) p1 <= sum;
    if (RSTCTRL) opmode1 <= 0; else if (CECTRL) opmode1 <= OPMODE;
    if (RSTINMODE) inmode1 <= 0; else if (CEINMODE) inmode1 <= INMODE;
  end

  wire uses_p = choose_x == 2'd2 || choose_z == 3'd2 || choose_w == 2'd1;
  always @(posedge CLK) begin
    if (choose_x == 2'd3 || choose_y == 2'd2 || choose_z > 3'd3 ||
        (choose_x == 2'd1) != (choose_y == 2'd1))
      $error("%m: OPMODE %b is not modelled", opmode);
    if (uses_p && PREG == 0) $fatal(1, "%m: OPMODE %b needs PREG", opmode);
    if (inmode[0] || inmode[4]) $fatal(1, "%m: INMODE %b is not modelled", inmode);
    if (ALUMODE != 0 || CARRYINSEL != 0)
      $error("%m: ALUMODE %b with CARRYINSEL %b is not modelled", ALUMODE, CARRYINSEL);
  end

endmodule
