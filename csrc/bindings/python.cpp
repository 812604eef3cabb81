// saccade._native: declarations only. Arguments were checked in Python; what is wrong here is a defect of ours.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "saccade/decode_boxes.h"
#include "saccade/deformable_attention.h"
#include "saccade/mask_decode.h"
#include "saccade/nms.h"
#include "saccade/peaks.h"
#include "saccade/relpos_attention.h"
#include "saccade/resize_normalize.h"

namespace py = pybind11;

void bind_launch(py::module_& m);  // python_launch.cpp

namespace {

void check(int status) {
    if (status == SACCADE_MEMORY) throw std::bad_alloc();
    if (status != SACCADE_OK) throw std::runtime_error(saccade_error());
}

void resize_normalize(const std::string& candidate, const py::array_t<uint8_t>& image, int filter,
                      std::array<float, 4> region, std::array<int64_t, 2> resized, std::array<int64_t, 4> crop,
                      int output, py::array out, std::array<int64_t, 2> padded, float pad_value, float scale,
                      std::array<float, 3> mean, std::array<float, 3> std, int64_t threads) {
    saccade_resize_request r{image.data(),
                             image.strides(0),
                             image.shape(0),
                             image.shape(1),
                             filter,
                             {},
                             {},
                             {},
                             output,
                             out.mutable_data(),
                             {},
                             pad_value,
                             scale,
                             {},
                             {},
                             {saccade_threads, &threads},
                             threads};
    std::copy(region.begin(), region.end(), r.region);
    std::copy(resized.begin(), resized.end(), r.resized);
    std::copy(crop.begin(), crop.end(), r.crop);
    std::copy(padded.begin(), padded.end(), r.padded);
    std::copy(mean.begin(), mean.end(), r.mean);
    std::copy(std.begin(), std.end(), r.std);
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_resize_normalize(candidate.c_str(), &r);
    }
    check(status);
}

py::array_t<int64_t> nms(const std::string& candidate, const py::array_t<float>& boxes,
                         const py::array_t<float>& scores, const std::optional<py::array_t<int64_t>>& classes,
                         float iou, int64_t limit) {
    const int64_t count = scores.shape(0);
    std::vector<int64_t> kept(static_cast<size_t>(std::min(count, limit)));
    saccade_nms_request r{
        boxes.data(), scores.data(), classes ? classes->data() : nullptr, count, iou, limit, kept.data(), 0};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_nms(candidate.c_str(), &r);
    }
    check(status);
    return py::array_t<int64_t>(r.kept_count, kept.data());
}

using Pair = std::array<int64_t, 2>;

// Fills the four arrays, which have room for all; returns how many were found.
int64_t decode_boxes(const std::string& candidate, const py::array_t<float>& logits, const py::array_t<float>& boxes,
                     Pair size, float above, int64_t limit, py::array_t<float> found_boxes, py::array_t<float> scores,
                     py::array_t<int64_t> classes, py::array_t<int64_t> queries) {
    saccade_decode_boxes_request r{logits.data(),
                                   boxes.data(),
                                   logits.shape(0),
                                   logits.shape(1),
                                   size[0],
                                   size[1],
                                   above,
                                   limit,
                                   found_boxes.mutable_data(),
                                   scores.mutable_data(),
                                   classes.mutable_data(),
                                   queries.mutable_data(),
                                   0};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_decode_boxes(candidate.c_str(), &r);
    }
    check(status);
    return r.found;
}

// Fills boxes, area and stability; dense (D, H, W) takes the masks whose place in `chosen` (M) is not negative.
std::vector<py::bytes> mask_decode(const std::string& candidate, const py::array_t<float>& low, Pair model, Pair valid,
                                   Pair original, std::array<float, 3> threshold, py::array_t<int32_t> boxes,
                                   py::array_t<int64_t> area, py::array_t<float> stability,
                                   const py::array_t<int64_t>& chosen, py::array_t<bool> dense, int64_t threads) {
    std::vector<std::string> counts;
    std::vector<uint8_t*> places(static_cast<size_t>(low.shape(0)), nullptr);
    auto* pixels = static_cast<uint8_t*>(static_cast<void*>(dense.mutable_data()));
    for (py::ssize_t m = 0; m < low.shape(0); ++m)
        if (chosen.at(m) >= 0) places[static_cast<size_t>(m)] = pixels + chosen.at(m) * original[0] * original[1];
    saccade_mask_request r{low.data(),
                           low.shape(0),
                           {low.shape(1), low.shape(2)},
                           {model[0], model[1]},
                           {valid[0], valid[1]},
                           {original[0], original[1]},
                           {threshold[0], threshold[1], threshold[2]},
                           boxes.mutable_data(),
                           area.mutable_data(),
                           stability.mutable_data(),
                           places.data(),
                           [](void* to, const char* text, int64_t bytes) {
                               try {
                                   static_cast<decltype(counts)*>(to)->emplace_back(text, static_cast<size_t>(bytes));
                               } catch (const std::bad_alloc&) {
                                   return 1;
                               }
                               return 0;
                           },
                           &counts,
                           {saccade_threads, &threads},
                           threads};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_mask_decode(candidate.c_str(), &r);
    }
    check(status);
    return {counts.begin(), counts.end()};
}

