// libsaccade_ops: saccade's ops for ONNX Runtime's CPU provider. An op is its name, its inputs, its shape rule and a
// call of the C ABI; each dtype of it is one custom op under the same name.
//
// A registered op always wins over the body that the model carries, so the session says which ops to take: its entry
// "saccade.ops" holds their names with commas between; without the entry all are taken.
#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "saccade/deformable_attention.h"
#include "saccade/relpos_attention.h"

namespace {

using Shape = std::vector<int64_t>;

[[noreturn]] void refuse(const char* op, const std::string& why) {
    throw Ort::Exception("[" + std::string(op) + "] " + why, ORT_INVALID_ARGUMENT);
}

// The engine's own threads, as the C ABI takes them.
saccade_parallel engine_threads(Ort::KernelContext& context) {
    struct Task {
        void (*run)(void*, int64_t);
        void* argument;
    };
    const auto run = [](void* engine, int64_t count, void (*task)(void*, int64_t), void* argument) {
        Task each{task, argument};
        const auto one = [](void* given, size_t index) {
            static_cast<Task*>(given)->run(static_cast<Task*>(given)->argument, static_cast<int64_t>(index));
        };
        const size_t all = static_cast<size_t>(count);
        static_cast<Ort::KernelContext*>(engine)->ParallelFor(one, all, all, &each);
    };
    return {run, &context};
}

// A size that is not known comes as -1 and would be taken for one. A name for it would say that it equals others of
// that name, which is how memory gets shared: so there is no shape then.
bool known(const Ort::ShapeInferContext::Shape& shape) {
    for (const auto& size : shape)
        if (size.IsInt() && size.AsInt() < 0) return false;
    return true;
}

struct RelPosAttention {
    static constexpr const char* NAME = "RelPosAttention";
    static constexpr size_t INPUTS = 5;  // q, k, v (B, A, N, D), rh (B, A, N, Hk), rw (B, A, N, Wk)
    inline static std::atomic<int64_t> calls{0};

    explicit RelPosAttention(Ort::ConstKernelInfo info) : scale(info.GetAttribute<float>("scale")) {}

    static ONNXTensorElementDataType type_of(size_t, ONNXTensorElementDataType type) { return type; }

    static void shape(Ort::ShapeInferContext& context, ONNXTensorElementDataType type) {
        const auto& q = context.GetInputShape(0);
        if (q.size() == 4 && known(q)) context.SetOutputShape(0, q, type);
    }

    void compute(Ort::KernelContext& context, int32_t dtype) const {
        std::array<saccade_relpos_array, INPUTS> arrays;
        std::array<Shape, INPUTS> shapes;
        for (size_t i = 0; i < INPUTS; ++i) {
            const Ort::ConstValue value = context.GetInput(i);
            shapes[i] = value.GetTensorTypeAndShapeInfo().GetShape();
            const Shape &s = shapes[i], &q = shapes[0];
            if (s.size() != 4) refuse(NAME, "an input has not 4 axes");
            if (s[0] != q[0] || s[1] != q[1] || s[2] != q[2] || (i < 3 && s[3] != q[3]))
                refuse(NAME, "the inputs' shapes do not fit each other");
            arrays[i] = {value.GetTensorRawData(), {s[1] * s[2] * s[3], s[2] * s[3], s[3]}};
        }
        const Shape& q = shapes[0];
        const int64_t rows = shapes[3][3], columns = shapes[4][3];
        if (rows * columns != q[2]) refuse(NAME, "rh and rw span another picture than q");
        const saccade_relpos_request request{dtype,
                                             q[0],
                                             q[1],
                                             rows,
                                             columns,
                                             q[3],
                                             arrays[0],
                                             arrays[1],
                                             arrays[2],
                                             arrays[3],
                                             arrays[4],
                                             scale,
                                             context.GetOutput(0, q).GetTensorMutableRawData(),
                                             {arrays[0].stride[0], arrays[0].stride[1], arrays[0].stride[2]},
                                             engine_threads(context)};
        if (saccade_relpos_attention(nullptr, &request) != SACCADE_OK) refuse(NAME, saccade_error());
    }

