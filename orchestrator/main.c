#include <stdio.h>

int main(void)
{
    (void)puts("oneshot " ONESHOT_VERSION);
    return 0;
}
