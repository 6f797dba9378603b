// A matrix unit as FINN builds it with Vitis HLS (finn-hlslib's mvau.hpp and vvau.hpp): products, and thresholds behind them.
//
// In:     MW/SIMD words a vector, SIMD values in a word. With DEPTHWISE, POSITIONS/SIMD words for PE channels after PE
//         channels, in a word SIMD positions of PE channels, the channels innermost (MW is then the positions).
// Out:    MH/PE words a vector, PE values in a word.
// Cycles: MW/SIMD × MH/PE a vector; a vector is read during the first MW/SIMD of them. An output that is not taken
//         stops the unit at the end of the next row. The pipeline's own latency, some cycles a frame, is not in it.
// WEIGHTS: file of the matrix row by row; with DEPTHWISE, of weights in the order in which they are taken.
// THRESHOLDS: file of those of row after row. COUNTS: how many places are alike.
// Sums are seen at the end of a row only, and are computed then, all at once, by hls/rtlsim/kernels.cpp where it can.
import "DPI-C" function void bitloop_rows(
	input shortint  weights[], input shortint  values[], input int  first, input bit  counts, output int  sums[]
);

module bitloop_matrix #(
	int MW = 4,
	int MH = 4,
	int PE = 1,
	int SIMD = 1,
	bit DEPTHWISE = 0,
	int IN_BITS = 2,
	bit IN_SIGNED = 0,
	bit IN_BIPOLAR = 0,
	bit COUNTS = 0,
	int SUM_BITS = 16,
	bit SUM_SIGNED = 1,
	int OUT_BITS = 16,
	int STEPS = 0,
	int LOWEST = 0,
	parameter  WEIGHTS = "",
	parameter  THRESHOLDS = "",
	localparam int  LANES = DEPTHWISE? PE * SIMD : SIMD,
	localparam int  IN_WIDTH = (LANES * IN_BITS + 7) / 8 * 8,
	localparam int  OUT_WIDTH = (PE * OUT_BITS + 7) / 8 * 8
)(
	input  ap_clk,
	input  ap_rst_n,
	input  [IN_WIDTH-1:0]  in0_V_TDATA,
	input  in0_V_TVALID,
	output  in0_V_TREADY,
	output logic [OUT_WIDTH-1:0]  out0_V_TDATA,
	output logic  out0_V_TVALID,
	input  out0_V_TREADY
);
	localparam int  SF = MW / SIMD;
	localparam int  NF = MH / PE;

	shortint  weights[NF * SF * PE * SIMD];
	initial  $readmemh(WEIGHTS, weights);
	int  thresholds[STEPS == 0? 1 : MH * STEPS];
	if(STEPS != 0)  initial  $readmemh(THRESHOLDS, thresholds);

	localparam bit  AT_ONCE = !DEPTHWISE && IN_BITS <= (IN_SIGNED? 16 : 15);
	shortint  words[AT_ONCE? MW : 1];
	int  values[AT_ONCE? 1 : DEPTHWISE? LANES : MW];
	int  sums[PE];
	int  sf = 0, nf = 0;

	wire  reads = DEPTHWISE || nf == 0;
	wire  ends = sf == SF - 1;
	wire  room = !ends || !out0_V_TVALID || out0_V_TREADY;
	wire  go = ap_rst_n && room && (in0_V_TVALID || !reads);
	assign  in0_V_TREADY = ap_rst_n && room && reads;

	function automatic int value_of(input logic [IN_BITS-1:0]  raw);
		if(IN_BIPOLAR)  return  raw[0]? 1 : -1;
		if(IN_SIGNED)  return  32'($signed(raw));
		return  32'(raw);
	endfunction

	function automatic logic [OUT_BITS-1:0] handed_on(input int  sum, input int  channel);
		automatic int  cut = SUM_SIGNED? 32'($signed(sum[SUM_BITS-1:0])) : 32'(sum[SUM_BITS-1:0]);
		automatic int  reached = LOWEST;
		if(STEPS == 0)  return  OUT_BITS'(cut);
		// verilator unroll_disable
		for(int i = 0; i < STEPS; i++)  reached = reached + 32'(cut >= thresholds[channel * STEPS + i]);
		return  OUT_BITS'(reached);
	endfunction

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			sf <= 0;
			nf <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(out0_V_TREADY)  out0_V_TVALID <= 0;
			if(go) begin
				automatic int  first = DEPTHWISE? 0 : sf * SIMD;
				automatic int  weight = DEPTHWISE? (nf * SF + sf) * PE * SIMD : nf * PE * MW + sf * SIMD;
				automatic logic [OUT_WIDTH-1:0]  word = '0;
				if(reads) begin
					// verilator unroll_disable
					for(int i = 0; i < LANES; i++) begin
						automatic int  value = value_of(in0_V_TDATA[i * IN_BITS +: IN_BITS]);
						if(AT_ONCE)  words[first + i] = 16'(value);
						else  values[first + i] = value;
					end
				end
				if(AT_ONCE) begin
					if(ends)  bitloop_rows(weights, words, nf * PE, COUNTS, sums);
				end
				else begin
					// verilator unroll_disable
					for(int p = 0; p < PE; p++) begin
						automatic int  sum = sf == 0? 0 : sums[p];
						// verilator unroll_disable
						for(int s = 0; s < SIMD; s++) begin
							automatic int  value = values[DEPTHWISE? s * PE + p : first + s];
							automatic int  factor = 32'(weights[weight + p * (DEPTHWISE? SIMD : MW) + s]);
							sum = sum + (COUNTS? 32'(value == factor) : value * factor);
						end
						sums[p] = sum;
					end
				end
				if(ends) begin
					// verilator unroll_disable
					for(int p = 0; p < PE; p++)  word[p * OUT_BITS +: OUT_BITS] = handed_on(sums[p], nf * PE + p);
					out0_V_TDATA <= word;
					out0_V_TVALID <= 1;
					nf <= nf == NF - 1? 0 : nf + 1;
				end
				sf <= ends? 0 : sf + 1;
			end
		end
	end
endmodule
