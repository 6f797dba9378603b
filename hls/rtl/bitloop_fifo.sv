// A FIFO whose depth is told when a simulation starts, so that depths are tried without building anew.
//
// In:     one word a cycle.
// Out:    the same words, in order.
// Cycles: one word a cycle; two cycles from in to out. So do FINN's FIFOs in shift registers and LUT RAM
//         (finn-rtllib/fifo), which hold DEPTH words, at least five; those in block RAM take a cycle more and round up.
// MAX is a power of two and the most that a depth may be.
import "DPI-C" function int bitloop_fifo_depth(input int id);
import "DPI-C" function void bitloop_fifo_filled(input int id, input int most);

module bitloop_fifo #(
	int WIDTH = 8,
	int MAX = 1024,
	int ID = 0
)(
	input  ap_clk,
	input  ap_rst_n,
	input  [WIDTH-1:0]  in0_V_TDATA,
	input  in0_V_TVALID,
	output  in0_V_TREADY,
	output logic [WIDTH-1:0]  out0_V_TDATA,
	output logic  out0_V_TVALID,
	input  out0_V_TREADY
);
	localparam int  BITS = $clog2(MAX);

	int  depth;
	initial begin
		depth = bitloop_fifo_depth(ID);
		if(depth > MAX)  depth = MAX;
		if(depth < 5)  depth = 5;
	end

	logic [WIDTH-1:0]  memory[MAX];
	logic [BITS-1:0]  write = 0, read = 0;
	int  held = 0, most = 0;  // held: in memory; one more is in the output register

	assign  in0_V_TREADY = held < depth - 1;
	wire  push = in0_V_TVALID && in0_V_TREADY;
	wire  load = !out0_V_TVALID || out0_V_TREADY;
	wire  pop = load && held != 0;
	wire integer  held_next = held + 32'(push) - 32'(pop);

	always_ff @(posedge ap_clk) begin
		if(!ap_rst_n) begin
			write <= 0;
			read <= 0;
			held <= 0;
			out0_V_TVALID <= 0;
		end
		else begin
			if(push) begin
				memory[write] <= in0_V_TDATA;
				write <= write + 1;
			end
			if(pop) begin
				out0_V_TDATA <= memory[read];
				read <= read + 1;
			end
			held <= held_next;
			if(load)  out0_V_TVALID <= pop;
			if(held_next + 32'(load? pop : 1'b1) > most)  most <= held_next + 32'(load? pop : 1'b1);
		end
	end

	final  bitloop_fifo_filled(ID, most);
endmodule
