#include "slack/board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/io.h"
#include "unit.h"

START_TEST(two_processes_count_on_one_board)
{
    struct board *b;
    pid_t pid;
    int fd, status;

    ck_assert_int_eq(board_make(&fd, NULL), 0);
    b = board_map(fd);
    ck_assert_ptr_nonnull(b);
    BOARD_COUNT(b, events[BOARD_HTTP][BOARD_TAKEN]);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct board *other = board_map(fd);

        BOARD_COUNT(other, events[BOARD_HTTP][BOARD_TAKEN]);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_uint_eq(b->events[BOARD_HTTP][BOARD_TAKEN], 2);
    ck_assert_uint_eq(b->events[BOARD_SOCKET][BOARD_TAKEN], 0);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(nobody_can_make_it_shorter)
{
    int fd;

    ck_assert_int_eq(board_make(&fd, NULL), 0);
    ck_assert_int_lt(ftruncate(fd, 0), 0);
    ck_assert_int_lt(ftruncate(fd, 1 << 20), 0);
    ck_assert_int_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(what_is_no_board_is_none)
{
    auto_fd int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    ck_assert_ptr_null(board_map(fd));
    ck_assert_ptr_null(board_map(-1));
    BOARD_COUNT((struct board *)NULL, calls);
    board_count_fault(NULL, ERR_BUSY);
}
END_TEST

static const struct {
    enum err_kind kind;
    int fault; /* -1: none */
} faults[] = {
    {ERR_LIMIT,     BOARD_RATELIMITED},
    {ERR_BUSY,      BOARD_UNREACHABLE},
    {ERR_TIMEOUT,   BOARD_UNREACHABLE},
    {ERR_DENIED,    BOARD_DENIED     },
    {ERR_INVALID,   BOARD_REFUSED    },
    {ERR_NOTFOUND,  BOARD_REFUSED    },
    {ERR_PEER,      BOARD_STRANGE    },
    {ERR_CANCELLED, -1               },
};

START_TEST(failures_are_counted_by_what_they_are)
{
    static struct board b;

    board_count_fault(&b, faults[_i].kind);
    for (int i = 0; i < BOARD_FAULTS; i++)
        ck_assert_uint_eq(b.faults[i], i == faults[_i].fault);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, two_processes_count_on_one_board);
    tcase_add_test(t, nobody_can_make_it_shorter);
    tcase_add_test(t, what_is_no_board_is_none);
    tcase_add_loop_test(t, failures_are_counted_by_what_they_are, 0, ARRAY_LEN(faults));
}

UNIT_MAIN("slack_board", add_tests)
