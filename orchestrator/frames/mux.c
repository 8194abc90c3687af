#include "frames/mux.h"

#include <stdbool.h>
#include <string.h>

enum { STREAM_OUT = 1, STREAM_ERR = 2 };

static bool take_head(struct mux *m)
{
    const uint8_t *h = m->head;

    m->stream = h[0];
    m->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    m->head_len = 0;
    return h[0] <= STREAM_ERR && !h[1] && !h[2] && !h[3];
}

long mux_strip(struct mux *m, uint8_t *data, size_t n)
{
    size_t in = 0, out = 0;

    while (in < n) {
        size_t take = n - in;

        if (!m->left) {
            m->head[m->head_len++] = data[in++];
            if (m->head_len == MUX_HEAD && !take_head(m))
                return -1;
            continue;
        }
        if (take > m->left)
            take = m->left;
        if (m->stream == STREAM_OUT) {
            memmove(data + out, data + in, take);
            out += take;
        }
        in += take;
        m->left -= (uint32_t)take;
    }
    return (long)out;
}
