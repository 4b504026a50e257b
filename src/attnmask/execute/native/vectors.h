// Sixteen numbers at a time, in the vector extensions that GCC and Clang share.
#pragma once

#include <ATen/ATen.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <cstring>

namespace attnmask {

constexpr int64_t LANES = 16;
typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));

template <typename To, typename From>
inline To bits_of(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

inline Floats all(float x) { return x - Floats{}; }

inline Floats load(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

inline Words load(const uint32_t* from) {
  Words x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

inline Floats load(const at::BFloat16* from) {
  Halves x;
  std::memcpy(&x, from, sizeof(x));
  return bits_of<Floats>(__builtin_convertvector(x, Words) << 16);
}

inline void store(Floats x, float* to) { std::memcpy(to, &x, sizeof(x)); }

// To the nearest, ties to even.
inline void store(Floats x, at::BFloat16* to) {
  Words bits = bits_of<Words>(x);
  Halves rounded = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
  std::memcpy(to, &rounded, sizeof(rounded));
}

// One bit a lane.
typedef uint16_t Lanes;

inline void fill(float* x, Lanes where, float value) {
#ifdef __AVX512F__
  _mm512_mask_storeu_ps(x, where, _mm512_set1_ps(value));
#else
  for (int64_t i = 0; i < LANES; i++)
    if (where >> i & 1) x[i] = value;
#endif
}

// Fills x[0, n): gaps between runs are mostly shorter than a vector.
inline void fill(float* x, int64_t n, float value) {
  for (; n > 0; x += LANES, n -= LANES) fill(x, Lanes(n < LANES ? (1 << n) - 1 : -1), value);
}

// Folds the lanes in halves.
template <typename Fold>
inline float folded(Floats x, const Fold& fold) {
  float lanes[LANES];
  store(x, lanes);
  for (int64_t half = LANES / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; i++) lanes[i] = fold(lanes[i], lanes[i + half]);
  return lanes[0];
}

inline float sum_of(Floats x) {
  return folded(x, [](float a, float b) { return a + b; });
}
inline float greatest_of(Floats x) {
  return folded(x, [](float a, float b) { return a < b ? b : a; });
}

// exp(x) for x <= 0 and little above, to 2 units in the last place of a float, or well within one of a bfloat16;
// exactly 0 below -87. T is what the result is for.
template <typename T>
inline Floats exp_of(Floats x) {
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2**23: added, it leaves a whole number in the lowest bits
  Floats bounded = x < -87.0f ? all(-87.0f) : x;
  Floats shifted = bounded * 1.44269504088896341f + ROUND, n = shifted - ROUND, f, p;
  if constexpr (sizeof(T) == sizeof(float)) {
    f = bounded - n * 0.693145751953125f - n * 1.42860682030941723212e-6f;
    p = 1.9875691500e-4f * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
  } else {
    f = bounded - n * 0.693147180559945f;
    p = 4.1666668e-2f * f + 1.6666667e-1f;
    p = p * f + 5.0000000e-1f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
  }
  Floats power = bits_of<Floats>((bits_of<Words>(shifted) + 127) << 23);
  return x < -87.0f ? Floats{} : p * power;
}

template <typename T>
inline float exp_of_one(float x) {
  return exp_of<T>(all(x))[0];
}

template <typename T>
inline float dot(const T* a, const T* b, int64_t n) {
  Floats sum{};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) sum += load(a + i) * load(b + i);
  float rest = 0;
  for (; i < n; i++) rest += static_cast<float>(a[i]) * static_cast<float>(b[i]);
  return sum_of(sum) + rest;
}

}  // namespace attnmask
