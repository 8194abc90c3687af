#include "cmd/make_generator.h"

#include <string.h>
#include <strings.h>

#include "base/fetch.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/cohere.h"
#include "model/generate.h"

enum { CA_MAX = 4 * 1024 * 1024 };

int generator_files_open(const struct settings *s, struct generator_files *ret, struct err *err)
{
    size_t n;

    *ret = (struct generator_files){0};
    guide_init(&ret->guide, s->generate_guide);
    if (!s->ca_file[0])
        return 0;
    if (io_read_file(s->ca_file, CA_MAX, &ret->ca_pem, &n, err) < 0)
        return err_wrap(err, "model.ca_file");
    return 0;
}

void generator_files_done(struct generator_files *f)
{
    guide_done(&f->guide);
    free(f->ca_pem);
    f->ca_pem = NULL;
}

/* A key in the clear is for machines that nobody listens to. */
static void warn(const struct settings *s)
{
    const char *instead = cohere_replacement(s->model_name);

    if (instead)
        log_warning("model '%s' is deprecated and may stop working: set COHERE_MODEL=%s",
                    s->model_name, instead);
    if (str_starts(s->model_url, "http://") && !fetch_is_this_machine(s->model_url))
        log_warning("model.url is http: the API key crosses the network unprotected");
}

static int make_model(const struct settings *s, const char *ca_pem, struct model **ret,
                      struct err *err)
{
    const struct cohere_options o = {
        .url = s->model_url,
        .key = s->model_key,
        .name = s->model_name,
        .api = s->model_api == MODEL_API_V1 ? COHERE_V1 : COHERE_V2,
        .ca_pem = ca_pem,
        .temperature = s->model_temperature,
        .max_tokens = s->model_max_tokens,
        .timeout_ms = s->model_timeout_ms,
        .retries = s->model_retries,
        .rate_per_minute = s->model_rate,
    };

    *ret = NULL;
    if (!s->model_key[0])
        return 0;
    warn(s);
    return cohere_new(&o, ret, err);
}

static int make_runner(const struct settings *s, const char *ca_pem, struct core *core,
                       struct runner **ret, struct err *err)
{
    if (s->sandbox_url[0])
        return runner_http_new(s->sandbox_url, s->sandbox_timeout_ms, ca_pem, ret, err);
    *ret = runner_core_new(core, s->generate_policy);
    return 0;
}

int make_generator(const struct settings *s, struct generator_files *files,
                   const struct generator_place *place, struct generator **ret, struct err *err)
{
    struct generator_options o = {
        .guide = &files->guide,
        .store = place->store,
        .spool_dir = place->spool_dir,
        .max_retries = s->generate_retries,
        .timeout_ms = s->generate_timeout_ms,
        .error_max = s->generate_error_max,
        .checks_slicks = s->generate_checks_slicks,
        .checks_plots = s->generate_checks_plots,
    };

    if (make_model(s, files->ca_pem, &o.model, err) < 0)
        return -1;
    if (make_runner(s, files->ca_pem, place->core, &o.runner, err) < 0) {
        model_free(o.model);
        return -1;
    }
    *ret = generator_new(&o);
    generator_files_done(files);
    return 0;
}
