// Maximum or sum over windows, as FINN's Pool_hls takes it behind a depthwise sliding window.
//
// In:     POSITIONS words for PE channels after PE channels, PE values in a word.
// Out:    one word for each of those groups.
// Cycles: one a word that is read. A result that is not taken stops the unit at the end of the next window.
// SHIFT: bits that a sum loses.
module bitloop_pool #(
	int PE = 1,
	int POSITIONS = 4,
	bit IS_SUM = 0,
	int SHIFT = 0,
	int IN_BITS = 4,
	bit IN_SIGNED = 0,
	bit IN_BIPOLAR = 0,
	int OUT_BITS = 4,
	localparam int  IN_WIDTH = (PE * IN_BITS + 7) / 8 * 8,
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
	int  found[PE];
	int  position = 0;
	wire  ends = position == POSITIONS - 1;
	assign  in0_V_TREADY = ap_rst_n && (!ends || !out0_V_TVALID || out0_V_TREADY);

	function automatic int value_of(input logic [IN_BITS-1:0]  raw);
		if(IN_BIPOLAR)  return  raw[0]? 1 : -1;
		if(IN_SIGNED)  return  32'($signed(raw));
		return  32'(raw);
	endfunction

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			position <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(out0_V_TREADY)  out0_V_TVALID <= 0;
			if(in0_V_TVALID && in0_V_TREADY) begin
				automatic logic [OUT_WIDTH-1:0]  word = '0;
				for(int p = 0; p < PE; p++) begin
					automatic int  value = value_of(in0_V_TDATA[p * IN_BITS +: IN_BITS]);
					automatic int  result = value;
					if(position != 0)  result = IS_SUM? found[p] + value : found[p] > value? found[p] : value;
					found[p] = result;
					// of one bit that stands for -1 and 1 the larger is the one
					word[p * OUT_BITS +: OUT_BITS] = IN_BIPOLAR && !IS_SUM? OUT_BITS'(result == 1) : OUT_BITS'(result >>> SHIFT);
				end
				position <= ends? 0 : position + 1;
				if(ends) begin
					out0_V_TDATA <= word;
					out0_V_TVALID <= 1;
				end
			end
		end
	end
endmodule
