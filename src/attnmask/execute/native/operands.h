// Tensors as the small matrix products want them.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include "runs.h"

namespace attnmask {

using at::Tensor;

// The right factor of a product has so many consecutive rows interleaved: a 32-bit word holds a column of them.
template <typename T>
constexpr int64_t ROWS_OF_WORD = sizeof(uint32_t) / sizeof(T);

// c (m, n) of row stride n, or c_row: a (m, k) times b (k, n), added to what is there or written over it.
template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, bool add, float* c,
              int64_t c_row) {
  at::native::cpublas::brgemm(m, n, k, a_row, b_row, c_row, add, a, b, c, ROWS_OF_WORD<T> > 1);
}

// (B, H, L, D) with any strides but the last, which is 1.
template <typename T>
struct Heads {
  T* data;
  int64_t batch, head, row;

  T* at(int64_t b, int64_t h, int64_t l) const { return data + b * batch + h * head + l * row; }
};

template <typename T>
Heads<const T> read(const Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

template <typename T>
Heads<T> write(Tensor& x) {
  return {x.mutable_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

// Rows that are whole words side by side; a copy where they are not.
inline Tensor with_rows(const Tensor& x) {
  bool whole = x.stride(3) == 1 && x.stride(2) >= x.size(3);
  for (int64_t axis = 0; axis < 3; axis++) whole = whole && x.stride(axis) * x.element_size() % sizeof(uint32_t) == 0;
  return whole && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % sizeof(uint32_t) == 0 ? x : x.contiguous();
}

// Laid out as (B, L, H, D), so that joining the heads afterwards costs no copy.
inline Tensor with_rows_outermost(const Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options()).transpose(1, 2);
}

// Where a key stands in the transposed blocks of its head.
inline int64_t in_blocks(int64_t key, int64_t dim, int64_t of_word) {
  return key / BLOCK * BLOCK * dim + key % BLOCK * of_word;
}

// Keys transposed, (B, Hkv, blocks, D, BLOCK), word by word: words of 32 bits make a right factor, single elements a
// left one.
template <typename Word>
Tensor transposed_blocks(const Tensor& x) {
  int64_t heads = x.size(1), length = x.size(2), D = x.size(3), blocks = rounded_up(length, BLOCK) / BLOCK;
  int64_t of_word = sizeof(Word) / x.element_size(), words = D / of_word;
  Tensor out = at::empty({x.size(0), heads, blocks, D, BLOCK}, x.options());
  Heads<const Word> from{static_cast<const Word*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
  Word* to = static_cast<Word*>(out.mutable_data_ptr());
  at::parallel_for(0, x.size(0) * heads * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      int64_t b = i / blocks / heads, h = i / blocks % heads, first = i % blocks * BLOCK;
      int64_t count = std::min(BLOCK, length - first), whole = count / LANES * LANES;
      const auto word = [&](int64_t j, int64_t w) {
        return from.data[(b * from.batch + h * from.head + (first + j) * from.row) / of_word + w];
      };
      Word* block = to + i * words * BLOCK;
      for (int64_t j = 0; j < whole; j += LANES)
        for (int64_t w = 0; w < words; w++)
          for (int64_t lane = j; lane < j + LANES; lane++) block[w * BLOCK + lane] = word(lane, w);
      for (int64_t w = 0; w < words; w++)
        for (int64_t j = whole; j < std::min(rounded_up(count, 2), BLOCK); j++)
          block[w * BLOCK + j] = j < count ? word(j, w) : 0;
    }
  });
  return out;
}

// Rows as a right factor.
template <typename T>
void interleave(const T* from, int64_t row, int64_t rows, int64_t columns, T* to) {
  constexpr int64_t P = ROWS_OF_WORD<T>;
  for (int64_t i = 0; i < rounded_up(rows, P); i++)
    for (int64_t c = 0; c < columns; c++)
      to[i / P * P * columns + c * P + i % P] = i < rows ? from[i * row + c] : T(0);
}

// Values as a right factor, (B, Hkv, L, D).
template <typename T>
Tensor interleaved(const Tensor& x) {
  if (ROWS_OF_WORD<T> == 1) return x;
  int64_t heads = x.size(1), length = rounded_up(x.size(2), ROWS_OF_WORD<T>);
  Tensor out = at::empty({x.size(0), heads, length, x.size(3)}, x.options());
  Heads<const T> from = read<T>(x);
  Heads<T> to = write<T>(out);
  at::parallel_for(0, x.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
      interleave(from.at(i / heads, i % heads, 0), from.row, x.size(2), x.size(3), to.at(i / heads, i % heads, 0));
  });
  return out;
}

}  // namespace attnmask
