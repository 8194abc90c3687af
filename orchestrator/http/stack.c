#include <stdint.h>
#include <sys/mman.h>

#include "http/state.h"

/*
 * What a handler used of its stack stays in memory for as long as the connection lives, idle or
 * not. At the end of an exchange the pages below this frame are given back, if they are more than
 * the library itself needs for the next one.
 */
#if HTTP_STACK_IS_PLAIN

enum {
    PAGE = 4096,
    NEAR = PAGE,       /* this frame may end in the next page, where the calls below return to */
    ABOVE = 64 * 1024, /* more than lies above this frame: library, thread block */
    PAGES = (HTTP_STACK - ABOVE - NEAR) / PAGE,
    WORTHWHILE = 2,
};

__attribute__((noinline)) void http_stack_release(void)
{
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(PAGE - 1);
    char *low =
        (char *)(frame - NEAR - (uintptr_t)PAGES * PAGE); /* the frame's page is not in it */
    unsigned char resident[PAGES] = {0};
    unsigned used = 0;

    if (mincore(low, (size_t)PAGES * PAGE, resident) < 0)
        return;
    for (unsigned i = 0; i < PAGES; i++)
        used += resident[i] & 1;
    if (used >= WORTHWHILE)
        (void)madvise(low, (size_t)PAGES * PAGE, MADV_DONTNEED);
}

#else

void http_stack_release(void) {}

#endif
