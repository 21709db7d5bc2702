// A CUDA driver without a GPU: libcuda.so.1 for tests of everything above it.
//
// "Device" memory is the processor's, but it is known what belongs to whom: copies and fills
// beyond an allocation are refused. What is asynchronous is done when its stream is waited
// for, not before, so that whoever forgets to wait reads old bytes. A module's image is the
// path of a library of kernels that were compiled for the processor (kernel.h).
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NOT_FOUND = 500, CAPTURING = 900 };

struct dim3 {
    unsigned x, y, z;
};
typedef std::function<void()> Work;
typedef std::vector<Work> Works;
struct Stream {
    Works waiting;
    bool capturing = false;
    Works captured;
};
struct Function {
    void (*run)(dim3, dim3, void**);
    std::vector<size_t> sizes;
};
struct Module {
    void* library;
};

static std::map<char*, size_t> device, pinned;  // what is taken, by address
static std::map<Stream*, std::unique_ptr<Stream>> streams;
static size_t device_bytes = 0;
static long launches = 0, graphs_run = 0;

static bool within(const std::map<char*, size_t>& taken, const void* at, size_t n) {
    auto next = taken.upper_bound((char*)at);
    if (next == taken.begin()) return false;
    --next;
    return (char*)at + n <= next->first + next->second;
}
static bool on_device(const void* at, size_t n) { return within(device, at, n) || within(pinned, at, n); }

static std::mutex asking, working;  // of streams' lists; of what is done to memory

static int ask(void* stream, Work work) {
    std::lock_guard<std::mutex> lock(asking);
    Stream* s = (Stream*)stream;
    if (!streams.count(s)) return INVALID;
    (s->capturing ? s->captured : s->waiting).push_back(std::move(work));
    return OK;
}
static int finish(Stream* s) {
    std::lock_guard<std::mutex> work_lock(working);
    Works works;
    {
        std::lock_guard<std::mutex> lock(asking);
        if (!streams.count(s)) return INVALID;
        if (s->capturing) return CAPTURING;
        works.swap(s->waiting);
    }
    for (Work& work : works) work();
    return OK;
}

// For tests: what is taken now, and how much was asked of it.
API stand_in_count(const char* what) {
    const std::string name = what;
    if (name == "device_allocations") return (int)device.size();
    if (name == "device_bytes") return (int)device_bytes;
    if (name == "pinned_allocations") return (int)pinned.size();
    if (name == "streams") return (int)streams.size();
    if (name == "launches") return (int)launches;
    return name == "graphs_run" ? (int)graphs_run : -1;
}

API cuInit(unsigned) { return OK; }
API cuDriverGetVersion(int* out) { return *out = 13000, OK; }
API cuDeviceGetCount(int* out) { return *out = 1, OK; }
API cuDeviceGet(int* out, int number) { return *out = 0, number ? INVALID : OK; }
API cuDeviceGetName(char* out, int size, int) { return snprintf(out, size, "stand-in"), OK; }
API cuDeviceTotalMem_v2(size_t* out, int) { return *out = (size_t)1 << 30, OK; }
API cuDeviceGetAttribute(int* out, int kind, int) {
    const char* integrated = getenv("STAND_IN_INTEGRATED");
    switch (kind) {
        case 75: *out = 8; break;                              // compute capability 8.7
        case 76: *out = 7; break;
        case 16: *out = 2; break;                              // multiprocessors
        case 18: *out = integrated && *integrated == '1'; break;
        default: *out = 1;
    }
    return OK;
}
static int context;
API cuDevicePrimaryCtxRetain(void** out, int) { return *out = &context, OK; }
API cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API cuDevicePrimaryCtxRelease(int) { return OK; }
API cuCtxSetCurrent(void*) { return OK; }
API cuCtxPushCurrent_v2(void*) { return OK; }
API cuCtxPopCurrent_v2(void** out) { if (out) *out = &context; return OK; }
API cuCtxGetCurrent(void** out) { return *out = &context, OK; }
API cuCtxGetDevice(int* out) { return *out = 0, OK; }
API cuCtxGetApiVersion(void*, unsigned* out) { return *out = 13000, OK; }
API cuCtxDetach(void*) { return OK; }
API cuCtxSynchronize() {
    for (auto& s : streams)
        if (int code = finish(s.first)) return code;
    return OK;
}

