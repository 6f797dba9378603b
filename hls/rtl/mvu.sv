// Stands in for the core of FINN's RTL matrix unit (finn-rtllib/mvu/mvu.sv) where a simulation need not show how products
// share a DSP slice: the same ports and parameters, the same sums in the same cycles, a fraction of the time to compile and run.
//
// In:     PE × SIMD weights and SIMD activations a cycle, unless zero; last ends a sum.
// Out:    PE sums with vld.
// Cycles: one from in to sum; a sum is handed on as many cycles after its last word as FINN's pipeline has stages.
module mvu #(
	int unsigned VERSION = 1,
	int unsigned PE = 1,
	int unsigned SIMD = 1,
	int unsigned WEIGHT_WIDTH = 2,
	int unsigned ACTIVATION_WIDTH = 2,
	int unsigned ACCU_WIDTH = 16,
	bit SIGNED_ACTIVATIONS = 0,
	bit NARROW_WEIGHTS = 0,
	bit FORCE_BEHAVIORAL = 0
)(
	input  logic  clk,
	input  logic  rst,
	input  logic  en,
	input  logic  last,
	input  logic  zero,
	input  logic [PE-1:0][SIMD-1:0][WEIGHT_WIDTH-1:0]  w,
	input  logic [SIMD-1:0][ACTIVATION_WIDTH-1:0]  a,
	output logic  vld,
	output logic [PE-1:0][ACCU_WIDTH-1:0]  p
);
	localparam int  STAGES = 3 + $clog2(SIMD) + (SIMD == 1) + 1;
	localparam int  BITS = $clog2(STAGES + 1);  // of a place in the queue of sums on their way

	longint  sums[PE];
	logic  begins = 1;
	logic [PE-1:0][ACCU_WIDTH-1:0]  queue[2**BITS];
	logic [BITS-1:0]  write = 0, read = 0;
	logic [STAGES-1:0]  under_way = '0;

	assign  vld = under_way[STAGES-1];
	assign  p = queue[read];

	always_ff @(posedge clk) begin
		if(rst) begin
			begins <= 1;
			write <= 0;
			read <= 0;
			under_way <= '0;
		end
		else if(en) begin
			under_way <= STAGES'({under_way, last});
			if(vld)  read <= read + 1;
			if(!zero) begin
				begins <= last;
				if(last)  write <= write + 1;
				// verilator unroll_disable
				for(int i = 0; i < PE; i++) begin
					automatic longint  sum = begins? 0 : sums[i];
					// verilator unroll_disable
					for(int j = 0; j < SIMD; j++) begin
						automatic int  factor = 32'($signed(w[i][j]));
						automatic int  value = SIGNED_ACTIVATIONS? 32'($signed(a[j])) : 32'(a[j]);
						sum = sum + 64'(factor) * 64'(value);
					end
					sums[i] = sum;
					if(last)  queue[write][i] <= ACCU_WIDTH'(sum);
				end
			end
		end
	end
endmodule
