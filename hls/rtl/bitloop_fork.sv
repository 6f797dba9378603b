// Copies of a stream: FINN's DuplicateStreams_hls.
//
// In:     a word.
// Out:    the word on each of COPIES streams; every reader takes it when it likes, the next word waits for the last one.
// Cycles: one a word, none from in to out.
module bitloop_fork #(
	int WIDTH = 8,
	int COPIES = 2
)(
	input  ap_clk,
	input  ap_rst_n,
	input  [WIDTH-1:0]  in0_V_TDATA,
	input  in0_V_TVALID,
	output  in0_V_TREADY,
	output [COPIES-1:0][WIDTH-1:0]  out_V_TDATA,
	output [COPIES-1:0]  out_V_TVALID,
	input  [COPIES-1:0]  out_V_TREADY
);
	logic [COPIES-1:0]  taken = '0;
	wire [COPIES-1:0]  done = taken | out_V_TREADY;

	assign  out_V_TDATA = {COPIES{in0_V_TDATA}};
	assign  out_V_TVALID = {COPIES{in0_V_TVALID && ap_rst_n}} & ~taken;
	assign  in0_V_TREADY = ap_rst_n && &done;

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n)  taken <= '0;
		else if(in0_V_TVALID)  taken <= &done? '0 : done;
	end
endmodule
