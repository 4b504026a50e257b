// What models do to their scores before the softmax, and to their weights behind it.
#pragma once

#include "vectors.h"

namespace attnmask {

// tanh(x), to 3 units in the last place: x P(x^2) / Q(x^2), fitted for relative error on [-9, 9], beyond which it is 1.
inline Floats tanh_of(Floats x) {
  x = x < -9.0f ? all(-9.0f) : x > 9.0f ? all(9.0f) : x;
  Floats u = x * x;
  Floats p = 1.33555780e-8f * u + 2.06098056e-5f;
  p = p * u + 3.49563459e-3f;
  p = p * u + 1.33810655e-1f;
  p = p * u + 9.99999979e-1f;
  Floats q = 7.77695197e-7f * u + 3.28570908e-4f;
  q = q * u + 2.58771614e-2f;
  q = q * u + 4.67143812e-1f;
  return x * p / (q * u + 1.0f);
}

// Spreads what is in a number over all its bits, so that a share of them decides like a coin.
template <typename Word>
inline Word mixed(Word x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

inline Words lanes_from(uint32_t first) {
  Words lanes;
  for (uint32_t i = 0; i < LANES; i++) lanes[i] = first + i;
  return lanes;
}

// What is added to the score of every pair, (B, H, Q, K) with any strides but the last, which is 1; null for nothing.
struct Bias {
  const float* data = nullptr;
  int64_t batch = 0, head = 0, row = 0;

  const float* at(int64_t b, int64_t h, int64_t q) const { return data + b * batch + h * head + q * row; }
};

struct Changes {
  float scale;    // of a score s,
  float softcap;  // which becomes softcap * tanh(scale * s / softcap) before the softmax, where that is not 0
  Bias bias;      // which is added then
  float dropout;  // share of the weights that become 0
  int64_t seed;   // of which ones
  int64_t heads, queries;

  bool any() const { return softcap != 0 || dropout != 0; }
  float kept() const { return 1 - dropout; }
  int64_t place(int64_t b, int64_t h, int64_t row) const { return (b * heads + h) * queries + row; }

  // Whether a pair is dropped depends on its place and the seed alone, so that the way back drops the same.
  uint32_t coin_of_row(uint64_t place) const {
    return mixed(uint32_t(seed) ^ mixed(uint32_t(seed >> 32) ^ mixed(uint32_t(place) ^ mixed(uint32_t(place >> 32)))));
  }
  // Of the lanes' rows; nothing asks for them where nothing is dropped.
  void coins_of_rows(int64_t place, int64_t lanes, uint32_t* coins) const {
    for (int64_t i = 0; i < lanes && dropout != 0; i++) coins[i] = coin_of_row(place + i);
  }
  // 1 where a weight is kept, 0 where it is dropped.
  Floats keeps(Words coins, Words keys) const {
    Words coin = mixed(coins ^ keys * 0x9e3779b9u) >> 8;  // what a float holds exactly
    return __builtin_convertvector(bits_of<Ints>(coin), Floats) < dropout * 0x1p24f ? Floats{} : all(1.0f);
  }

  // What a weight of one key and some rows becomes: more where it is kept, so that the mean stays.
  Floats factor_of_key(const uint32_t* coins, int64_t key) const {
    return keeps(load(coins), uint32_t(key) - Words{}) / kept();
  }

  Floats tanh_of_score(Floats score) const { return tanh_of(score * (scale / softcap)); }
  void cap(float* scores, int64_t n) const {
    if (softcap == 0) return;
    for (int64_t j = 0; j < n; j += LANES) store(tanh_of_score(load(scores + j)) * (softcap / scale), scores + j);
  }
  // Scores [0, n) of a row, for keys that count from `key`; `step` apart.
  void add_bias(float* scores, int64_t n, int64_t b, int64_t h, int64_t row, int64_t key, int64_t step = 1) const {
    if (!bias.data) return;
    const float* from = bias.at(b, h, row) + key;
    for (int64_t j = 0; j < n; j++) scores[j * step] += from[j] / scale;
  }
  // Weights [a, b) of the row at a place, for keys that count from `key`.
  template <typename T>
  void drop(T* weights, int64_t a, int64_t b, int64_t place, int64_t key) const {
    if (dropout == 0) return;
    Words coins = coin_of_row(place) - Words{};
    for (int64_t j = a; j < b; j += LANES)
      store(load(weights + j) * keeps(coins, lanes_from(uint32_t(key + j))), weights + j);
  }
};

}  // namespace attnmask
