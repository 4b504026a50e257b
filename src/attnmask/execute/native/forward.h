// Output and log-sum-exp of one tile.
#pragma once

#include "changes.h"
#include "softmax.h"

namespace attnmask {

// One tile of one head, and the head of keys and values that it looks at.
struct Place {
  int64_t b, h, kv_head;
  const RowRuns* runs;
  const Tile* tile;
};

template <typename T>
struct Forward {
  Heads<const T> q, k, v;
  const T* k_blocks;         // keys as right factors
  int64_t k_blocks_of_head;  // elements
  Heads<const T> v_right;    // values as right factors
  int64_t kv_heads, D;
  Changes changes;
  Heads<T> out;
  float* lse;  // (B, H, Q)

  const T* k_at(const Place& at, int64_t key) const {
    return k_blocks + (at.b * kv_heads + at.kv_head) * k_blocks_of_head + in_blocks(key, D, ROWS_OF_WORD<T>);
  }
};

// Whether all that a thread saw was finite: 0 times anything else is not a number.
struct Check {
  Floats vectors{};
  float numbers = 0;

  void add(Floats x) { vectors += x * 0.0f; }
  void add(float x) { numbers += x * 0.0f; }
  bool finite() const { return sum_of(vectors) + numbers == 0; }
};

// What a thread works with.
template <typename T>
struct ForwardScratch {
  std::vector<float> scores, sums;
  std::vector<T> rows, half_weights;
  Check check;

  explicit ForwardScratch(int64_t D) : scores(TILE_ROWS * BLOCK), sums(TILE_ROWS * D), rows(TILE_ROWS * D) {
    if constexpr (sizeof(T) < sizeof(float)) half_weights.resize(scores.size());
  }
  // Weights take the place of the scores where they are of one size.
  T* weights() {
    if constexpr (sizeof(T) < sizeof(float)) return half_weights.data();
    else return scores.data();
  }
};

template <typename T>
void finish_row(const Forward<T>& p, const Place& at, int64_t i, const RowSum& total, const float* sums, Check& check) {
  int64_t row = at.tile->row + i, d = 0;
  T* out = p.out.at(at.b, at.h, row);
  float& lse = p.lse[p.changes.place(at.b, at.h, row)];
  if (at.runs->empty(row)) {
    std::fill_n(out, p.D, T(0));
    lse = NEVER;
    return;
  }
  lse = total.greatest * p.changes.scale + std::log(total.sum);
  check.add(lse);
  float factor = 1 / (total.sum * p.changes.kept());
  for (; d + LANES <= p.D; d += LANES) {
    Floats value = load(sums + d) * factor;
    check.add(value);
    store(value, out + d);
  }
  for (; d < p.D; d++) {
    check.add(sums[d] * factor);
    out[d] = static_cast<T>(sums[d] * factor);
  }
}

template <typename T>
void scale_by(T* x, int64_t n, float factor) {
  if (factor != 1.0f)
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

template <typename T>
void forward_many_rows(const Forward<T>& p, const Place& at, ForwardScratch<T>& s) {
  const Tile& tile = *at.tile;
  int64_t D = p.D, rows = rounded_up(tile.rows, 8);  // few sizes of products
  std::vector<RowSum> total(tile.rows);
  for (int64_t i = 0; i < rows; i++) {
    if (i < tile.rows) std::copy_n(p.q.at(at.b, at.h, tile.row + i), D, &s.rows[i * D]);
    else std::fill_n(&s.rows[i * D], D, T(0));
  }
  bool summed = false;
  for (const Stretch& keys : tile.stretches) {
    int64_t count = keys.count(), width = rounded_up(count, LANES);
    multiply<T>(rows, count, D, s.rows.data(), D, p.k_at(at, keys.from), BLOCK, false, s.scores.data(), width);
    p.changes.cap(s.scores.data(), rows * width);
    for (int64_t i = 0; i < tile.rows; i++) {
      float* scores = &s.scores[i * width];
      T* weights = s.weights() + i * width;
      p.changes.add_bias(scores, count, at.b, at.h, tile.row + i, keys.from);
      auto [a, b] = cut(scores, keys, *at.runs, tile.row + i);
      float factor = exponentials<T>(scores, a, b, width, p.changes.scale, weights, total[i]);
      p.changes.drop(weights, a, b, p.changes.place(at.b, at.h, tile.row + i), keys.from);
      if (summed) scale_by(&s.sums[i * D], D, factor);
    }
    multiply<T>(rows, D, rounded_up(count, ROWS_OF_WORD<T>), s.weights(), width,
                p.v_right.at(at.b, at.kv_head, keys.from), p.v_right.row, summed, s.sums.data(), D);
    summed = true;
  }
  for (int64_t i = 0; i < tile.rows; i++) finish_row(p, at, i, total[i], &s.sums[i * D], s.check);
}

template <typename T>
void add_scaled(const T* x, float factor, int64_t n, float* sums) {
  int64_t d = 0;
  for (; d + LANES <= n; d += LANES) store(load(sums + d) + load(x + d) * factor, sums + d);
  for (; d < n; d++) sums[d] += static_cast<float>(x[d]) * factor;
}

// A row by itself computes its own pairs alone, straight from the keys and values as they were given.
template <typename T>
void forward_row(const Forward<T>& p, const Place& at, int64_t i, ForwardScratch<T>& s) {
  int64_t row = at.tile->row + i, D = p.D;
  const T* q = p.q.at(at.b, at.h, row);
  float *scores = s.scores.data(), *sums = s.sums.data();
  RowSum total;
  std::fill_n(sums, D, 0.0f);
  for (int64_t run = at.runs->indptr[row]; run < at.runs->indptr[row + 1]; run++)
    for (int64_t from = at.runs->starts[run], to = 0; from < at.runs->stops[run]; from = to) {
      to = std::min<int64_t>(from + BLOCK, at.runs->stops[run]);
      for (int64_t j = 0; j < to - from; j++) {
        scores[j] = dot(q, p.k.at(at.b, at.kv_head, from + j), D);
        s.check.add(scores[j]);
      }
      p.changes.cap(scores, to - from);
      p.changes.add_bias(scores, to - from, at.b, at.h, row, from);
      auto [a, b] = cut(scores, {from, to, true}, *at.runs, row);
      scale_by(sums, D, exponentials<float>(scores, a, b, b, p.changes.scale, scores, total));
      p.changes.drop(scores, a, b, p.changes.place(at.b, at.h, row), from);
      for (int64_t j = 0; j < to - from; j++) add_scaled(p.v.at(at.b, at.kv_head, from + j), scores[j], D, sums);
    }
  finish_row(p, at, i, total, sums, s.check);
}

template <typename T>
void forward_tile(const Forward<T>& p, const Place& at, ForwardScratch<T>& s) {
  if (at.tile->rows > FEW_ROWS) return forward_many_rows(p, at, s);
  for (int64_t i = 0; i < at.tile->rows; i++) forward_row(p, at, i, s);
}

}  // namespace attnmask
