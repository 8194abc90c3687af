#ifndef CMD_MAKE_GENERATOR_H
#define CMD_MAKE_GENERATOR_H

#include "base/err.h"
#include "model/guide.h"
#include "policy/settings.h"

struct core;
struct generator;
struct store;

/* What the generator reads from disk, read before the process gives its rights away. */
struct generator_files {
    struct guide guide;
    char *ca_pem; /* NULL: the system's */
};

int generator_files_open(const struct settings *s, struct generator_files *ret,
                         struct err *err) MUST_CHECK;
void generator_files_done(struct generator_files *f);

/* What it works with; borrowed as long as it lives. */
struct generator_place {
    struct core *core;   /* NULL where programs run elsewhere */
    struct store *store; /* NULL: nothing is remembered */
    const char *spool_dir;
};

/* `files` are moved. */
int make_generator(const struct settings *s, struct generator_files *files,
                   const struct generator_place *place, struct generator **ret,
                   struct err *err) MUST_CHECK;

#endif
