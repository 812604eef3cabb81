// The launcher for Python. Arrays come as the integers that their pointers are.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "saccade/launch.h"

namespace py = pybind11;

namespace {

void check(int status) {
    if (status == SACCADE_MEMORY) throw std::bad_alloc();
    if (status != SACCADE_OK) throw std::runtime_error(saccade_error());
}

struct Variant {
    std::string image, name;
    int threads, shared;
    std::vector<int32_t> divisible;
};

uint64_t slot(char kind, const py::handle& value) {
    uint64_t bits = 0;
    if (kind == 'f') {
        const float number = value.cast<float>();
        std::memcpy(&bits, &number, sizeof number);
    } else if (kind == 'p') {
        bits = value.cast<uint64_t>();
    } else if (kind == 'l') {
        bits = static_cast<uint64_t>(value.cast<int64_t>());
    } else {
        bits = static_cast<uint32_t>(value.cast<int32_t>());
    }
    return bits;
}

class Kernel {
  public:
    Kernel(const std::vector<Variant>& variants, const std::string& kinds) : kinds_(kinds) {
        std::vector<saccade_gpu_variant> plain;
        for (const Variant& v : variants)
            plain.push_back({v.image.data(), static_cast<int64_t>(v.image.size()), v.name.c_str(), v.threads, v.shared,
                             v.divisible.data(), static_cast<int32_t>(v.divisible.size())});
        saccade_gpu_kernel* made = nullptr;
        check(saccade_gpu_open(plain.data(), static_cast<int>(plain.size()), kinds.c_str(), &made));
        kernel_.reset(made);
    }

    void load(int device) {
        int status;
        {
            py::gil_scoped_release release;
            status = saccade_gpu_load(kernel_.get(), device);
        }
        check(status);
    }

    int launch(int device, uintptr_t stream, std::array<int64_t, 3> grid, const py::args& arguments) {
        if (arguments.size() != kinds_.size())
            throw std::invalid_argument("[launch] the kernel takes " + std::to_string(kinds_.size()) + " arguments");
        std::vector<uint64_t> slots;
        for (size_t i = 0; i < kinds_.size(); ++i) slots.push_back(slot(kinds_[i], arguments[i]));
        int status, chosen;
        {
            py::gil_scoped_release release;
            void* queue = reinterpret_cast<void*>(stream);  // NOLINT: a CUstream that travelled as an integer
            status = saccade_gpu_launch(kernel_.get(), device, queue, grid.data(), slots.data(), &chosen);
        }
        check(status);
        return chosen;
    }

  private:
    struct Close {
        void operator()(saccade_gpu_kernel* kernel) const { saccade_gpu_close(kernel); }
    };
    std::string kinds_;
    std::unique_ptr<saccade_gpu_kernel, Close> kernel_;
};

int capability(int device) {
    int found = 0;
    check(saccade_gpu_capability(device, &found));
    return found;
}

int device_of(uint64_t pointer) {
    int found = 0;
    check(saccade_gpu_device_of(pointer, &found));
    return found;
}

}  // namespace

void bind_launch(py::module_& m) {
    m.def("gpu_unusable", &saccade_gpu_unusable, "why nothing can be launched here; empty if it can");
    m.def("gpu_capability", &capability);
    m.def("gpu_device_of", &device_of);
    py::class_<Variant>(m, "GpuVariant")
        .def(py::init(
                 [](const py::bytes& image, std::string name, int threads, int shared, std::vector<int32_t> divisible) {
                     return Variant{image, std::move(name), threads, shared, std::move(divisible)};
                 }),
             py::arg("image"), py::arg("name"), py::arg("threads"), py::arg("shared"), py::arg("divisible"));
    py::class_<Kernel>(m, "GpuKernel")
        .def(py::init<const std::vector<Variant>&, const std::string&>(), py::arg("variants"), py::arg("kinds"))
        .def("load", &Kernel::load)
        .def("launch", &Kernel::launch, "launch(device, stream, (x, y, z), *arguments) gives the variant's index");
}
