/* Force-included (-include) into every file of ours: these names do not compile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* clang has some of them as macros of its own, which it does not let us forbid. */
#ifndef __clang__
#pragma GCC poison strcpy strcat strncpy strncat strtok sprintf vsprintf gets atoi atol atof
#pragma GCC poison localtime gmtime ctime asctime mktemp tmpnam system popen
#endif
