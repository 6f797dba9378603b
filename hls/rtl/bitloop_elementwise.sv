// A sum, difference or product, value by value: of two streams, or of a stream and constants. FINN's Elementwise…_hls.
//
// In:     words of PE values; with CONSTANTS 0 a second stream of as many.
// Out:    words of PE values.
// Cycles: one a word, one from in to out.
// CONSTANTS: how many there are, 1 or one a channel, in FILE: integers, or the bits of floats, in the order of the channels.
// Floats are computed by the host, as FINN's own Python does: two floats in single precision, an integer with a float in
// double, the result rounded to single.
import "DPI-C" function int bitloop_float(input int what, input bit a_float, input longint a, input bit b_float, input longint b);

module bitloop_elementwise #(
	int PE = 1,
	int WHAT = 0,  // 0: a + b, 1: a - b, 2: a * b
	int A_BITS = 8,
	bit A_SIGNED = 0,
	bit A_FLOAT = 0,
	int B_BITS = 8,
	bit B_SIGNED = 0,
	bit B_FLOAT = 0,
	int OUT_BITS = 8,
	bit OUT_FLOAT = 0,
	int CONSTANTS = 0,
	parameter  FILE = "",
	localparam int  A_WIDTH = (PE * A_BITS + 7) / 8 * 8,
	localparam int  B_WIDTH = CONSTANTS != 0? 8 : (PE * B_BITS + 7) / 8 * 8,
	localparam int  OUT_WIDTH = (PE * OUT_BITS + 7) / 8 * 8
)(
	input  ap_clk,
	input  ap_rst_n,
	input  [A_WIDTH-1:0]  in0_V_TDATA,
	input  in0_V_TVALID,
	output  in0_V_TREADY,
	input  [B_WIDTH-1:0]  in1_V_TDATA,
	input  in1_V_TVALID,
	output  in1_V_TREADY,
	output logic [OUT_WIDTH-1:0]  out0_V_TDATA,
	output logic  out0_V_TVALID,
	input  out0_V_TREADY
);
	longint  constants[CONSTANTS == 0? 1 : CONSTANTS];
	if(CONSTANTS != 0)  initial  $readmemh(FILE, constants);
	int  channel = 0;

	wire  room = ap_rst_n && (!out0_V_TVALID || out0_V_TREADY);
	wire  go = room && in0_V_TVALID && (CONSTANTS != 0 || in1_V_TVALID);
	assign  in0_V_TREADY = CONSTANTS != 0? room : go;
	assign  in1_V_TREADY = go && CONSTANTS == 0;

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			channel <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(out0_V_TREADY)  out0_V_TVALID <= 0;
			if(go) begin
				automatic logic [OUT_WIDTH-1:0]  word = '0;
				for(int p = 0; p < PE; p++) begin
					automatic longint  a = 64'(in0_V_TDATA[p * A_BITS +: A_BITS]);
					automatic longint  b = 0;
					automatic longint  result;
					if(A_SIGNED && !A_FLOAT)  a = a <<< (64 - A_BITS) >>> (64 - A_BITS);
					if(CONSTANTS != 0)  b = constants[CONSTANTS == 1? 0 : channel + p];
					else begin
						b = 64'(in1_V_TDATA[CONSTANTS == 0? p * B_BITS : 0 +: CONSTANTS == 0? B_BITS : 1]);
						if(B_SIGNED && !B_FLOAT)  b = b <<< (64 - B_BITS) >>> (64 - B_BITS);
					end
					if(OUT_FLOAT)  result = 64'(bitloop_float(WHAT, A_FLOAT, a, B_FLOAT, b));
					else  result = WHAT == 0? a + b : WHAT == 1? a - b : a * b;
					word[p * OUT_BITS +: OUT_BITS] = result[OUT_BITS-1:0];
				end
				out0_V_TDATA <= word;
				out0_V_TVALID <= 1;
				channel <= CONSTANTS <= 1 || channel + PE == CONSTANTS? 0 : channel + PE;
			end
		end
	end
endmodule