API cuMemAlloc_v2(void** out, size_t n) {
    if (n == 0) return INVALID;
    if (device_bytes + n > ((size_t)1 << 30)) return NO_MEMORY;
    char* at = (char*)aligned_alloc(256, (n + 255) / 256 * 256);
    memset(at, 0xcd, n);
    device[at] = n, device_bytes += n;
    return *out = at, OK;
}
API cuMemGetInfo_v2(size_t* unused, size_t* total) {
    *total = (size_t)1 << 30;
    return *unused = *total - device_bytes, OK;
}
API cuMemFree_v2(void* at) {
    auto found = device.find((char*)at);
    if (found == device.end()) return INVALID;
    for (auto& s : streams)
        if (!s.first->waiting.empty()) {
            fprintf(stderr, "stand-in: memory is given back while a stream is at work\n");
            abort();
        }
    device_bytes -= found->second;
    device.erase(found);
    free(at);
    return OK;
}
API cuMemHostAlloc(void** out, size_t n, unsigned) {
    char* at = (char*)aligned_alloc(256, (n + 255) / 256 * 256);
    memset(at, 0xcd, n);
    pinned[at] = n;
    return *out = at, OK;
}
API cuMemFreeHost(void* at) { return pinned.erase((char*)at) ? (free(at), OK) : INVALID; }
API cuMemHostGetDevicePointer_v2(void** out, void* at, unsigned) { return *out = at, OK; }
API cuMemHostGetFlags(unsigned* out, void*) { return *out = 0, OK; }

API cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t n, void* stream) {
    if (!within(device, to, n)) return INVALID;
    return ask(stream, [=] { memcpy(to, from, n); });
}
API cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t n, void* stream) {
    if (!within(device, from, n)) return INVALID;
    return ask(stream, [=] { memcpy(to, from, n); });
}
API cuMemsetD8Async(void* to, unsigned char value, size_t n, void* stream) {
    if (!on_device(to, n)) return INVALID;
    return ask(stream, [=] { memset(to, value, n); });
}

API cuStreamCreate(void** out, unsigned) {
    auto made = std::make_unique<Stream>();
    *out = made.get();
    streams[made.get()] = std::move(made);
    return OK;
}
API cuStreamDestroy_v2(void* s) { return streams.erase((Stream*)s) ? OK : INVALID; }
API cuStreamSynchronize(void* s) { return finish((Stream*)s); }
API cuStreamQuery(void* s) { return finish((Stream*)s); }

API cuEventCreate(void** out, unsigned) { return *out = malloc(1), OK; }
API cuEventDestroy_v2(void* event) { return free(event), OK; }
API cuEventRecord(void*, void* stream) { return ask(stream, [] {}); }
API cuEventSynchronize(void*) { return cuCtxSynchronize(); }
API cuEventElapsedTime(float* out, void*, void*) { return *out = 0.5f, OK; }
API cuEventElapsedTime_v2(float* out, void*, void*) { return *out = 0.5f, OK; }

