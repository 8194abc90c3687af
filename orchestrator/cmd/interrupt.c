#include "cmd/interrupt.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/child.h"

int interrupt_open(int *ret_fd, struct err *err)
{
    sigset_t set;

    child_signals();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    *ret_fd = signalfd(-1, &set, SFD_CLOEXEC);
    return *ret_fd < 0 ? err_sys(err, "signalfd") : 0;
}

static void *watch(void *arg)
{
    struct interrupt *w = arg;
    struct signalfd_siginfo info;

    while (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR1)
            return NULL;
        if (w->signal)
            _exit(128 + w->signal);
        w->signal = (int)info.ssi_signo;
        w->cancel(w->ctx);
    }
    return NULL;
}

void interrupt_watch(struct interrupt *w)
{
    w->has_thread = pthread_create(&w->thread, NULL, watch, w) == 0;
}

void interrupt_end(struct interrupt *w)
{
    if (!w->has_thread)
        return;
    (void)pthread_kill(w->thread, SIGUSR1);
    (void)pthread_join(w->thread, NULL);
    w->has_thread = false;
}
