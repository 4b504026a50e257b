// The set of allowed pairs, as runs of keys per query row, and how it is cut into tiles.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace attnmask {

constexpr int64_t TILE_ROWS = 64;   // queries of a tile, at most
constexpr int64_t BLOCK = 512;      // keys of one product, at most; keys are transposed in blocks of it
constexpr int64_t STEP = 32;        // stretches begin at multiples of it: few shapes, few generated kernels
constexpr int64_t FEW_ROWS = 4;     // so few rows are computed one by one: nothing has to be transposed for them

inline int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// The runs of the query rows of one (batch, head): sorted, disjoint, not touching.
struct RowRuns {
  const int32_t *indptr, *starts, *stops;

  bool empty(int64_t row) const { return indptr[row] == indptr[row + 1]; }
  int64_t first(int64_t row) const { return starts[indptr[row]]; }
  int64_t last(int64_t row) const { return stops[indptr[row + 1] - 1]; }
  // The first run of a row that ends after a key.
  int64_t run_after(int64_t row, int64_t key) const {
    return std::upper_bound(stops + indptr[row], stops + indptr[row + 1], key) - stops;
  }
};

// Keys that a tile visits at once, never across two blocks; full if every row of the tile attends to all of them.
struct Stretch {
  int64_t from, to;
  bool full;

  int64_t count() const { return to - from; }
};

struct Tile {
  int64_t row, rows;
  std::vector<Stretch> stretches;
};

// The runs and tiles of every (batch, head); one of an axis where the set is the same for all.
struct Set {
  int64_t batch, heads;
  std::vector<RowRuns> runs;
  std::vector<std::vector<Tile>> tiles;

  size_t index(int64_t b, int64_t h) const { return (batch > 1 ? b : 0) * heads + (heads > 1 ? h : 0); }
  bool has_many_rows() const {
    for (const auto& of_head : tiles)
      for (const Tile& tile : of_head)
        if (tile.rows > FEW_ROWS && !tile.stretches.empty()) return true;
    return false;
  }
};

inline bool attends_to_all(const RowRuns& runs, int64_t row, const Stretch& keys) {
  int64_t run = runs.run_after(row, keys.from);
  return run < runs.indptr[row + 1] && runs.starts[run] <= keys.from && runs.stops[run] >= keys.to;
}

inline std::vector<Stretch> stretches_of(const RowRuns& runs, int64_t row, int64_t end, int64_t keys) {
  int64_t least = keys, most = 0;
  for (int64_t r = row; r < end; r++) {
    if (runs.empty(r)) continue;
    least = std::min(least, runs.first(r));
    most = std::max(most, runs.last(r));
  }
  if (least >= most) return {};
  // How many more runs cover each step of keys than the one before.
  int64_t base = least / STEP, steps = (most - 1) / STEP - base + 1;
  std::vector<int32_t> change(steps + 1, 0);
  for (int64_t run = runs.indptr[row]; run < runs.indptr[end]; run++) {
    change[runs.starts[run] / STEP - base]++;
    change[(runs.stops[run] - 1) / STEP - base + 1]--;
  }
  std::vector<Stretch> found;
  int32_t depth = 0;
  for (int64_t step = 0; step < steps; step++) {
    depth += change[step];
    if (depth == 0) continue;
    int64_t from = (base + step) * STEP, to = std::min(from + STEP, keys);
    bool follows = !found.empty() && found.back().to == from && from % BLOCK != 0;
    if (follows) found.back().to = to;
    else found.push_back({from, to, false});
  }
  for (Stretch& one : found) {
    one.full = true;
    for (int64_t r = row; r < end && one.full; r++) one.full = attends_to_all(runs, r, one);
  }
  return found;
}

// Where a tile that begins at a row ends: before the first row whose keys all lie after the tile's.
inline int64_t end_of_tile(const RowRuns& runs, int64_t row, int64_t queries) {
  int64_t reach = 0, end = row;
  for (; end < std::min(queries, row + TILE_ROWS); end++) {
    if (runs.empty(end)) continue;
    if (reach > 0 && runs.first(end) >= reach) break;
    reach = std::max(reach, runs.last(end));
  }
  return end;
}

inline std::vector<Tile> tiles_of(const RowRuns& runs, int64_t queries, int64_t keys) {
  std::vector<Tile> tiles;
  for (int64_t row = 0, end; row < queries; row = end) {
    end = end_of_tile(runs, row, queries);
    tiles.push_back({row, end - row, stretches_of(runs, row, end, keys)});
  }
  return tiles;
}

inline Set set_of(const at::Tensor& indptr, const at::Tensor& starts, const at::Tensor& stops, int64_t batch,
                  int64_t queries, int64_t keys) {
  int64_t count = (indptr.numel() - 1) / queries;
  Set set{batch, count / batch, {}, std::vector<std::vector<Tile>>(count)};
  for (int64_t i = 0; i < count; i++)
    set.runs.push_back({indptr.const_data_ptr<int32_t>() + i * queries, starts.const_data_ptr<int32_t>(),
                        stops.const_data_ptr<int32_t>()});
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) set.tiles[i] = tiles_of(set.runs[i], queries, keys);
  });
  return set;
}

}  // namespace attnmask