// The text of each mask's run lengths; those of mask m begin at starts[m].
std::vector<py::bytes> mask_decode_text(const py::array_t<uint32_t>& edges, const py::array_t<int64_t>& starts,
                                        int64_t pixels) {
    std::vector<py::bytes> texts;
    std::vector<char> room;
    for (py::ssize_t m = 0; m < starts.shape(0); ++m) {
        const int64_t end = m + 1 < starts.shape(0) ? starts.at(m + 1) : edges.shape(0), count = end - starts.at(m);
        room.resize(static_cast<size_t>(8 * (count + 1)));
        const int64_t size = saccade_mask_text(edges.data() + starts.at(m), count, pixels, room.data());
        if (size < 0) throw std::bad_alloc();
        texts.emplace_back(room.data(), static_cast<size_t>(size));
    }
    return texts;
}

saccade_relpos_array walk(const py::array& a) {
    const auto items = [&a](py::ssize_t axis) { return static_cast<int64_t>(a.strides(axis) / a.itemsize()); };
    return {a.data(), {items(0), items(1), items(2)}};
}

void relpos_attention(const std::string& candidate, const py::array& q, const py::array& k, const py::array& v,
                      const py::array& rh, const py::array& rw, float scale, int64_t threads, py::array out) {
    const saccade_relpos_array to = walk(out);
    const saccade_relpos_request r{q.itemsize() == 4 ? SACCADE_F32 : SACCADE_F16,
                                   q.shape(0),
                                   q.shape(1),
                                   rh.shape(3),
                                   rw.shape(3),
                                   q.shape(3),
                                   walk(q),
                                   walk(k),
                                   walk(v),
                                   walk(rh),
                                   walk(rw),
                                   scale,
                                   out.mutable_data(),
                                   {to.stride[0], to.stride[1], to.stride[2]},
                                   threads > 1 ? saccade_parallel{saccade_threads, &threads} : saccade_parallel{}};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_relpos_attention(candidate.c_str(), &r);
    }
    check(status);
}

saccade_deformable_array walk_heads(const py::array& a) {
    const saccade_relpos_array made = walk(a);
    return {made.data, {made.stride[0], made.stride[1], made.stride[2]}};
}

// out: (B, N, A D), contiguous.
void deformable_attention(const std::string& candidate, const py::array& value, const py::array_t<int64_t>& sizes,
                          const py::array& locations, const py::array& weights, int64_t threads, py::array out) {
    const int64_t heads = value.shape(2), dim = value.shape(3), queries = locations.shape(1);
    const saccade_deformable_request r{value.itemsize() == 4 ? SACCADE_F32 : SACCADE_F16,
                                       value.shape(0),
                                       heads,
                                       value.shape(1),
                                       queries,
                                       dim,
                                       sizes.shape(0),
                                       locations.shape(4),
                                       sizes.data(),
                                       walk_heads(value),
                                       walk_heads(locations),
                                       walk_heads(weights),
                                       out.mutable_data(),
                                       {queries * heads * dim, heads * dim, dim},
                                       threads > 1 ? saccade_parallel{saccade_threads, &threads} : saccade_parallel{}};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_deformable_attention(candidate.c_str(), &r);
    }
    check(status);
}

// Bytes moved or operations done by one run of the loop.
double peaks(const std::string& candidate, int what, py::array_t<float> a, const std::optional<py::array_t<float>>& b,
             const std::optional<py::array_t<float>>& c, int64_t repeats) {
    const auto data = [](const auto& array) { return array ? const_cast<float*>(array->data()) : nullptr; };
    saccade_peaks_request r{what, a.mutable_data(), data(b), data(c), a.size(), repeats, 0};
    int status;
    {
        py::gil_scoped_release release;
        status = saccade_peaks(candidate.c_str(), &r);
    }
    check(status);
    return r.done;
}

using Candidates = std::vector<std::pair<std::string, std::string>>;

template <const char* (*name)(int), const char* (*unusable)(int)>
Candidates candidates() {
    Candidates all;
    for (int i = 0; name(i); ++i) all.emplace_back(name(i), unusable(i));
    return all;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "saccade's CPU kernels; saccade.kernels is their public face";
    m.def("resize_normalize", &resize_normalize);
    m.def("resize_normalize_candidates",
          &candidates<saccade_resize_normalize_candidate, saccade_resize_normalize_unusable>,
          "(name, why it cannot run here) in order");
    m.def("mask_decode", &mask_decode);
    m.def("mask_decode_candidates", &candidates<saccade_mask_decode_candidate, saccade_mask_decode_unusable>);
    m.def("mask_decode_text", &mask_decode_text);
    m.def("relpos_attention", &relpos_attention);
    m.def("relpos_attention_candidates",
          &candidates<saccade_relpos_attention_candidate, saccade_relpos_attention_unusable>);
    m.def("deformable_attention", &deformable_attention);
    m.def("deformable_attention_candidates",
          &candidates<saccade_deformable_attention_candidate, saccade_deformable_attention_unusable>);
    m.def("decode_boxes", &decode_boxes);
    m.def("decode_boxes_candidates", &candidates<saccade_decode_boxes_candidate, saccade_decode_boxes_unusable>);
    m.def("peaks", &peaks);
    m.def("peaks_candidates", &candidates<saccade_peaks_candidate, saccade_peaks_unusable>);
    m.def("nms", &nms);
    m.def("nms_candidates", &candidates<saccade_nms_candidate, saccade_nms_unusable>);
    bind_launch(m);
}
