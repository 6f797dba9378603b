// Streams frames through a verilated accelerator; hls/rtlsim/simulator.py starts it and reads what it writes.
#include "Vbitloop_top.h"
#include "verilated.h"

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>
#ifdef BITLOOP_VCD
#include "verilated_vcd_c.h"
#endif

namespace {

struct Counts {
	int64_t words, stalled, starved;
	bool valid, ready;
};
std::map<int, Counts> streams;
std::map<int, std::pair<int64_t, int64_t>> nodes;  // cycles stalled, starved
std::map<int, int> depths, filled;
std::vector<FILE*> records;
std::string record_folder;

// xorshift64*: the same gaps for the same seed on every machine
struct Random {
	uint64_t state;
	bool below(double share) {
		if(share <= 0)  return false;
		state ^= state >> 12;
		state ^= state << 25;
		state ^= state >> 27;
		return (state * 2685821657736338717ull >> 11) * 0x1.0p-53 < share;
	}
};

std::vector<uint32_t> read_words(const std::string& path) {
	std::ifstream file(path, std::ios::binary | std::ios::ate);
	if(!file) {
		fprintf(stderr, "%s cannot be read\n", path.c_str());
		exit(2);
	}
	std::vector<uint32_t> found(static_cast<size_t>(file.tellg()) / 4);
	file.seekg(0);
	file.read(reinterpret_cast<char*>(found.data()), static_cast<std::streamsize>(found.size() * 4));
	return found;
}

}  // namespace

extern "C" int bitloop_fifo_depth(int id) {
	auto found = depths.find(id);
	return found == depths.end()? 1 << 30 : found->second;
}
extern "C" void bitloop_fifo_filled(int id, int most) { filled[id] = most; }
extern "C" void bitloop_stream(int id, long long words, long long stalled, long long starved, unsigned char valid, unsigned char ready) {
	streams[id] = {words, stalled, starved, valid != 0, ready != 0};
}
extern "C" void bitloop_node(int id, long long stalled, long long starved) { nodes[id] = {stalled, starved}; }
extern "C" void bitloop_word(int id, const char* word) {
	if(records.size() <= static_cast<size_t>(id))  records.resize(id + 1);
	if(!records[id])  records[id] = fopen((record_folder + "/" + std::to_string(id)).c_str(), "w");
	if(records[id])  fprintf(records[id], "%s\n", word);
}
extern "C" int bitloop_float(int what, unsigned char a_float, long long a, unsigned char b_float, long long b) {
	auto single = [](long long bits) {
		uint32_t raw = static_cast<uint32_t>(bits);
		float value;
		memcpy(&value, &raw, 4);
		return value;
	};
	auto apply = [what](auto x, auto y) { return what == 0? x + y : what == 1? x - y : x * y; };
	float result;
	if(a_float && b_float)  result = apply(single(a), single(b));
	else {
		double x = a_float? single(a) : static_cast<double>(a);
		double y = b_float? single(b) : static_cast<double>(b);
		result = static_cast<float>(apply(x, y));
	}
	int bits;
	memcpy(&bits, &result, 4);
	return bits;
}

