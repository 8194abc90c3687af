#ifndef CORE_PORTER_WIRE_H
#define CORE_PORTER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/path.h"

/*
 * What front and porter say to each other, one message each over a SOCK_SEQPACKET pair. Both ends
 * are the same binary, so the structs themselves are the wire format; both ends check what they
 * read. Questions carry a number that the answer repeats; answers may overtake each other.
 */
enum porter_type {
    PORTER_LIST = 1, /* many answers, the last one says so */
    PORTER_OPEN,     /* path; the answer carries a descriptor to read from */
    PORTER_CREATE,   /* size, quota; the answer carries a token and a descriptor to write to */
    PORTER_COMMIT,   /* token, path, mode, quota; the token is used up whatever the answer */
    PORTER_DROP,     /* token; no answer */
    PORTER_MAKE_DIR, /* path */
    PORTER_REMOVE,   /* path, mtime_ns */
    PORTER_TYPES,
};

#define PORTER_BYTES_MAX ((uint64_t)1 << 60)

struct porter_ask {
    uint32_t type; /* enum porter_type */
    uint32_t mode; /* permission bits */
    uint64_t seq;
    uint64_t token;
    uint64_t size;    /* bytes that will be written, at most PORTER_BYTES_MAX */
    uint64_t quota;   /* bytes of all files together, the same */
    int64_t mtime_ns; /* 0: whatever it is */
    uint32_t path_len;
    uint32_t pad;                /* 0 */
    char path[PATH_REL_MAX + 1]; /* only the first path_len bytes are sent */
};

enum { PORTER_ASK_HEAD = offsetof(struct porter_ask, path) };

/* Why something was not done. */
enum porter_fault {
    PORTER_FINE,
    PORTER_GONE,      /* no such file, or none that can be opened */
    PORTER_NAME,      /* a name that is reserved for files of ours */
    PORTER_IS_DIR,    /* a directory stands there */
    PORTER_NO_DIR,    /* something else stands where a directory is needed, a link perhaps */
    PORTER_CHANGED,   /* it is no longer what was listed */
    PORTER_NOT_EMPTY, /* a directory that is to be removed */
    PORTER_QUOTA,     /* more bytes than the quota */
    PORTER_ENTRIES,   /* more than PORTER_ENTRIES_MAX files and directories */
    PORTER_BUSY,      /* too many questions or open files at once */
    PORTER_SPACE,     /* the file system is full */
    PORTER_DENIED,    /* the directory's owner has no right to */
    PORTER_TOKEN,     /* no such file under way */
    PORTER_SYSTEM,    /* any other system error */
    PORTER_FAULTS,
};

enum {
    PORTER_DATA_MAX = 16 * 1024, /* entries in one answer to LIST */
    PORTER_ENTRIES_MAX = 50000,  /* files and directories of a workspace */
    PORTER_FILES_MAX = 512,      /* files under way at once */
    PORTER_QUESTIONS_MAX = 1024, /* LIST questions at once */
};

struct porter_answer {
    uint32_t type;  /* of the question */
    uint32_t fault; /* enum porter_fault */
    int32_t sys;    /* errno behind the fault, 0 when there is none */
    uint32_t is_last;
    uint32_t count;    /* LIST: entries in `data` */
    uint32_t data_len; /* bytes of `data` that are sent; 0 unless LIST */
    uint64_t seq;
    uint64_t token;
    uint8_t data[PORTER_DATA_MAX];
};

enum { PORTER_ANSWER_HEAD = offsetof(struct porter_answer, data) };

/* One file or directory. The path is borrowed and not NUL-terminated. */
struct porter_entry {
    const char *path;
    size_t path_len;
    bool is_dir;
    uint32_t mode; /* permission bits */
    uint64_t size; /* 0 for directories */
    int64_t mtime_ns;
};

/* Length, type and every field are right for a message of `n` bytes; names pass path_check. */
bool porter_ask_is_valid(const struct porter_ask *a, ssize_t n);
bool porter_answer_is_valid(const struct porter_answer *a, ssize_t n, bool has_fd);

/* Appends to `a`; false when it is full. */
bool porter_entry_put(struct porter_answer *a, const struct porter_entry *e);

/*
 * Reads the entry at `*at`, which is moved behind it. False when something else stands there. The
 * caller asks as often as `count` says, and then expects `*at` to be `data_len`.
 */
bool porter_entry_get(const struct porter_answer *a, size_t *at, struct porter_entry *ret);

#endif
