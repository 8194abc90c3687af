#include "slack/board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"

int board_make(int *ret_fd, struct err *err)
{
    auto_fd int fd = memfd_create("slack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return err_sys(err, "memfd_create");
    /* Sealed: a process that makes it shorter would end the other one with a signal. */
    if (ftruncate(fd, sizeof(struct board)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_sys(err, "memfd");
    *ret_fd = take_fd(&fd);
    return 0;
}

struct board *board_map(int fd)
{
    struct stat st;
    void *p;

    if (fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(struct board))
        return NULL;
    p = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

void board_count_fault(struct board *b, enum err_kind kind)
{
    switch (kind) {
    case ERR_LIMIT:
        BOARD_COUNT(b, faults[BOARD_RATELIMITED]);
        break;
    case ERR_BUSY:
    case ERR_TIMEOUT:
        BOARD_COUNT(b, faults[BOARD_UNREACHABLE]);
        break;
    case ERR_DENIED:
        BOARD_COUNT(b, faults[BOARD_DENIED]);
        break;
    case ERR_INVALID:
    case ERR_NOTFOUND:
        BOARD_COUNT(b, faults[BOARD_REFUSED]);
        break;
    case ERR_PEER:
    case ERR_INTERNAL:
        BOARD_COUNT(b, faults[BOARD_STRANGE]);
        break;
    case ERR_NONE:
    case ERR_CANCELLED:
        break;
    }
}
