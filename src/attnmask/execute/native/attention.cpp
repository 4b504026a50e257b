// Attention over exactly the pairs of a set, in float32 or bfloat16 on a CPU, forward and backward.
//
// The set comes as runs of keys per query row (indptr, starts, stops). Rows are taken in tiles; a tile visits only the
// stretches of keys that some row of it attends to. Products are torch's own small matrix products (brgemm); between
// them stands the softmax, which is where runs are cut out exactly. No array of queries x keys is ever formed.
//
// Whatever is handed back with "finite" false may hold a NaN that a masked-out key or value brought in.
#include <torch/library.h>

#include <atomic>
#include <tuple>

#include "backward.h"

namespace attnmask {

// Calls work(scratch, i) for every i, on as many threads as torch uses, each with a scratch of its own.
template <typename Scratch, typename Work>
bool in_parallel(int64_t count, int64_t D, bool words, const Work& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> finite{true};
  int64_t threads = std::min<int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; thread++) {
      Scratch scratch(D);
      for (int64_t i = next++; i < count; i = next++) work(scratch, i);
      if (!scratch.check.finite()) finite = false;
      at::native::cpublas::brgemm_release(words);
    }
  });
  return finite;
}

template <typename T>
bool all_finite(const Heads<const T>& x, int64_t heads, int64_t kv_heads, int64_t rows, int64_t D) {
  std::atomic<bool> finite{true};
  at::parallel_for(0, heads * rows, 1024, [&](int64_t begin, int64_t end) {
    Check check;
    for (int64_t i = begin; i < end; i++) {
      const T* row = x.at(i / rows / kv_heads, i / rows % kv_heads, i % rows);
      int64_t d = 0;
      for (; d + LANES <= D; d += LANES) check.add(load(row + d));
      for (; d < D; d++) check.add(static_cast<float>(row[d]));
    }
    if (!check.finite()) finite = false;
  });
  return finite;
}

template <typename T>
std::tuple<Tensor, Tensor, bool> forward_of(const Tensor& q, const Tensor& k, const Tensor& v, const Set& set,
                                            const Changes& changes) {
  int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2), kv_heads = k.size(1);
  bool many = set.has_many_rows();
  Tensor k_blocks = many ? transposed_blocks<uint32_t>(k) : k, v_right = many ? interleaved<T>(v) : v;
  Tensor out = with_rows_outermost(q), lse = at::empty({batch, heads, queries}, q.options().dtype(at::kFloat));
  Forward<T> p{read<T>(q), read<T>(k), read<T>(v), k_blocks.const_data_ptr<T>(), k_blocks.stride(1), read<T>(v_right),
               kv_heads, q.size(3), changes, write<T>(out), lse.mutable_data_ptr<float>()};
  std::vector<Place> places;
  for (int64_t b = 0; b < batch; b++)
    for (int64_t h = 0; h < heads; h++)
      for (const Tile& tile : set.tiles[set.index(b, h)])
        places.push_back({b, h, h / (heads / kv_heads), &set.runs[set.index(b, h)], &tile});
  bool finite = in_parallel<ForwardScratch<T>>(places.size(), p.D, ROWS_OF_WORD<T> > 1, [&](auto& scratch, int64_t i) {
    forward_tile(p, places[i], scratch);
  });
  // An infinite key can leave no trace: its weight may have become 0.
  finite = finite && (!many || all_finite(p.k, batch * kv_heads, kv_heads, k.size(2), p.D));
  // Nor does an infinite query where scores are capped.
  finite = finite && (changes.softcap == 0 || all_finite(p.q, batch * heads, heads, queries, p.D));
  return {out, lse, finite};
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor, bool> backward_of(const Tensor& grad, const Tensor& q, const Tensor& k,
                                                     const Tensor& v, const Tensor& out, const Tensor& lse,
                                                     const Tensor& grad_lse, Tensor& grad_bias, const Set& set,
                                                     const Changes& changes) {
  int64_t batch = q.size(0), heads = q.size(1), kv_heads = k.size(1), D = q.size(3);
  using Word = std::conditional_t<sizeof(T) == sizeof(uint32_t), uint32_t, uint16_t>;
  Tensor k_columns = transposed_blocks<Word>(k), grad_q = with_rows_outermost(q);
  Backward<T> p{read<T>(q), read<T>(k), read<T>(v), read<T>(out), read<T>(grad), k_columns.const_data_ptr<T>(),
                k_columns.stride(1), lse.const_data_ptr<float>(), grad_lse.const_data_ptr<float>(), kv_heads, D,
                changes, write<T>(grad_q), grad_bias.numel() ? write<float>(grad_bias) : Heads<float>{}};
  // Heads of one key head add to the same gradients, so one thread has them all, and all items where they share their
  // biases' gradients; where key heads are few, each is cut into parts, which add up afterwards.
  bool items_apart = !p.grad_bias.data || p.grad_bias.batch > 0;
  int64_t owners = (items_apart ? batch : 1) * kv_heads, group = heads / kv_heads;
  int64_t parts = p.grad_bias.data ? 1 : std::max<int64_t>(1, at::get_num_threads() / owners);
  KeyGradients<T> sums(k, parts);
  const auto of_item = [&](auto& scratch, int64_t part, int64_t b, int64_t kv_head) {
    sums.of_head(part, b, kv_head, scratch, [&](float* grad_k, float* grad_v) {
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
        const std::vector<Tile>& tiles = set.tiles[set.index(b, h)];
        for (size_t t = part; t < tiles.size(); t += parts)
          backward_tile(p, {b, h, kv_head, &set.runs[set.index(b, h)], &tiles[t]}, grad_k, grad_v, scratch);
      }
    });
  };
  bool finite = in_parallel<BackwardScratch<T>>(owners * parts, D, ROWS_OF_WORD<T> > 1, [&](auto& scratch, int64_t i) {
    int64_t owner = i / parts, kv_head = owner % kv_heads, first = owner / kv_heads;
    for (int64_t b = first; b < (items_apart ? first + 1 : batch); b++) of_item(scratch, i % parts, b, kv_head);
  });
  // Tiles of few rows look at their own pairs alone when going forward, but not here.
  const auto all = [&](const auto& x) { return all_finite(x, batch * kv_heads, kv_heads, k.size(2), D); };
  finite = finite && all(p.k) && all(p.v);
  return {grad_q, sums.total(0, k.scalar_type()), sums.total(1, k.scalar_type()), finite};
}

