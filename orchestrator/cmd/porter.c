#include <stdio.h>

#include "base/log.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "core/porter.h"

/* `oneshot _porter DIRECTORY`: serves the directory to the front over descriptor 3. */
int cmd_porter(int argc, char **argv)
{
    struct err err = {0};

    if (argc != 2)
        return EXIT_USAGE;
    child_signals();
    log_init("porter", LOG_INFO, LOG_TEXT, 2);
    if (porter_run(argv[1], CHILD_CONTROL, &err) == 0)
        return 0;
    log_error("%s", err.msg);
    return 1;
}
