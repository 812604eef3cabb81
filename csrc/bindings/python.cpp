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

#include "saccade/nms.h"
#include "saccade/resize_normalize.h"

namespace py = pybind11;

namespace {

void check(int status) {
    if (status == SACCADE_MEMORY) throw std::bad_alloc();
    if (status != SACCADE_OK) throw std::runtime_error(saccade_error());
}

void resize_normalize(const std::string& candidate, const py::array_t<uint8_t>& image, int filter,
                      std::array<float, 4> region, std::array<int64_t, 2> resized, std::array<int64_t, 4> crop,
                      int output, py::array out, std::array<int64_t, 2> padded, float pad_value, float scale,
                      std::array<float, 3> mean, std::array<float, 3> std) {
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
                             {}};
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
    m.def("nms", &nms);
    m.def("nms_candidates", &candidates<saccade_nms_candidate, saccade_nms_unusable>);
}
