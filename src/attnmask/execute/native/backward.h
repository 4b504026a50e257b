// Gradients of one tile, from the output and log-sum-exp over all keys: each tile's share is exact on its own.
//
// Everything is transposed, keys x rows, so that rows lie side by side and what belongs to a row is a vector.
#pragma once

#include "forward.h"

namespace attnmask {

template <typename T>
struct Backward {
  Heads<const T> q, k, v, out, grad_out;
  const T* k_columns;         // keys as left factors
  int64_t k_columns_of_head;  // elements
  const float *lse, *grad_lse;  // (B, H, Q)
  int64_t kv_heads, D;
  Changes changes;
  Heads<T> grad_q;
  Heads<float> grad_bias;  // of no data where it is not asked for

  const T* k_at(const Place& at, int64_t key) const {
    return k_columns + (at.b * kv_heads + at.kv_head) * k_columns_of_head + in_blocks(key, D, 1);
  }
};

// The rows of a tile, with zeros up to the lanes, as right factors of products over rows and over columns.
template <typename T>
struct TileRows {
  std::vector<T> by_row, by_column;

  explicit TileRows(int64_t D) : by_row(TILE_ROWS * D), by_column(TILE_ROWS * D) {}

  void load(const Heads<const T>& x, const Place& at, int64_t lanes, int64_t D, const float* minus_lse) {
    constexpr int64_t P = ROWS_OF_WORD<T>;
    interleave(x.at(at.b, at.h, at.tile->row), x.row, at.tile->rows, D, by_row.data());
    std::fill(by_row.begin() + rounded_up(at.tile->rows, P) * D, by_row.begin() + lanes * D, T(0));
    // A row without a key may hold NaN, which its weights of 0 would not keep from the gradients of the keys.
    for (int64_t i = 0; i < at.tile->rows; i++)
      if (!(minus_lse[i] > NEVER))
        for (int64_t d = 0; d < D; d++) by_row[i / P * P * D + d * P + i % P] = T(0);
    for (int64_t i = 0; i < lanes; i++)
      for (int64_t d = 0; d < D; d++)
        by_column[d / P * P * lanes + i * P + d % P] = by_row[i / P * P * D + d * P + i % P];
  }
};

template <typename T>
struct BackwardScratch {
  std::vector<float> scores, slopes, sums, key_sums;
  std::vector<T> half_weights, half_slopes, right_slopes;
  TileRows<T> q, grad;
  Check check;

