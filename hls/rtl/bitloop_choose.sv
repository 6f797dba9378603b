// The numbers of the BEST largest of LABELS values, the largest first, of equal ones the first: FINN's LabelSelect_hls.
//
// In:     LABELS/PE words, PE values in a word.
// Out:    BEST words, a number in each.
// Cycles: LABELS/PE + BEST: while numbers are handed on nothing is read.
module bitloop_choose #(
	int LABELS = 10,
	int BEST = 1,
	int PE = 1,
	int IN_BITS = 16,
	bit IN_SIGNED = 1,
	bit IN_BIPOLAR = 0,
	int OUT_BITS = 8,
	localparam int  IN_WIDTH = (PE * IN_BITS + 7) / 8 * 8,
	localparam int  OUT_WIDTH = (OUT_BITS + 7) / 8 * 8
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
	int  values[BEST + 1];
	int  labels[BEST + 1];
	int  label = 0, told = 0;
	wire  tells = label == LABELS;
	wire  free = !out0_V_TVALID || out0_V_TREADY;
	assign  in0_V_TREADY = ap_rst_n && !tells;

	function automatic int value_of(input logic [IN_BITS-1:0]  raw);
		if(IN_SIGNED)  return  32'($signed(raw));
		return  32'(raw);
	endfunction

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			label <= 0;
			told <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(out0_V_TREADY)  out0_V_TVALID <= 0;
			if(tells) begin
				if(free) begin
					out0_V_TDATA <= OUT_WIDTH'(labels[told]);
					out0_V_TVALID <= 1;
					told <= told == BEST - 1? 0 : told + 1;
					if(told == BEST - 1)  label <= 0;
				end
			end
			else if(in0_V_TVALID) begin
				for(int p = 0; p < PE; p++) begin
					automatic int  value = value_of(in0_V_TDATA[p * IN_BITS +: IN_BITS]);
					automatic int  place = BEST;
					// places that are not yet taken are those from the number of labels seen on
					for(int i = BEST - 1; i >= 0; i--)  if(i >= label + p || value > values[i])  place = i;
					for(int i = BEST - 1; i > 0; i--) begin
						if(i > place) begin
							values[i] = values[i - 1];
							labels[i] = labels[i - 1];
						end
					end
					if(place < BEST) begin
						values[place] = value;
						labels[place] = label + p;
					end
				end
				label <= label + PE;
			end
		end
	end
endmodule