    float scale;
};

struct DeformableAttention {
    static constexpr const char* NAME = "DeformableAttention";
    // value (B, S, A, D), sizes (L, 2), locations (B, N, A, L, T, 2), weights (B, N, A, L, T)
    static constexpr size_t INPUTS = 4;
    static constexpr size_t SIZES = 1;
    inline static std::atomic<int64_t> calls{0};

    explicit DeformableAttention(Ort::ConstKernelInfo) {}

    static ONNXTensorElementDataType type_of(size_t index, ONNXTensorElementDataType type) {
        return index == SIZES ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 : type;
    }

    static void shape(Ort::ShapeInferContext& context, ONNXTensorElementDataType type) {
        const auto &value = context.GetInputShape(0), &locations = context.GetInputShape(2);
        if (value.size() != 4 || locations.size() != 6 || !known(value) || !known(locations)) return;
        if (!value[2].IsInt() || !value[3].IsInt()) return;  // their product has no name
        context.SetOutputShape(0, {value[0], locations[1], value[2].AsInt() * value[3].AsInt()}, type);
    }

    void compute(Ort::KernelContext& context, int32_t dtype) const {
        std::array<Shape, INPUTS> shapes;
        std::array<const void*, INPUTS> data;
        for (size_t i = 0; i < INPUTS; ++i) {
            const Ort::ConstValue value = context.GetInput(i);
            shapes[i] = value.GetTensorTypeAndShapeInfo().GetShape();
            data[i] = value.GetTensorRawData();
        }
        const auto& [v, sizes, x, w] = shapes;
        if (v.size() != 4 || sizes.size() != 2 || x.size() != 6 || w.size() != 5)
            refuse(NAME, "an input has another number of axes");
        if (sizes[1] != 2 || x != Shape{v[0], x[1], v[2], sizes[0], x[4], 2} || w != Shape(x.begin(), x.end() - 1))
            refuse(NAME, "the inputs' shapes do not fit each other");
        const int64_t row = v[2] * v[3], points = x[3] * x[4], heads = x[2] * points;
        const saccade_deformable_request request{dtype,
                                                 v[0],
                                                 v[2],
                                                 v[1],
                                                 x[1],
                                                 v[3],
                                                 x[3],
                                                 x[4],
                                                 static_cast<const int64_t*>(data[SIZES]),
                                                 {data[0], {v[1] * row, row, v[3]}},
                                                 {data[2], {x[1] * heads * 2, heads * 2, points * 2}},
                                                 {data[3], {x[1] * heads, heads, points}},
                                                 context.GetOutput(0, Shape{v[0], x[1], row}).GetTensorMutableRawData(),
                                                 {x[1] * row, row, v[3]},
                                                 engine_threads(context)};
        if (saccade_deformable_attention(nullptr, &request) != SACCADE_OK) refuse(NAME, saccade_error());
    }
};

// Exceptions become statuses here: none crosses the engine's C ABI.
template <class Run>
OrtStatusPtr guarded(Run run) {
    try {
        run();
        return nullptr;
    } catch (const Ort::Exception& error) {
        return Ort::GetApi().CreateStatus(error.GetOrtErrorCode(), error.what());
    } catch (const std::exception& error) {
        return Ort::GetApi().CreateStatus(ORT_FAIL, error.what());
    }
}

template <class Op>
struct Kernel {
    Op op;
    int32_t dtype;

    OrtStatusPtr ComputeV2(OrtKernelContext* given) const {
        return guarded([&] {
            Ort::KernelContext context(given);
            op.compute(context, dtype);
            ++Op::calls;
        });
    }
};

template <class Op, ONNXTensorElementDataType TYPE, int32_t DTYPE>
struct CustomOp : Ort::CustomOpBase<CustomOp<Op, TYPE, DTYPE>, Kernel<Op>, true> {
    const char* GetName() const { return Op::NAME; }
    const char* GetExecutionProviderType() const { return "CPUExecutionProvider"; }
    size_t GetInputTypeCount() const { return Op::INPUTS; }
    ONNXTensorElementDataType GetInputType(size_t index) const { return Op::type_of(index, TYPE); }
    size_t GetOutputTypeCount() const { return 1; }
    ONNXTensorElementDataType GetOutputType(size_t) const { return TYPE; }

    OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
        return guarded([&] { *kernel = new Kernel<Op>{Op(Ort::ConstKernelInfo(info)), DTYPE}; });
    }

    static OrtStatusPtr InferOutputShape(Ort::ShapeInferContext& context) {
        return guarded([&] { Op::shape(context, TYPE); });
    }
};

struct Entry {
    const char* name;
    std::array<const OrtCustomOp*, 3> dtypes;
    std::atomic<int64_t>* calls;
};

template <class Op>
Entry entry() {
    static const CustomOp<Op, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, SACCADE_F32> single;
    static const CustomOp<Op, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, SACCADE_F16> half;
    static const CustomOp<Op, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, SACCADE_BF16> brain;
    return {Op::NAME, {&single, &half, &brain}, &Op::calls};
}

const std::vector<Entry>& table() {
    static const std::vector<Entry> all{entry<RelPosAttention>(), entry<DeformableAttention>()};
    return all;
}

// One bit an op of the table: those that the session takes.
uint64_t taken(const OrtSessionOptions* options) {
    const OrtApi& api = Ort::GetApi();
    int has = 0;
    Ort::ThrowOnError(api.HasSessionConfigEntry(options, "saccade.ops", &has));
    if (!has) return ~uint64_t{0};
    size_t size = 0;
    Ort::ThrowOnError(api.GetSessionConfigEntry(options, "saccade.ops", nullptr, &size));
    std::string text(size, '\0'), name;
    Ort::ThrowOnError(api.GetSessionConfigEntry(options, "saccade.ops", text.data(), &size));
    text.assign(text.c_str());  // the size counts the terminator
    text += ',';
    uint64_t bits = 0;
    for (const char c : text) {
        if (c != ',') {
            name += c;
            continue;
        }
        bool known = name.empty();
        for (size_t i = 0; i < table().size(); ++i)
            if (name == table()[i].name) {
                bits |= uint64_t{1} << i;
                known = true;
            }
        if (!known) refuse("saccade.ops", "there is no op " + name.substr(0, 64));
        name.clear();
    }
    return bits;
}

// Sessions point at their domain, so each choice of ops has one for as long as the library is there.
OrtCustomOpDomain* domain(uint64_t bits) {
    static std::mutex guard;
    static std::map<uint64_t, Ort::CustomOpDomain> made;
    const std::lock_guard<std::mutex> lock(guard);
    auto found = made.find(bits);
    if (found == made.end()) {
        Ort::CustomOpDomain fresh("saccade");
        for (size_t i = 0; i < table().size(); ++i)
            for (const OrtCustomOp* op : table()[i].dtypes)
                if (bits >> i & 1) fresh.Add(op);
        found = made.emplace(bits, std::move(fresh)).first;
    }
    return found->second;
}

}  // namespace

#define SACCADE_EXPORT extern "C" __attribute__((visibility("default")))

SACCADE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    const OrtApi* api = base->GetApi(ORT_API_VERSION);
    if (!api) {
        const std::string why = std::string("saccade's ops want ONNX Runtime 1.") + std::to_string(ORT_API_VERSION) +
                                " or later, and this is " + base->GetVersionString();
        return base->GetApi(1)->CreateStatus(ORT_FAIL, why.c_str());
    }
    Ort::InitApi(api);
    return guarded([&] {
        const uint64_t bits = taken(options);
        if (bits) Ort::ThrowOnError(api->AddCustomOpDomain(options, domain(bits)));
    });
}

// How many times the op's kernel has run in this process; -1 if the library has no such op.
SACCADE_EXPORT int64_t saccade_ops_calls(const char* op) {
    for (const Entry& each : table())
        if (std::strcmp(each.name, op) == 0) return *each.calls;
    return -1;
}
