/* Stands in for libFuzzer's main(): feeds every file that is named to the target, once. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

enum { INPUT_MAX = 64 * 1024 * 1024 };

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize)
        (void)LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        auto_free char *data = NULL;
        uint8_t *exact;
        size_t n;
        struct err err = {0};

        if (io_read_file(argv[i], INPUT_MAX, &data, &n, &err) < 0) {
            (void)fprintf(stderr, "%s\n", err.msg);
            return EXIT_FAILURE;
        }
        /* Of exactly its size, so that ASan sees a read past the end. */
        exact = malloc(n ? n : 1);
        if (!exact)
            return EXIT_FAILURE;
        if (n)
            memcpy(exact, data, n);
        (void)LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    return EXIT_SUCCESS;
}