// Whether PyTorch's small products take bfloat16 on this processor. Where they do not, they are of float32.
bool multiplies_bfloat16() {
  static const bool answer = [] {
    at::BFloat16 a[2] = {0, 0}, b[2] = {0, 0};
    float c[1];
    try {
      multiply<at::BFloat16>(1, 1, 2, a, 2, b, 1, false, c, 1);
    } catch (const std::exception&) {
      return false;
    }
    at::native::cpublas::brgemm_release(true);
    return true;
  }();
  return answer;
}

bool in_halves(const Tensor& x) { return x.scalar_type() == at::kBFloat16 && multiplies_bfloat16(); }

Tensor operand(const Tensor& x) { return with_rows(in_halves(x) ? x : x.to(at::kFloat)); }

Changes changes_of(const Tensor& q, const std::optional<Tensor>& bias, double scale, double softcap, double dropout,
                   int64_t seed) {
  Bias added;
  if (bias) added = {bias->const_data_ptr<float>(), bias->stride(0), bias->stride(1), bias->stride(2)};
  return {float(scale), float(softcap), added, float(dropout), seed, q.size(1), q.size(2)};
}

std::tuple<Tensor, Tensor, bool> forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                         const std::optional<Tensor>& bias, const Tensor& indptr, const Tensor& starts,
                                         const Tensor& stops, int64_t set_batch, double scale, double softcap,
                                         double dropout, int64_t seed) {
  Set set = set_of(indptr, starts, stops, set_batch, q.size(2), k.size(2));
  auto run = in_halves(q) ? forward_of<at::BFloat16> : forward_of<float>;
  Changes changes = changes_of(q, bias, scale, softcap, dropout, seed);
  auto [out, lse, finite] = run(operand(q), operand(k), operand(v), set, changes);
  return {out.to(q.scalar_type()), lse, finite};
}

// Adds to the gradient of the biases, if that has any elements.
std::tuple<Tensor, Tensor, Tensor, bool> backward(const Tensor& grad, const Tensor& grad_lse, const Tensor& q,
                                                  const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias,
                                                  const Tensor& out, const Tensor& lse, Tensor grad_bias,
                                                  const Tensor& indptr, const Tensor& starts, const Tensor& stops,
                                                  int64_t set_batch, double scale, double softcap, double dropout,
                                                  int64_t seed) {
  Set set = set_of(indptr, starts, stops, set_batch, q.size(2), k.size(2));
  auto run = in_halves(q) ? backward_of<at::BFloat16> : backward_of<float>;
  Changes changes = changes_of(q, bias, scale, softcap, dropout, seed);
  auto [grad_q, grad_k, grad_v, finite] = run(operand(grad), operand(q), operand(k), operand(v), operand(out), lse,
                                              grad_lse.contiguous(), grad_bias, set, changes);
  at::ScalarType type = q.scalar_type();
  return {grad_q.to(type), grad_k.to(type), grad_v.to(type), finite};
}

}  // namespace attnmask

TORCH_LIBRARY(attnmask, library) {
  library.def(
      "forward(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor indptr, Tensor starts, Tensor stops, int set_batch,"
      " float scale, float softcap, float dropout, int seed) -> (Tensor, Tensor, bool)",
      attnmask::forward);
  library.def(
      "backward(Tensor grad, Tensor grad_lse, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor out, Tensor lse,"
      " Tensor(a!) grad_bias, Tensor indptr, Tensor starts, Tensor stops, int set_batch, float scale, float softcap,"
      " float dropout, int seed) -> (Tensor, Tensor, Tensor, bool)",
      attnmask::backward);
}
