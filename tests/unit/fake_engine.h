#ifndef TESTS_FAKE_ENGINE_H
#define TESTS_FAKE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A scripted Docker Engine on a unix socket, in threads of the test program. Each request takes
 * the first step that fits it and is not used up. Without a step, /_ping answers API 1.41 and
 * /info cgroup v1; anything else gets a 500 that says so.
 */

enum fake_after {
    FAKE_KEEP,  /* wait for the next request */
    FAKE_CLOSE, /* close the connection */
    FAKE_HANG,  /* say no more until the client hangs up */
    FAKE_ECHO,  /* send back what comes */
};

struct fake_step {
    const char *expect; /* how the request line starts; NULL: any */
    int status;         /* the reply has this status and `body`, or, when 0, is `raw` */
    const char *body;
    const char *raw;
    size_t fill; /* so many `fill_with` behind it */
    char fill_with;
    enum fake_after after;
    int times;    /* 0: once, -1: for ever */
    bool is_slow; /* one byte a write */
};

struct fake_engine;

/* Aborts when it cannot start. `steps` outlives the engine. */
struct fake_engine *fake_start(const struct fake_step *steps, size_t n);
void fake_stop(struct fake_engine *f);

const char *fake_host(const struct fake_engine *f); /* "unix:///…" */

/* The requests so far, as they came; valid until fake_stop. */
size_t fake_count(struct fake_engine *f);
const char *fake_request(struct fake_engine *f, size_t i);

/* How many requests start so. */
size_t fake_seen(struct fake_engine *f, const char *start);

/*
 * Every step was taken as often as it says (for ever: once at least). Waits for it for a while: a
 * client that gave up may be faster than the engine's thread.
 */
bool fake_is_done(struct fake_engine *f);

/* Closes the listening socket and every connection, as an engine that dies does. */
void fake_die(struct fake_engine *f);

#endif
