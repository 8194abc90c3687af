/*
 * What must be looked after although nobody asks: which policies and images there are, whether the
 * engine answers, and containers of ours that nobody remembers (dead instances, creates that timed
 * out but happened).
 */
#include "keeper/upkeep.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    IMAGE_RETRY_MS = 5000,
    ENGINE_RETRY_FIRST_MS = 200,
    ENGINE_RETRY_LAST_MS = 5000,
    ORPHAN_RETRY_MS = 1000,
    RETIRE_MS = 30000, /* an old pool serves on until its successor is full, at most so long */
};

static bool is_of(const struct policy *y, const struct set_node *node)
{
    return y >= node->set.list && y < node->set.list + node->set.n;
}

static void free_unused_sets(struct keeper *k)
{
    struct set_node *node = TAILQ_FIRST(&k->sets), *next;

    for (node = node ? TAILQ_NEXT(node, link) : NULL; node; node = next) {
        const struct pool *p;
        bool used = false;

        next = TAILQ_NEXT(node, link);
        TAILQ_FOREACH (p, &k->pools.list, link)
            used = used || is_of(p->policy, node);
        if (used)
            continue;
        TAILQ_REMOVE(&k->sets, node, link);
        policy_set_done(&node->set);
        free(node);
    }
}

static void retire(struct keeper *k, struct pool *p)
{
    if (p->is_retired)
        return;
    p->is_retired = true;
    p->retire_at_ms = k->now_ms + RETIRE_MS;
}

static struct pool *current_pool(const struct keeper *k, uint64_t key)
{
    struct pool *p;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        if (!p->is_retired && p->policy->key == key)
            return p;
    }
    return NULL;
}

/* A policy that was changed is in use as much as before: its new pool fills as far as the old one. */
static int64_t last_use(const struct keeper *k, const char *name)
{
    int64_t last = INT64_MIN;
    const struct pool *p;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        if (strcmp(p->policy->name, name) == 0 && p->used_ms > last)
            last = p->used_ms;
    }
    return last;
}

int upkeep_load(struct keeper *k, struct err *err)
{
    struct set_node *node = xcalloc(1, sizeof(*node));
    struct pool *p;

    if (policy_set_load(k->o->policies_dir, &node->set, err) < 0) {
        free(node);
        return -1;
    }
    TAILQ_INSERT_HEAD(&k->sets, node, link);
    for (size_t i = 0; i < node->set.n; i++) {
        const struct policy *y = &node->set.list[i];

        p = current_pool(k, y->key);
        if (p) {
            p->policy = y;
        } else {
            int64_t used_ms = last_use(k, y->name);

            p = pool_add(&k->pools, y, &(struct engine_image){.digest = ""});
            p->used_ms = used_ms;
        }
        p->retry_ms = k->now_ms; /* the tag may point to another image by now */
    }
    TAILQ_FOREACH (p, &k->pools.list, link) {
        if (!is_of(p->policy, node))
            retire(k, p);
    }
    free_unused_sets(k);
    return 0;
}

static void set_image(struct keeper *k, struct pool *p, const struct engine_image *image)
{
    p->retry_ms = INT64_MAX;
    if (p->image.digest[0] && strcmp(p->image.digest, image->digest) != 0) {
        struct pool *fresh = pool_add(&k->pools, p->policy, image);

        log_info("policy '%s' has a new image: %s", p->policy->name, image->digest);
        fresh->used_ms = p->used_ms;
        retire(k, p);
        p = fresh;
        p->retry_ms = INT64_MAX;
    }
    p->image = *image;
    p->is_missing = false;
    if (!p->footprint)
        p->footprint = footprint_load(k, p);
}

/*
 * What is left of the image is handed out still, but nothing more is made of it, and what comes
 * under its name next is another pool's: a reply names the image that served it.
 */