// One option a line of the file that is the only argument: its name and its value.
int main(int argc, char** argv) {
	if(argc < 2)  return 2;
	std::map<std::string, std::string> options;
	{
		std::ifstream file(argv[1]);
		std::string name, value;
		while(file >> name >> value) {
			if(name == "depth") {
				size_t at = value.find('=');
				depths[atoi(value.c_str())] = atoi(value.c_str() + at + 1);
			}
			else  options[name] = value;
		}
	}
	auto number = [&](const char* name) { return strtoull(options[name].c_str(), nullptr, 10); };
	auto share = [&](const char* name) { return strtod(options[name].c_str(), nullptr); };
	const uint64_t frames = number("frames"), in_words = number("in_words"), out_words = number("out_words");
	const uint64_t idle_limit = number("idle_limit"), pace = number("pace"), most_cycles = number("most_cycles");
	const double gaps = share("gaps"), pressure = share("back_pressure");
	record_folder = options["records"];
	const auto in = read_words(options["in"]);
	FILE* out = fopen(options["out"].c_str(), "wb");
	if(!out) {
		fprintf(stderr, "%s cannot be written\n", options["out"].c_str());
		return 2;
	}

	auto context = std::make_unique<VerilatedContext>();
	context->commandArgs(argc, argv);
	auto top = std::make_unique<Vbitloop_top>(context.get());
	constexpr size_t IN = sizeof(top->in_data) / 4, OUT = sizeof(top->out_data) / 4;
	if(in.size() != IN * in_words * frames) {
		fprintf(stderr, "%zu words of 32 bits are there, %" PRIu64 " are wanted\n", in.size(), IN * in_words * frames);
		return 2;
	}
#ifdef BITLOOP_VCD
	auto trace = std::make_unique<VerilatedVcdC>();
	context->traceEverOn(true);
	top->trace(trace.get(), 99);
	trace->set_time_resolution("1ns");  // 10 a cycle, as of 100 MHz
	trace->open(options["vcd"].c_str());
#define DUMP() trace->dump(context->time())
#else
#define DUMP()
#endif
	auto evaluate = [&](int ns) {
		top->eval();
		context->timeInc(ns);
		DUMP();
	};
	auto rise = [&] {
		top->ap_clk = 1;
		evaluate(4);
	};
	auto fall = [&] {
		top->ap_clk = 0;  // nothing happens then: what comes from outside next can be evaluated with it
#ifdef BITLOOP_VCD
		evaluate(5);
#endif
	};
	// what comes from outside comes a little behind a falling edge: what moves is what a waveform shows at a rising edge
	auto settle = [&] { evaluate(1); };

	top->ap_clk = 0;
	top->ap_rst_n = 0;
	top->counting = top->in_valid = top->out_ready = 0;
	top->recording = !record_folder.empty();  // borders of padding come as soon as the reset ends
	for(int i = 0; i < 20; i++) {  // FINN's DSP units want 100 ns before they take anything
		settle();
		rise();
		fall();
		if(i == 15)  top->ap_rst_n = 1;
	}

	Random random{number("seed") * 2 + 88172645463325253ull};
	std::vector<uint64_t> in_first(frames), in_last(frames), out_first(frames), out_last(frames);
	uint64_t cycle = 0, idle = 0, read = 0, told = 0, surplus = 0, counted = 0;
	const uint64_t offered = options["refill"] == "1"? UINT64_MAX : frames * in_words;
	const char* end = "done";
	bool held = false;
	while(told < frames * out_words) {
		if(!held) {
			bool due = !pace || cycle * in_words >= read * pace;
			top->in_valid = read < offered && due && !random.below(gaps);
			if(top->in_valid)  memcpy(&top->in_data, &in[read % (frames * in_words) * IN], IN * 4);
		}
		top->out_ready = !random.below(pressure);
		// of several frames the interval before the last one is counted, of one everything
		top->counting = frames == 1 || told >= (frames - 1) * out_words;
		counted += top->counting;
		settle();
		const bool takes = top->in_valid && top->in_ready, tells = top->out_valid && top->out_ready;
		held = top->in_valid && !takes;
		if(takes) {
			if(read < frames * in_words) {
				if(read % in_words == 0)  in_first[read / in_words] = cycle;
				in_last[read / in_words] = cycle;
			}
			read++;
		}
		if(tells) {
			fwrite(&top->out_data, 4, OUT, out);
			if(told % out_words == 0)  out_first[told / out_words] = cycle;
			out_last[told / out_words] = cycle;
			told++;
		}
		idle = top->moving? 0 : idle + 1;
		rise();
		fall();
		cycle++;
		if(context->gotFinish()) {
			end = "finished";
			break;
		}
		if(idle > idle_limit) {
			end = "deadlock";
			break;
		}
		if(most_cycles && cycle > most_cycles) {
			end = "too long";
			break;
		}
	}
	top->counting = top->recording = 0;
	if(!strcmp(end, "done") && offered == frames * in_words) {  // nothing more may come
		top->in_valid = 0;
		top->out_ready = 1;
		for(int i = 0; i < 200; i++) {
			settle();
			surplus += top->out_valid;
			rise();
			fall();
		}
	}
	else if(strcmp(end, "done")) {  // the state in which everything waits: what the host wants, and what it would give
		top->in_valid = read < offered;
		top->out_ready = 1;
		top->eval();
	}
	top->final();
#ifdef BITLOOP_VCD
	trace->close();
#endif
	fclose(out);
	for(FILE* file : records)  if(file)  fclose(file);

	FILE* report = fopen(options["report"].c_str(), "w");
	if(!report)  return 2;
	auto list = [&](const char* name, const std::vector<uint64_t>& values) {
		fprintf(report, "\"%s\": [", name);
		for(size_t i = 0; i < values.size(); i++)  fprintf(report, "%s%" PRIu64, i? ", " : "", values[i]);
		fprintf(report, "],\n");
	};
	fprintf(report, "{\"end\": \"%s\", \"cycles\": %" PRIu64 ", \"read\": %" PRIu64 ", \"told\": %" PRIu64 ", \"surplus\": %" PRIu64
		", \"counted\": %" PRIu64 ",\n", end, cycle, read, told, surplus, counted);
	list("in_first", in_first);
	list("in_last", in_last);
	list("out_first", out_first);
	list("out_last", out_last);
	fprintf(report, "\"streams\": [");
	const char* comma = "";
	for(const auto& [id, s] : streams) {
		fprintf(report, "%s[%d, %" PRId64 ", %" PRId64 ", %" PRId64 ", %d, %d]", comma, id, s.words, s.stalled, s.starved, s.valid, s.ready);
		comma = ", ";
	}
	fprintf(report, "],\n\"nodes\": [");
	comma = "";
	for(const auto& [id, s] : nodes) {
		fprintf(report, "%s[%d, %" PRId64 ", %" PRId64 "]", comma, id, s.first, s.second);
		comma = ", ";
	}
	fprintf(report, "],\n\"filled\": [");
	comma = "";
	for(const auto& [id, most] : filled) {
		fprintf(report, "%s[%d, %d]", comma, id, most);
		comma = ", ";
	}
	fprintf(report, "]}\n");
	fclose(report);
	return 0;
}