  explicit BackwardScratch(int64_t D)
      : scores(TILE_ROWS * BLOCK), slopes(TILE_ROWS * BLOCK), sums(TILE_ROWS * D), q(D), grad(D) {
    if constexpr (sizeof(T) < sizeof(float))
      for (auto* half : {&half_weights, &half_slopes, &right_slopes}) half->resize(scores.size());
  }
};

// Scores and slopes of the weights, (keys, lanes) -> weights and slopes of the scores, as left and right factors.
template <typename T>
struct Factors {
  T *weights, *slopes, *right_slopes;
};

template <typename T>
Factors<T> slopes_of_scores(BackwardScratch<T>& s, int64_t count, int64_t lanes, const float* minus_lse,
                            const float* delta, float scale) {
  constexpr int64_t P = ROWS_OF_WORD<T>;
  T *weights, *slopes, *right;
  if constexpr (P == 1) weights = s.scores.data(), slopes = right = s.slopes.data();
  else weights = s.half_weights.data(), slopes = s.half_slopes.data(), right = s.right_slopes.data();
  for (int64_t j = 0; j < count; j++)
    for (int64_t i = 0; i < lanes; i += LANES) {
      int64_t at = j * lanes + i;
      Floats weight = exp_of<T>(load(&s.scores[at]) * scale + load(minus_lse + i));
      Floats slope = weight * scale * (load(&s.slopes[at]) - load(delta + i));
      store(weight, weights + at);
      store(slope, slopes + at);
    }
  if constexpr (P > 1) interleave<T>(slopes, lanes, count, lanes, right);
  return {weights, slopes, right};
}

// Scores become capped; slopes of the weights, what is left of them but for the weight and the scale.
template <typename T>
void change_columns(const Changes& changes, BackwardScratch<T>& s, const Stretch& keys, int64_t lanes,
                    const uint32_t* coins, const float* delta) {
  for (int64_t j = 0; j < keys.count(); j++)
    for (int64_t i = 0; i < lanes; i += LANES) {
      float *score = &s.scores[j * lanes + i], *slope = &s.slopes[j * lanes + i];
      Floats change = all(1.0f), kept = all(1.0f);
      if (changes.dropout != 0) kept = changes.factor_of_key(coins + i, keys.from + j);
      if (changes.softcap != 0) {
        Floats tanh = changes.tanh_of_score(load(score));
        store(tanh * (changes.softcap / changes.scale), score);
        change = 1.0f - tanh * tanh;
      }
      store((load(slope) * kept - load(delta + i)) * change, slope);
    }
}

template <typename T>
void drop_columns(const Changes& changes, T* weights, const Stretch& keys, int64_t lanes, const uint32_t* coins) {
  if (changes.dropout == 0) return;
  for (int64_t j = 0; j < keys.count(); j++)
    for (int64_t i = 0; i < lanes; i += LANES) {
      T* weight = weights + j * lanes + i;
      store(load(weight) * changes.factor_of_key(coins + i, keys.from + j), weight);
    }
}

// Slopes of the scores, (keys, lanes), are those of the biases but for the scale.
template <typename T>
void add_slopes(const Backward<T>& p, const Place& at, const Stretch& keys, const T* slopes, int64_t lanes) {
  for (int64_t i = 0; i < at.tile->rows; i++) {
    float* grad = p.grad_bias.at(at.b, at.h, at.tile->row + i) + keys.from;
    for (int64_t j = 0; j < keys.count(); j++) grad[j] += static_cast<float>(slopes[j * lanes + i]) / p.changes.scale;
  }
}

// Adds to the gradients of keys and values (keys, D) of one key head, writes those of the queries.
template <typename T>
void backward_tile(const Backward<T>& p, const Place& at, float* grad_k, float* grad_v, BackwardScratch<T>& s) {
  const Tile& tile = *at.tile;
  int64_t D = p.D, lanes = rounded_up(tile.rows, LANES), place = p.changes.place(at.b, at.h, tile.row);
  float minus_lse[TILE_ROWS], delta[TILE_ROWS], zeros[TILE_ROWS] = {};
  uint32_t coins[TILE_ROWS];
  for (int64_t i = 0; i < lanes; i++) {
    int64_t row = tile.row + i;
    bool attends = i < tile.rows && p.lse[place + i] > NEVER;
    minus_lse[i] = attends ? -p.lse[place + i] : NEVER;
    delta[i] = attends ? dot(p.out.at(at.b, at.h, row), p.grad_out.at(at.b, at.h, row), D) - p.grad_lse[place + i] : 0;
    s.check.add(delta[i]);
  }
  p.changes.coins_of_rows(place, lanes, coins);
  bool summed = !tile.stretches.empty();
  if (summed) s.q.load(p.q, at, lanes, D, minus_lse), s.grad.load(p.grad_out, at, lanes, D, minus_lse);
  bool add = false;
  for (const Stretch& keys : tile.stretches) {
    int64_t count = keys.count();
    const T *k = p.k.at(at.b, at.kv_head, keys.from), *v = p.v.at(at.b, at.kv_head, keys.from);
    multiply<T>(count, lanes, D, k, p.k.row, s.q.by_column.data(), lanes, false, s.scores.data(), lanes);
    multiply<T>(count, lanes, D, v, p.v.row, s.grad.by_column.data(), lanes, false, s.slopes.data(), lanes);
    bool changed = p.changes.any();
    if (changed) change_columns(p.changes, s, keys, lanes, coins, delta);
    for (int64_t i = 0; i < tile.rows; i++)
      p.changes.add_bias(&s.scores[i], count, at.b, at.h, tile.row + i, keys.from, lanes);
    if (!keys.full) cut_columns(s.scores.data(), keys, *at.runs, tile, lanes);
    Factors<T> f = slopes_of_scores(s, count, lanes, minus_lse, changed ? zeros : delta, p.changes.scale);
    drop_columns(p.changes, f.weights, keys, lanes, coins);
    if (p.grad_bias.data) add_slopes(p, at, keys, f.slopes, lanes);
    multiply<T>(count, D, lanes, f.weights, lanes, s.grad.by_row.data(), D, true, grad_v + keys.from * D, D);
    multiply<T>(count, D, lanes, f.slopes, lanes, s.q.by_row.data(), D, true, grad_k + keys.from * D, D);
    multiply<T>(D, lanes, rounded_up(count, ROWS_OF_WORD<T>), p.k_at(at, keys.from), BLOCK, f.right_slopes, lanes, add,
                s.sums.data(), lanes);
    add = true;
  }
  for (int64_t i = 0; i < tile.rows; i++)
    for (int64_t d = 0; d < D; d++)
      p.grad_q.at(at.b, at.h, tile.row + i)[d] = static_cast<T>(summed ? s.sums[d * lanes + i] : 0.0f);
}

// Gradients of keys and values, in so many parts that add up afterwards. Sums are in float32: in tensors of it, or
// where nothing is to be added up and gradients are shorter, in each thread's own.
template <typename T>
struct KeyGradients {
  int64_t parts, size;
  bool summed_apart;
  Tensor tensors;  // (2, parts, B, Hkv, K, D)

  KeyGradients(const Tensor& k, int64_t parts)
      : parts(parts), size(k.size(2) * k.size(3)), summed_apart(parts == 1 && sizeof(T) < sizeof(float)) {
    auto type = summed_apart ? k.scalar_type() : at::kFloat;
    tensors = at::empty({2, parts, k.size(0), k.size(1), k.size(2), k.size(3)}, k.options().dtype(type));
  }

  // Calls add(grad_k, grad_v) with zeros, for one part of one key head of one item.
  template <typename Add>
  void of_head(int64_t part, int64_t b, int64_t kv_head, BackwardScratch<T>& scratch, const Add& add) {
    int64_t place = ((part * tensors.size(2) + b) * tensors.size(3) + kv_head) * size;
    if (summed_apart) scratch.key_sums.resize(2 * size);
    float* grad_k = summed_apart ? scratch.key_sums.data() : tensors.mutable_data_ptr<float>() + place;
    float* grad_v = summed_apart ? grad_k + size : grad_k + tensors.stride(0);
    std::fill_n(grad_k, size, 0.0f);
    std::fill_n(grad_v, size, 0.0f);
    add(grad_k, grad_v);
    if (!summed_apart) return;
    T* to = tensors.mutable_data_ptr<T>() + place;
    std::copy_n(grad_k, size, to);
    std::copy_n(grad_v, size, to + tensors.stride(0));
  }

  Tensor total(int64_t of, at::ScalarType type) const {
    return (parts > 1 ? tensors[of].sum(0) : tensors[of][0]).to(type);
  }
};

}  // namespace attnmask