void upkeep_image_lost(struct keeper *k, struct pool *p)
{
    struct pool *next = p;

    line_refuse_all(p, REFUSE_IMAGE, IMAGE_RETRY_MS);
    p->image.digest[0] = '\0';
    if (p->is_retired)
        return;
    if (!pool_is_empty(p)) {
        next = pool_add(&k->pools, p->policy, &(struct engine_image){.digest = ""});
        next->used_ms = p->used_ms;
        next->is_missing = p->is_missing;
        retire(k, p);
    }
    next->footprint = 0;
    next->retry_ms = k->now_ms + IMAGE_RETRY_MS;
}

void upkeep_image_done(struct keeper *k, struct task *t)
{
    struct pool *p = current_pool(k, t->seq);

    if (!p)
        return;
    p->is_resolving = false;
    if (t->rc == 0) {
        upkeep_engine_works(k);
        set_image(k, p, &t->image);
        return;
    }
    if (t->err.kind != ERR_NOTFOUND) {
        p->retry_ms = k->now_ms + IMAGE_RETRY_MS;
        upkeep_engine_failed(k, &t->err);
        return;
    }
    if (!p->is_missing)
        log_warning("policy '%s': image '%s' is not in the engine", p->policy->name,
                    p->policy->image);
    p->is_missing = true;
    upkeep_image_lost(k, p);
}

static void resolve_images(struct keeper *k)
{
    struct pool *p;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        struct task *t;

        if (p->is_retired || p->is_resolving || p->retry_ms > k->now_ms)
            continue;
        t = task_new(TASK_IMAGE);
        t->seq = p->policy->key;
        t->text = xstrdup(p->policy->image);
        p->is_resolving = true;
        crew_add(k->crew, t);
    }
}

/* ---- orphans ---- */

static const struct member *known(const struct keeper *k, const struct engine_container *c)
{
    const struct member *m;

    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (strcmp(m->container, c->id) == 0 || strcmp(m->name, c->name) == 0)
            return m;
    }
    return NULL;
}

/* Ended, and still there at the next look: whoever had it made removes nothing any more. */
static bool is_left(const struct engine_container *c)
{
    return strstr(c->instance, KEEPER_RUN_MARK) &&
           (strcmp(c->state, "exited") == 0 || strcmp(c->state, "created") == 0 ||
            strcmp(c->state, "dead") == 0);
}

static bool was_left(const struct keeper *k, const struct engine_container *c)
{
    for (size_t i = 0; i < k->left_n; i++) {
        if (strcmp(k->left[i], c->id) == 0)
            return true;
    }
    return false;
}

static void note_left(struct keeper *k, const struct task *t)
{
    k->left = xarray(k->left, t->list_n ? t->list_n : 1, sizeof(*k->left));
    k->left_n = 0;
    for (size_t i = 0; i < t->list_n; i++) {
        if (is_left(&t->list[i]))
            (void)str_copy(k->left[k->left_n++], t->list[i].id, sizeof(*k->left));
    }
}

static bool is_orphan(const struct keeper *k, const struct engine_container *c, int64_t now_s)
{
    if (is_left(c) && was_left(k, c))
        return true;
    if (strcmp(c->instance, k->o->settings->instance) != 0)
        return false; /* another service's: not ours to judge */
    if (strcmp(c->epoch, k->epoch) != 0)
        return true; /* the lock on the state directory says that its keeper is dead */
    return !known(k, c) && now_s - c->created_s >= KEEPER_ORPHAN_MS / 1000;
}

void upkeep_list_done(struct keeper *k, struct task *t)
{
    int64_t now_s = (int64_t)time(NULL);
    unsigned found = 0;

    k->is_listing = false;
    if (t->rc < 0) {
        upkeep_engine_failed(k, &t->err);
        return;
    }
    upkeep_engine_works(k);
    k->is_swept = true;
    k->reconcile_ms = k->now_ms + KEEPER_RECONCILE_MS;
    for (size_t i = 0; i < t->list_n; i++) {
        struct task *kill;

        if (!is_orphan(k, &t->list[i], now_s))
            continue;
        kill = task_new(TASK_DESTROY);
        (void)str_copy(kill->container, t->list[i].id, sizeof(kill->container));
        crew_add(k->crew, kill);
        found++;
    }
    note_left(k, t);
    if (found)
        log_info("removing %u containers that no living keeper holds", found);
}

