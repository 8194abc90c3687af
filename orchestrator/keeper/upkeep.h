#ifndef KEEPER_UPKEEP_H
#define KEEPER_UPKEEP_H

#include "keeper/state.h"

/* What the keeper looks after beside its members. */

/* ---- upkeep.c: policies, images, orphans, the engine's health ---- */
int upkeep_load(struct keeper *k, struct err *err) MUST_CHECK;
void upkeep_due(struct keeper *k);
void upkeep_image_done(struct keeper *k, struct task *t);
void upkeep_image_lost(struct keeper *k, struct pool *p); /* the engine no longer has it */
void upkeep_list_done(struct keeper *k, struct task *t);
void upkeep_orphan_stays(struct keeper *k); /* its removal failed */
void upkeep_engine_failed(struct keeper *k, const struct err *err);
void upkeep_engine_works(struct keeper *k);
void upkeep_ping_done(struct keeper *k, const struct task *t);
int64_t upkeep_next_ms(const struct keeper *k);

/* ---- footprint.c: how much a parked member needs, kept over restarts ---- */
uint64_t footprint_load(const struct keeper *k, const struct pool *p);
void footprint_save(const struct keeper *k, const struct pool *p);

/* ---- watch.c: the engine's events, in a thread of its own ---- */
struct watch_note {
    char container[ENGINE_ID_MAX];
    bool is_oom;
};
int watch_start(struct keeper *k, struct err *err) MUST_CHECK;

#endif
