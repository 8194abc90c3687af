#include <stdint.h>
#include <sys/mman.h>

#include "http/steps.h"

/*
 * What a handler used of its stack stays in memory for as long as the connection lives, idle or
 * not. At the end of an exchange the pages below this frame are given back, if they are more than
 * the library itself needs for the next one.
 */
enum {
    PAGE = 4096,
    PAGES = HTTP_STACK / PAGE,
    WORTHWHILE = 2,
};

/* The lowest byte of this thread's stack. */
static uintptr_t stack_low(void)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return 0;
    (void)pthread_attr_getstack(&attr, &low, &size);
    (void)pthread_attr_destroy(&attr);
    return (uintptr_t)low;
}

static void release(uintptr_t low, uintptr_t high)
{
    size_t n = (high - low) / PAGE, used = 0;
    unsigned char resident[PAGES];
    char *from = (char *)(high - n * PAGE);

    if (n > PAGES || mincore(from, n * PAGE, resident) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        used += resident[i] & 1;
    if (used >= WORTHWHILE)
        (void)madvise(from, n * PAGE, MADV_DONTNEED);
}

__attribute__((noinline)) void http_stack_release(struct http_connection *c)
{
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(PAGE - 1);

    if (!HTTP_STACK_IS_PLAIN)
        return;
    if (!c->stack_low)
        c->stack_low = stack_low();
    /* The calls above return to the page of this frame or to the one below it. */
    if (c->stack_low && c->stack_low + PAGE < frame)
        release(c->stack_low, frame - PAGE);
}
