// The sum of every channel over a whole feature map, as FINN's GlobalAccPool_hls takes it.
//
// In:     PIXELS × FOLDS words, PE channels in a word, FOLDS words a pixel.
// Out:    FOLDS words, PE sums in a word.
// Cycles: (PIXELS + 1) × FOLDS: while sums are handed on nothing is read.
module bitloop_sum #(
	int PE = 1,
	int FOLDS = 1,
	int PIXELS = 4,
	int IN_BITS = 4,
	bit IN_SIGNED = 0,
	bit IN_BIPOLAR = 0,
	int OUT_BITS = 8,
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
	int  sums[FOLDS * PE];
	int  pixel = 0, fold = 0;
	wire  tells = pixel == PIXELS;
	wire  free = !out0_V_TVALID || out0_V_TREADY;
	assign  in0_V_TREADY = ap_rst_n && !tells;

	function automatic int value_of(input logic [IN_BITS-1:0]  raw);
		if(IN_BIPOLAR)  return  raw[0]? 1 : -1;
		if(IN_SIGNED)  return  32'($signed(raw));
		return  32'(raw);
	endfunction

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			pixel <= 0;
			fold <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(out0_V_TREADY)  out0_V_TVALID <= 0;
			if(tells? free : in0_V_TVALID) begin
				automatic logic [OUT_WIDTH-1:0]  word = '0;
				for(int p = 0; p < PE; p++) begin
					if(tells)  word[p * OUT_BITS +: OUT_BITS] = OUT_BITS'(sums[fold * PE + p]);
					else begin
						automatic int  value = value_of(in0_V_TDATA[p * IN_BITS +: IN_BITS]);
						sums[fold * PE + p] = (pixel == 0? 0 : sums[fold * PE + p]) + value;
					end
				end
				if(tells) begin
					out0_V_TDATA <= word;
					out0_V_TVALID <= 1;
				end
				fold <= fold == FOLDS - 1? 0 : fold + 1;
				if(fold == FOLDS - 1)  pixel <= tells? 0 : pixel + 1;
			end
		end
	end
endmodule