/* The next look at the engine's list finds it again: soon, not after the usual pause. */
void upkeep_orphan_stays(struct keeper *k)
{
    if (k->reconcile_ms > k->now_ms + ORPHAN_RETRY_MS)
        k->reconcile_ms = k->now_ms + ORPHAN_RETRY_MS;
}

/* ---- the engine's health ---- */

void upkeep_engine_failed(struct keeper *k, const struct err *err)
{
    int64_t wait = ENGINE_RETRY_FIRST_MS;

    for (unsigned i = 0; i < k->engine_fails && wait < ENGINE_RETRY_LAST_MS; i++)
        wait *= 2;
    if (k->engine_fails++ == 0)
        log_warning("the engine refused a call: %s", err->msg);
    k->engine_retry_ms = k->now_ms + (wait < ENGINE_RETRY_LAST_MS ? wait : ENGINE_RETRY_LAST_MS);
    if (!k->is_pinging) {
        /* Does it refuse this one call, or is it gone? */
        k->is_pinging = true;
        crew_add(k->crew, task_new(TASK_PING));
    }
}

void upkeep_engine_works(struct keeper *k)
{
    k->engine_fails = 0;
    k->engine_retry_ms = k->now_ms;
}

void upkeep_ping_done(struct keeper *k, const struct task *t)
{
    struct pool *p;

    k->is_pinging = false;
    if (t->rc == 0) {
        if (!k->is_engine_up) {
            log_info("the engine answers again");
            k->reconcile_ms = k->now_ms;
            upkeep_engine_works(k);
        }
        k->is_engine_up = true;
        return;
    }
    if (k->is_engine_up)
        log_error("the engine does not answer: %s", t->err.msg);
    k->is_engine_up = false;
    TAILQ_FOREACH (p, &k->pools.list, link)
        line_refuse_all(p, REFUSE_ENGINE, 2000);
}

static void ping_due(struct keeper *k)
{
    if (k->is_engine_up || k->is_pinging || k->now_ms < k->engine_retry_ms)
        return;
    k->engine_retry_ms = k->now_ms + ENGINE_RETRY_LAST_MS;
    k->is_pinging = true;
    crew_add(k->crew, task_new(TASK_PING));
}

/* ---- pools that were replaced ---- */

static bool has_full_successor(const struct keeper *k, const struct pool *old)
{
    const struct pool *p;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        if (!p->is_retired && strcmp(p->policy->name, old->policy->name) == 0)
            return p->image.digest[0] && p->counts[MEMBER_PARKED] >= p->target;
    }
    return true; /* the policy is gone for good */
}

static void retire_due(struct keeper *k)
{
    struct pool *p, *next;

    for (p = TAILQ_FIRST(&k->pools.list); p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (!p->is_retired)
            continue;
        if (p->retire_at_ms > k->now_ms && has_full_successor(k, p))
            p->retire_at_ms = k->now_ms;
        if (p->retire_at_ms <= k->now_ms && pool_is_empty(p))
            pool_free(&k->pools, p);
    }
}

void upkeep_due(struct keeper *k)
{
    if (k->is_stopping)
        return;
    ping_due(k);
    retire_due(k);
    if (!k->is_engine_up || k->now_ms < k->engine_retry_ms)
        return;
    resolve_images(k);
    if (!k->is_listing && k->now_ms >= k->reconcile_ms) {
        k->is_listing = true;
        crew_add(k->crew, task_new(TASK_LIST));
    }
}

int64_t upkeep_next_ms(const struct keeper *k)
{
    int64_t next = k->now_ms + 1000;

    if (k->engine_retry_ms > k->now_ms && k->engine_retry_ms < next)
        next = k->engine_retry_ms;
    return next;
}
