// A channel of a behavioural memory behind an AXI4 port: see hw/memory_model.py.
//
// It is loaded from NAME.bin in the working directory, the byte at address 0 first. NAME.timing holds
// the five numbers of its timing, in the order below, and 1 if what passes is to be recorded, else 0.
// At the end it leaves what has been written in NAME.written, its counts in NAME.counts, and the
// record in NAME.record: a line for each cycle in which anything passes, with the cycle, a number
// whose bits say what (below), and how long a word that is written has waited.
//
// The outputs and `write_turn` are registers that change with the clock; everything else is this
// model's own, written by one block.

module memory_channel #(
  parameter NAME = "memory",
  parameter DATA_BITS = 256,
  parameter ADDRESS_BITS = 34,
  parameter ID_BITS = 1,
  parameter WORDS = 1024  // capacity
) (
  input clk,
  input rst,
  input [ID_BITS-1:0] arid,
  input [ADDRESS_BITS-1:0] araddr,
  input [7:0] arlen,
  input [2:0] arsize,
  input [1:0] arburst,
  input arvalid,
  output reg arready,
  output [ID_BITS-1:0] rid,
  output reg [DATA_BITS-1:0] rdata,
  output reg [1:0] rresp,
  output reg rlast,
  output reg rvalid,
  input rready,
  input [ID_BITS-1:0] awid,
  input [ADDRESS_BITS-1:0] awaddr,
  input [7:0] awlen,
  input [2:0] awsize,
  input [1:0] awburst,
  input awvalid,
  output reg awready,
  input [DATA_BITS-1:0] wdata,
  input [DATA_BITS/8-1:0] wstrb,
  input wlast,
  input wvalid,
  output wready,
  output [ID_BITS-1:0] bid,
  output reg [1:0] bresp,
  output reg bvalid,
  input bready
);
  localparam BYTES = DATA_BITS / 8;
  localparam BYTE_BITS = $clog2(BYTES);
  localparam QUEUE = 256;  // bursts in flight, in each direction
  localparam OKAY = 2'd0, DECERR = 2'd3;
  localparam [63:0] CAPACITY = WORDS;

  reg [DATA_BITS-1:0] words [0:WORDS-1];

  // Bursts in flight; the counts of those that came and those that are done choose a place.
  reg [63:0] ar_word [0:QUEUE-1], ar_due [0:QUEUE-1];
  reg [7:0] ar_more [0:QUEUE-1];
  reg [63:0] aw_word [0:QUEUE-1];
  reg [7:0] aw_more [0:QUEUE-1];
  reg [63:0] b_due [0:QUEUE-1];
  reg [1:0] b_response [0:QUEUE-1];
  integer reads = 0, reads_done = 0, writes = 0, writes_done = 0, responses_done = 0;
  reg [7:0] read_beat = 0, write_beat = 0;
  reg write_failed = 0;

  integer latency = 1;        // cycles, 1 or more
  integer extra_latency = 0;  // 0 to this many are added to each burst's latency
  integer rate = 1, per = 1;  // `rate` words in `per` cycles, shared by reads and writes
  reg [31:0] random = 1;      // the seed
  integer records = 0;

  reg [63:0] now = 0, at;
  integer credit = 0;  // a word costs `per`, a cycle brings `rate`
  reg write_was_last = 0, write_open = 0, write_turn = 0;
  integer file, got, lane, index, record;
  integer waited = 0;  // cycles, of the word to be written that is offered

  // What is counted goes on through a reset.
  reg [63:0] cycles = 0, words_read = 0, words_written = 0;
  reg [63:0] read_waits = 0, write_waits = 0, held = 0;
  reg [63:0] lowest = ~64'd0, highest = 0;  // words written

  assign rid = 0;
  assign bid = 0;
  assign wready = write_turn & (write_open | awvalid);

  function [DATA_BITS-1:0] reversed(input [DATA_BITS-1:0] word);
    integer k;
    for (k = 0; k < BYTES; k = k + 1) reversed[8*k +: 8] = word[8*(BYTES-1-k) +: 8];
  endfunction

  function [31:0] xorshift(input [31:0] x);  // G. Marsaglia, 2003
    begin
      x = x ^ (x << 13);
      x = x ^ (x >> 17);
      xorshift = x ^ (x << 5);
    end
  endfunction

  function [63:0] delay(input [31:0] random);  // behind this cycle, to the cycle in front of the due
    delay = {32'd0, latency} - 1 + {32'd0, random % (extra_latency + 1)};
  endfunction

  task check_address(input [ADDRESS_BITS-1:0] address, input [7:0] more, input [2:0] size,
                     input [1:0] burst);
    begin
      if (size != BYTE_BITS) $fatal(1, "%0s: a beat is not as wide as the port", NAME);
      if (burst != 1) $fatal(1, "%0s: a burst is not of type INCR", NAME);
      if (address % BYTES != 0) $fatal(1, "%0s: address %h is not aligned", NAME, address);
      if (address % 4096 + (more + 1) * BYTES > 4096)
        $fatal(1, "%0s: a burst at %h crosses 4 KB", NAME, address);
    end
  endtask

  initial begin
    file = $fopen({NAME, ".timing"}, "r");
    if (file != 0) begin
      got = $fscanf(file, "%d %d %d %d %d %d", latency, extra_latency, rate, per, random, records);
      if (got != 6) $fatal(1, "%0s.timing does not hold six numbers", NAME);
      $fclose(file);
    end
    if (records != 0) record = $fopen({NAME, ".record"}, "w");
    credit = per;
    file = $fopen({NAME, ".bin"}, "rb");
    if (file != 0) begin
      got = $fread(words, file);  // puts the first byte on top
      if ($fgetc(file) != -1) $fatal(1, "%0s.bin is larger than its memory", NAME);
      $fclose(file);
      for (index = 0; index * BYTES < got; index = index + 1)
        words[index] = reversed(words[index]);
    end
  end

  always @(posedge clk) begin
    cycles <= cycles + 1;
    now = now + 1;
    // From the lowest bit on: an address to read, a word read, a word written, a response.
    if (records != 0 & ((arvalid & arready) | (rvalid & rready) | (wvalid & wready) |
                        (bvalid & bready)))
      $fwrite(record, "%0d %0d %0d\n", cycles,
              {bvalid & bready, wvalid & wready, rvalid & rready, arvalid & arready}, waited);
    waited = wvalid & ~wready ? waited + 1 : 0;
    // Addresses come in.
    if (arvalid & arready) begin
      check_address(araddr, arlen, arsize, arburst);
      ar_word[reads % QUEUE] = {{(64 - ADDRESS_BITS){1'b0}}, araddr} >> BYTE_BITS;
      ar_more[reads % QUEUE] = arlen;
      random = xorshift(random);
      ar_due[reads % QUEUE] = now + delay(random);
      reads = reads + 1;
    end
    if (awvalid & awready) begin
      check_address(awaddr, awlen, awsize, awburst);
      aw_word[writes % QUEUE] = {{(64 - ADDRESS_BITS){1'b0}}, awaddr} >> BYTE_BITS;
      aw_more[writes % QUEUE] = awlen;
      writes = writes + 1;
    end
    // A word is written.
    if (wvalid & wready) begin
      at = aw_word[writes_done % QUEUE] + write_beat;
      if (wlast != (write_beat == aw_more[writes_done % QUEUE]))
        $fatal(1, "%0s: WLAST is not on the last word of its burst", NAME);
      if (at < CAPACITY) begin
        for (lane = 0; lane < BYTES; lane = lane + 1)
          if (wstrb[lane]) words[at][8*lane +: 8] = wdata[8*lane +: 8];
        if (at < lowest) lowest = at;
        if (at > highest) highest = at;
      end else write_failed = 1;
      write_beat = write_beat + 1;
      if (wlast) begin
        random = xorshift(random);
        b_due[writes_done % QUEUE] = now + delay(random);
        b_response[writes_done % QUEUE] = write_failed ? DECERR : OKAY;
        writes_done = writes_done + 1;
        write_beat = 0;
        write_failed = 0;
      end
      credit = credit - per;
      write_was_last = 1;
      words_written <= words_written + 1;
    end
    if (wvalid & ~wready) write_waits <= write_waits + 1;
    // A word is offered.
    if (rvalid & rready) words_read <= words_read + 1;
    if (rvalid & ~rready) held <= held + 1;
    if (~rvalid | rready) begin
      rvalid <= 0;
      if (reads != reads_done) begin
        if (ar_due[reads_done % QUEUE] <= now & credit >= per) begin
          at = ar_word[reads_done % QUEUE] + read_beat;
          rvalid <= 1;
          rdata <= at < CAPACITY ? words[at] : 0;
          rresp <= at < CAPACITY ? OKAY : DECERR;
          rlast <= read_beat == ar_more[reads_done % QUEUE];
          credit = credit - per;
          write_was_last = 0;
          if (read_beat == ar_more[reads_done % QUEUE]) begin
            reads_done = reads_done + 1;
            read_beat = 0;
          end else read_beat = read_beat + 1;
        end else read_waits <= read_waits + 1;
      end
    end
    // A response is offered.
    if (~bvalid | bready) begin
      bvalid <= 0;
      if (responses_done != writes_done)
        if (b_due[responses_done % QUEUE] <= now) begin
          bvalid <= 1;
          bresp <= b_response[responses_done % QUEUE];
          responses_done = responses_done + 1;
        end
    end
    // A memory that is not used saves no more than one word's time.
    credit = credit + rate;
    if (credit > per + rate - 1) credit = per + rate - 1;
    arready <= reads - reads_done < QUEUE;
    awready <= writes - responses_done < QUEUE;
    write_open <= writes != writes_done;
    write_turn <= credit >= per & ~(write_was_last & reads != reads_done);
    if (rst) begin
      reads = 0;
      reads_done = 0;
      writes = 0;
      writes_done = 0;
      responses_done = 0;
      read_beat = 0;
      write_beat = 0;
      write_failed = 0;
      credit = per;
      rvalid <= 0;
      bvalid <= 0;
      arready <= 1;
      awready <= 1;
      write_open <= 0;
      write_turn <= 1;
    end
  end

  initial begin
    arready = 1;
    awready = 1;
    write_turn = 1;
    rvalid = 0;
    bvalid = 0;
  end

  final begin
    file = $fopen({NAME, ".counts"}, "w");
    $fwrite(file, "%0d %0d %0d %0d %0d %0d %0d\n", cycles, words_read, words_written, read_waits,
            write_waits, held, lowest > highest ? 64'd0 : lowest * BYTES);
    $fclose(file);
    file = $fopen({NAME, ".written"}, "wb");
    if (lowest <= highest)
      for (at = lowest; at <= highest; at = at + 1)
        for (lane = 0; lane < BYTES; lane = lane + 1)
          $fwrite(file, "%c", words[at][8*lane +: 8]);
    $fclose(file);
    if (records != 0) $fclose(record);
  end
endmodule
