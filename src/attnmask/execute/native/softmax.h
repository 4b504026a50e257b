// The softmax of a tile: where runs are cut out, exactly.
#pragma once

#include <cmath>
#include <limits>

#include "operands.h"

namespace attnmask {

constexpr float NEVER = -std::numeric_limits<float>::infinity();

// exp(x) for x <= 0 and little above, to 2 units in the last place of a float, or well within one of a bfloat16; exactly
// 0 below -87. Written so that compilers vectorise it.
template <typename T>
__attribute__((always_inline)) inline float exp_of(float x) {
  float bounded = std::max(x, -87.0f);
  float n = std::nearbyint(bounded * 1.44269504088896341f);
  float p;
  if constexpr (sizeof(T) == sizeof(float)) {
    float f = std::fma(n, -1.42860682030941723212e-6f, std::fma(n, -0.693145751953125f, bounded));
    p = std::fma(1.9875691500e-4f, f, 1.3981999507e-3f);
    p = std::fma(p, f, 8.3334519073e-3f);
    p = std::fma(p, f, 4.1665795894e-2f);
    p = std::fma(p, f, 1.6666665459e-1f);
    p = std::fma(p, f, 5.0000001201e-1f);
    p = std::fma(p * f, f, f) + 1.0f;
  } else {
    float f = std::fma(n, -0.693147180559945f, bounded);
    p = std::fma(4.1666668e-2f, f, 1.6666667e-1f);
    p = std::fma(p, f, 5.0000000e-1f);
    p = std::fma(p, f, 1.0f);
    p = std::fma(p, f, 1.0f);
  }
  int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &exponent, sizeof(power));
  return x < -87.0f ? 0.0f : p * power;
}

// The running softmax of a row.
struct RowSum {
  float greatest = NEVER, sum = 0;
};

// The scores of one row that belong to no pair become NEVER, those outside [a, b) are left; returns [a, b).
inline std::pair<int64_t, int64_t> cut(float* scores, const Stretch& keys, const RowRuns& runs, int64_t row) {
  if (keys.full) return {0, keys.count()};
  int64_t run = runs.run_after(row, keys.from), end = runs.indptr[row + 1];
  if (run == end || runs.starts[run] >= keys.to) return {0, 0};
  int64_t a = std::max<int64_t>(runs.starts[run] - keys.from, 0), b = a;
  for (; run < end && runs.starts[run] < keys.to; run++) {
    std::fill(scores + b, scores + std::max<int64_t>(runs.starts[run] - keys.from, b), NEVER);
    b = std::min<int64_t>(runs.stops[run], keys.to) - keys.from;
  }
  return {a, b};
}

// Scores [a, b) of one row -> weights against the greatest score so far, 0 elsewhere up to count; returns the factor
// for what was summed before.
template <typename T>
float exponentials(const float* scores, int64_t a, int64_t b, int64_t count, float scale, T* weights, RowSum& so_far) {
  float top = so_far.greatest, total = 0;
#pragma omp simd reduction(max : top)
  for (int64_t j = a; j < b; j++) top = std::max(top, scores[j]);
#pragma omp simd reduction(+ : total)
  for (int64_t j = a; j < b; j++) {
    float weight = exp_of<T>((scores[j] - top) * scale);  // exactly 1 for the greatest
    total += weight;
    store(weight, weights[j]);
  }
  std::fill(weights, weights + a, T(0));
  std::fill(weights + b, weights + count, T(0));
  float factor = top == so_far.greatest ? 1.0f : exp_of<T>((so_far.greatest - top) * scale);
  so_far.greatest = top;
  so_far.sum = so_far.sum * factor + total;
  return factor;
}

// Transposed scores of one stretch, (keys, lanes): those that belong to no pair become NEVER.
inline void cut_columns(float* scores, const Stretch& keys, const RowRuns& runs, const Tile& tile, int64_t lanes) {
  for (int64_t i = 0; i < tile.rows; i++) {
    int64_t row = tile.row + i, run = runs.run_after(row, keys.from), done = 0;
    const auto forbid = [&](int64_t end) {
      for (int64_t j = done; j < end; j++) scores[j * lanes + i] = NEVER;
    };
    for (; run < runs.indptr[row + 1] && runs.starts[run] < keys.to; run++) {
      forbid(runs.starts[run] - keys.from);
      done = std::min<int64_t>(runs.stops[run], keys.to) - keys.from;
    }
    forbid(keys.count());
  }
}

}  // namespace attnmask
