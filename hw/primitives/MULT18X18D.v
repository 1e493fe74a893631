// The MULT18X18D multiplier of Lattice's ECP5 devices, written from the ECP5 sysDSP guide (TN1267):
// what Nandu uses of it. The multiplier with its input, pipeline and output registers on CLK0, CE0
// and RST0 is modelled, with SIGNEDA and SIGNEDB constant. Other parameters stop the elaboration,
// and pins of what is not modelled (shift chains, other clocks) are left out, so that nobody can
// connect them. The global set/reset is not modelled: registers begin with 0.

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",
    parameter REG_INPUTA_CE = "CE0",
    parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE",
    parameter REG_INPUTB_CE = "CE0",
    parameter REG_INPUTB_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE",
    parameter REG_INPUTC_CE = "CE0",
    parameter REG_INPUTC_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE",
    parameter REG_PIPELINE_CE = "CE0",
    parameter REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE",
    parameter REG_OUTPUT_CE = "CE0",
    parameter REG_OUTPUT_RST = "RST0",
    parameter CLK0_DIV = "ENABLED",
    parameter CLK1_DIV = "ENABLED",
    parameter CLK2_DIV = "ENABLED",
    parameter CLK3_DIV = "ENABLED",
    parameter HIGHSPEED_CLK = "NONE",
    parameter GSR = "ENABLED",
    parameter CAS_MATCH_REG = "FALSE",
    parameter SOURCEB_MODE = "B_SHIFT",
    parameter MULT_BYPASS = "DISABLED",
    parameter RESETMODE = "SYNC"
) (
    input
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input
      C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output
      P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
      P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);

  generate
    if ((REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0") ||
        (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0") ||
        (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0") ||
        (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0") || REG_INPUTC_CLK != "NONE")
      $error("MULT18X18D: only the clocks NONE and CLK0 are modelled, and no register behind C");
    if (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0" ||
        REG_OUTPUT_CE != "CE0" || REG_INPUTA_RST != "RST0" || REG_INPUTB_RST != "RST0" ||
        REG_PIPELINE_RST != "RST0" || REG_OUTPUT_RST != "RST0" || RESETMODE != "SYNC")
      $error("MULT18X18D: only CE0 and a synchronous RST0 are modelled");
    if (CLK0_DIV != "ENABLED" || HIGHSPEED_CLK != "NONE" || CAS_MATCH_REG != "FALSE" ||
        MULT_BYPASS != "DISABLED")
      $error("MULT18X18D: clock division, cascades and the bypass are not modelled");
  endgenerate

  wire [17:0] a_in = {
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
  };
  wire [17:0] b_in = {
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
  };
  reg [17:0] a1 = 0, b1 = 0;
  reg [35:0] pipeline = 0, out = 0;

  wire [17:0] a = REG_INPUTA_CLK == "NONE" ? a_in : a1;
  wire [17:0] b = REG_INPUTB_CLK == "NONE" ? b_in : b1;
  wire signed [18:0] signed_a = {SIGNEDA & a[17], a};
  wire signed [18:0] signed_b = {SIGNEDB & b[17], b};
  wire signed [37:0] product = signed_a * signed_b;
  wire [35:0] behind_pipeline = REG_PIPELINE_CLK == "NONE" ? product[35:0] : pipeline;
  assign {
      P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
      P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
  } = REG_OUTPUT_CLK == "NONE" ? behind_pipeline : out;

  always @(posedge CLK0) begin
    if (RST0) a1 <= 0; else if (CE0) a1 <= a_in;
    if (RST0) b1 <= 0; else if (CE0) b1 <= b_in;
    if (RST0) pipeline <= 0; else if (CE0) pipeline <= product[35:0];
    if (RST0) out <= 0; else if (CE0) out <= behind_pipeline;
    if (SOURCEA || SOURCEB) $fatal(1, "%m: the shift chains are not modelled");
  end

endmodule
