// Times llama.cpp's audio encoder alone: no text model, no front end. For audio.py, which says how to build it.
//
//     llama_audio MMPROJ MEL THREADS TIMES
//
// MEL is f32, [bins][frames], without a header. Prints JSON: rows, and the milliseconds of each encoding, the first one
// too. The headers are internal to llama.cpp; they must be those of the library.

#include "clip-impl.h"
#include "clip.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

static const int BINS = 128;

static int fail(const char * what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

int main(int argc, char ** argv) {
    if (argc != 5) {
        return fail("usage: llama_audio MMPROJ MEL THREADS TIMES");
    }
    std::ifstream file(argv[2], std::ios::binary | std::ios::ate);
    if (!file) {
        return fail("no such MEL");
    }
    std::vector<float> mel((size_t) file.tellg() / sizeof(float));
    file.seekg(0);
    file.read((char *) mel.data(), mel.size() * sizeof(float));

    // As mtmd opens it by default, but without a GPU. Warming up sets buffers aside and computes nothing.
    clip_context_params params = {};
    params.flash_attn_type = CLIP_FLASH_ATTN_TYPE_AUTO;
    params.warmup = true;
    clip_ctx * ctx = clip_init(argv[1], params).ctx_a;
    if (!ctx) {
        return fail("no audio encoder in MMPROJ");
    }

    clip_image_f32_batch batch;
    batch.is_audio = true;
    batch.entries.resize(1);
    batch.entries[0].set_size({ (int) mel.size() / BINS, BINS }, false, true);
    batch.entries[0].cpy_buf(mel);
    const int rows = clip_n_output_tokens(ctx, &batch.entries[0]);
    std::vector<float> out((size_t) rows * clip_n_mmproj_embd(ctx));

    printf("{\"rows\": %d, \"ms\": [", rows);
    for (int i = 0; i < atoi(argv[4]); i++) {
        const auto started = std::chrono::steady_clock::now();
        if (!clip_image_batch_encode(ctx, atoi(argv[3]), &batch, out)) {
            return fail("encoding failed");
        }
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - started;
        printf("%s[%.3f]", i ? ", " : "", took.count());
    }
    printf("]}\n");
    for (float value : out) {
        if (!std::isfinite(value)) {
            return fail("not finite");
        }
    }
    clip_free(ctx);
    return 0;
}
