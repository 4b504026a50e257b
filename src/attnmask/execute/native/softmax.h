// The softmax of a tile: where runs are cut out, exactly.
#pragma once

#include <cmath>
#include <limits>

#include "operands.h"

namespace attnmask {

constexpr float NEVER = -std::numeric_limits<float>::infinity();

// The running softmax of a row.
struct RowSum {
  float greatest = NEVER, sum = 0;
};

// The scores of one row that belong to no pair become NEVER, those outside [a, b) are left; returns [a, b), which are
// whole vectors. The row has room for that.
inline std::pair<int64_t, int64_t> cut(float* scores, const Stretch& keys, const RowRuns& runs, int64_t row) {
  int64_t a = 0, b = keys.count();
  if (!keys.full) {
    int64_t run = runs.run_after(row, keys.from), end = runs.indptr[row + 1];
    if (run == end || runs.starts[run] >= keys.to) return {0, 0};
    a = b = std::max<int64_t>(runs.starts[run] - keys.from, 0) / LANES * LANES;
    for (; run < end && runs.starts[run] < keys.to; run++) {
      fill(scores + b, runs.starts[run] - keys.from - b, NEVER);
      b = std::min<int64_t>(runs.stops[run], keys.to) - keys.from;
    }
  }
  int64_t filled = rounded_up(b, LANES);
  fill(scores + b, filled - b, NEVER);
  return {a, filled};
}

// Scores [a, b) of one row -> weights against the greatest score so far, 0 elsewhere up to count; returns the factor
// for what was summed before.
template <typename T>
float exponentials(const float* scores, int64_t a, int64_t b, int64_t count, float scale, T* weights, RowSum& so_far) {
  Floats tops = all(so_far.greatest), totals{};
  for (int64_t j = a; j < b; j += LANES) {
    Floats score = load(scores + j);
    tops = tops < score ? score : tops;
  }
  float top = greatest_of(tops);
  for (int64_t j = a; j < b; j += LANES) {
    Floats weight = exp_of<T>((load(scores + j) - top) * scale);  // exactly 1 for the greatest
    totals += weight;
    store(weight, weights + j);
  }
  std::fill(weights, weights + a, T(0));
  std::fill(weights + b, weights + std::max(b, count), T(0));
  float factor = top == so_far.greatest ? 1.0f : exp_of_one<T>((so_far.greatest - top) * scale);
  so_far.greatest = top;
  so_far.sum = so_far.sum * factor + sum_of(totals);
  return factor;
}

// Transposed scores of one stretch, (keys, lanes): those that belong to no pair become NEVER.
inline void cut_columns(float* scores, const Stretch& keys, const RowRuns& runs, const Tile& tile, int64_t lanes) {
  constexpr int64_t GROUPS = TILE_ROWS / LANES;
  Lanes turns[(BLOCK + 1) * GROUPS] = {}, forbidden[GROUPS];  // rows that begin or end a run at a key
  for (int64_t i = 0; i < tile.rows; i++) {
    int64_t row = tile.row + i;
    const auto turn = [&](int64_t key) { turns[(key - keys.from) * GROUPS + i / LANES] ^= Lanes(1 << i % LANES); };
    for (int64_t run = runs.run_after(row, keys.from); run < runs.indptr[row + 1] && runs.starts[run] < keys.to; run++) {
      turn(std::max<int64_t>(runs.starts[run], keys.from));
      turn(std::min<int64_t>(runs.stops[run], keys.to));
    }
  }
  std::fill_n(forbidden, GROUPS, Lanes(-1));
  for (int64_t j = 0; j < keys.count(); j++)
    for (int64_t group = 0; group < lanes / LANES; group++) {
      forbidden[group] ^= turns[j * GROUPS + group];
      if (forbidden[group]) fill(scores + j * lanes + group * LANES, forbidden[group], NEVER);
    }
}

}  // namespace attnmask
