// What models in hls/rtl compute in C++, as a compiler makes vector instructions of it.
#include "svdpi.h"

#include <cstdint>

// As many rows of a matrix, row by row in `weights`, times a vector as `sums` holds, from row `first` on; or, of values and
// weights of one bit, how many of them are alike.
extern "C" void bitloop_rows(
	const svOpenArrayHandle weights, const svOpenArrayHandle values, int first, svBit counts, const svOpenArrayHandle sums
) {
	const int columns = svSize(values, 1), rows = svSize(sums, 1);
	const int16_t* v = static_cast<const int16_t*>(svGetArrayPtr(values));
	const int16_t* w = static_cast<const int16_t*>(svGetArrayPtr(weights)) + static_cast<int64_t>(first) * columns;
	int32_t* found = static_cast<int32_t*>(svGetArrayPtr(sums));
	for(int row = 0; row < rows; row++, w += columns) {
		uint32_t sum = 0;
		if(counts)  for(int i = 0; i < columns; i++)  sum += v[i] == w[i];
		else  for(int i = 0; i < columns; i++)  sum += static_cast<uint32_t>(v[i] * w[i]);
		found[row] = static_cast<int32_t>(sum);
	}
}
