/* `oneshot _health URL`: for health checks of containers, whose images hold no curl. */
#include <curl/curl.h>
#include <stdio.h>

#include "cmd/cmd.h"

enum { HEALTH_TIMEOUT_S = 4 };

int cmd_health(int argc, char **argv)
{
    CURL *curl = argc == 2 ? curl_easy_init() : NULL;
    CURLcode rc;

    if (!curl)
        return EXIT_USAGE;
    (void)curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)HEALTH_TIMEOUT_S);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    rc = curl_easy_perform(curl);
    (void)puts("");
    curl_easy_cleanup(curl);
    if (rc != CURLE_OK)
        (void)fprintf(stderr, "oneshot: %s: %s\n", argv[1], curl_easy_strerror(rc));
    return rc == CURLE_OK ? 0 : 1;
}