API cuModuleLoadData(void** out, const void* image) {
    if (strncmp((const char*)image, "stand-in:", 9)) return 200;  // CUDA_ERROR_INVALID_IMAGE
    void* library = dlopen((const char*)image + 9, RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "stand-in: %s\n", dlerror()), 200;
    return *out = new Module{library}, OK;
}
API cuModuleLoadDataEx(void** out, const void* image, unsigned, void*, void*) {
    return cuModuleLoadData(out, image);
}
API cuModuleUnload(void* module) { return delete (Module*)module, OK; }
API cuModuleGetFunction(void** out, void* module, const char* name) {
    void* library = ((Module*)module)->library;
    auto sizes = (int (*)(size_t*))dlsym(library, (std::string("sizes_") + name).c_str());
    auto run = (void (*)(dim3, dim3, void**))dlsym(library, (std::string("run_") + name).c_str());
    if (!sizes || !run) return NOT_FOUND;
    Function* function = new Function{run, std::vector<size_t>(64)};
    function->sizes.resize(sizes(function->sizes.data()));
    return *out = function, OK;
}
API cuFuncGetAttribute(int* out, int, void*) { return *out = 0, OK; }
API cuFuncSetAttribute(void*, int, int) { return OK; }
API cuFuncSetBlockShape(void*, int, int, int) { return OK; }
API cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned, void* stream, void** arguments, void** extra) {
    Function* function = (Function*)f;
    if (!gx || !gy || !gz || !bx || bx * by * bz > 1024) return INVALID;
    // The driver copies arguments when asked, not when it starts the kernel. They come one
    // by one, or packed in one buffer, aligned as in a struct.
    auto values = std::make_shared<std::vector<std::vector<char>>>();
    char* packed = extra ? (char*)extra[1] : nullptr;
    size_t at = 0;
    for (size_t i = 0; i < function->sizes.size(); ++i) {
        const size_t size = function->sizes[i];
        at = (at + size - 1) / size * size;
        const char* from = packed ? packed + at : (const char*)arguments[i];
        values->emplace_back(from, from + size);
        at += size;
    }
    if (packed && *(size_t*)extra[3] != at) return 701;  // arguments do not fit the kernel
    auto run = function->run;
    return ask(stream, [=] {
        ++launches;
        std::vector<void*> pointers;
        for (auto& value : *values) pointers.push_back(value.data());
        run({gx, gy, gz}, {bx, by, bz}, pointers.data());
    });
}

API cuStreamBeginCapture_v2(void* stream, int) {
    Stream* s = (Stream*)stream;
    if (!streams.count(s) || s->capturing) return INVALID;
    s->capturing = true;
    s->captured.clear();
    return OK;
}
API cuStreamEndCapture(void* stream, void** graph) {
    Stream* s = (Stream*)stream;
    if (!streams.count(s) || !s->capturing) return INVALID;
    s->capturing = false;
    return *graph = new Works(std::move(s->captured)), OK;
}
API cuStreamIsCapturing(void* s, int* out) { return *out = ((Stream*)s)->capturing, OK; }
API cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
    return *out = new Works(*(Works*)graph), OK;
}
API cuGraphLaunch(void* graph, void* stream) {
    Works works = *(Works*)graph;
    return ask(stream, [works] {
        ++graphs_run;
        for (const Work& work : works) work();
    });
}
API cuGraphExecDestroy(void* graph) { return delete (Works*)graph, OK; }
API cuGraphDestroy(void* graph) { return delete (Works*)graph, OK; }

API cuGetErrorName(int code, const char** out) {
    *out = code == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == INVALID ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_OTHER";
    return OK;
}
API cuGetErrorString(int code, const char** out) {
    *out = code == NO_MEMORY ? "out of memory" : code == INVALID ? "invalid argument" : "other error";
    return OK;
}

// How newer bindings find functions: by name, the newest version that is here.
API cuGetProcAddress_v2(const char* name, void** out, int, unsigned long long, int* found) {
    for (const char* version : {"_v4", "_v3", "_v2", ""}) {
        *out = dlsym(RTLD_DEFAULT, (std::string(name) + version).c_str());
        if (*out) break;
    }
    if (found) *found = *out ? 0 : 1;
    return OK;
}
API cuGetProcAddress(const char* name, void** out, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, out, version, flags, nullptr);
}

// For what stands in for TensorRT: a call in the order of a stream.
API stand_in_ask(void* stream, void (*call)(long), long number) {
    return ask(stream, [=] { call(number); });
}
