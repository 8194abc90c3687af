#include "unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/utf8.h"
#include "engine/docker_json.h"

#define ID64  "2e65969538ae5aece3fa9c3207e27f264a265073bf04f8a6ebe9224ae1125f71"
#define SHA64 "sha256:" ID64

static int created(const char *json, char id[ENGINE_ID_MAX], struct docker_warnings *w,
                   struct err *err)
{
    return docker_json_created(json, strlen(json), id, w, err);
}

START_TEST(reads_id_and_no_warnings_of_a_create)
{
    static const char *const bodies[] = {
        "{\"Id\":\"" ID64 "\",\"Warnings\":[]}\n",
        "{\"Id\":\"" ID64 "\",\"Warnings\":null}",
        "{\"Id\":\"" ID64 "\"}",
    };
    char id[ENGINE_ID_MAX] = "";
    struct docker_warnings w;

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        ck_assert_int_eq(created(bodies[i], id, &w, NULL), 0);
        ck_assert_str_eq(id, ID64);
        ck_assert_uint_eq(w.lacks, 0);
        ck_assert_str_eq(w.denied, "");
    }
}
END_TEST

static const struct warning_case {
    const char *text, *denied;
    uint32_t lacks;
} warning_cases[] = {
    {"Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
     "Memory limited without swap.",                                                  "",                        ENGINE_LACKS_SWAP_LIMIT},
    {"Your kernel does not support memory swappiness capabilities or the cgroup is not "
     "mounted. Memory swappiness discarded.",                                         "",                        ENGINE_LACKS_SWAPPINESS},
    {"Your kernel does not support pids limit capabilities or the cgroup is not mounted.",
     "Your kernel does not support pids limit capabilities or the cgroup is not mounted.",                            0                      },
    {"Your kernel does not support memory limit capabilities",
     "Your kernel does not support memory limit capabilities",                                                        0                      },
    {"a\\u001b[31mb\\nc",                                                                  "a [31mb c",               0                      },
    {"",                                                                                   "a warning without words", 0                      },
};

START_TEST(tells_comfort_from_limits_that_do_not_hold)
{
    const struct warning_case *c = &warning_cases[_i];
    char json[1024], id[ENGINE_ID_MAX];
    struct docker_warnings w;

    (void)snprintf(json, sizeof(json), "{\"Id\":\"" ID64 "\",\"Warnings\":[\"%s\"]}", c->text);
    ck_assert_int_eq(created(json, id, &w, NULL), 0);
    ck_assert_uint_eq(w.lacks, c->lacks);
    ck_assert_str_eq(w.denied, c->denied);
}
END_TEST

START_TEST(keeps_the_first_of_several_warnings_that_matter)
{
    char id[ENGINE_ID_MAX];
    struct docker_warnings w;

    ck_assert_int_eq(created("{\"Id\":\"" ID64 "\",\"Warnings\":[\"does not support swap limit\","
                             "\"first\",\"second\"]}",
                             id, &w, NULL),
                     0);
    ck_assert_uint_eq(w.lacks, ENGINE_LACKS_SWAP_LIMIT);
    ck_assert_str_eq(w.denied, "first");
    ck_assert_int_eq(docker_json_updated("{\"Warnings\":[\"no\"]}", 19, &w, NULL), 0);
    ck_assert_str_eq(w.denied, "no");
}
END_TEST

START_TEST(every_lack_has_its_text)
{
    ck_assert_ptr_nonnull(strstr(engine_lack_text(ENGINE_LACKS_SWAP_LIMIT), "swap accounting"));
    ck_assert_str_eq(engine_lack_text(ENGINE_LACKS_SWAPPINESS), "memory swappiness");
    ck_assert_str_eq(engine_lack_text((enum engine_lack)1024), "nothing");
}
END_TEST

/* Each decoder as one shape, so that one table can feed them all. */
static int as_created(const char *s, size_t n, struct err *err)
{
    char id[ENGINE_ID_MAX];
    struct docker_warnings w;

    return docker_json_created(s, n, id, &w, err);
}

static int as_updated(const char *s, size_t n, struct err *err)
{
    struct docker_warnings w;

    return docker_json_updated(s, n, &w, err);
}

static int as_state(const char *s, size_t n, struct err *err)
{
    struct engine_state state;

    return docker_json_state(s, n, &state, err);
}

static int as_exit(const char *s, size_t n, struct err *err)
{
    int code;

    return docker_json_exit(s, n, &code, err);
}

static int as_list(const char *s, size_t n, struct err *err)
{
    struct engine_container *list = NULL;
    size_t count;
    int rc = docker_json_list(s, n, &list, &count, err);

    free(list);
    return rc;
}

static int as_image(const char *s, size_t n, struct err *err)
{
    struct engine_image image;

    return docker_json_image(s, n, &image, err);
}

static int as_usage(const char *s, size_t n, struct err *err)
{
    uint64_t bytes;

    return docker_json_usage(s, n, &bytes, err);
}

static int as_cgroup(const char *s, size_t n, struct err *err)
{
    int version;

    return docker_json_cgroup(s, n, &version, err);
}

static bool never(void *ctx, const struct engine_event *ev)
{
    (void)ctx, (void)ev;
    ck_abort_msg("no event was to be told");
    return false;
}

static int as_event(const char *s, size_t n, struct err *err)
{
    bool go_on;

    return docker_json_event(s, n, never, NULL, &go_on, err);
}

typedef int decoder(const char *s, size_t n, struct err *err);
static decoder *const decoders[] = {as_created, as_updated, as_state,  as_exit, as_list,
                                    as_image,   as_usage,   as_cgroup, as_event};

static const char *const broken[] = {
    "",
    " \n",
    "{",
    "{\"Id\":",
    "[1,2",
    "\"open",
    "nul",
    "{} x",
    "{}{}",
    "[]]",
    "\xff\xfe",
    "<html>",
    "1e",
    "{\"Id\":\"" ID64 "\",\"StatusCode\":0,\"Warnings\":[],\"State\":{\"Status\":\"exited\"",
};

START_TEST(no_decoder_takes_what_is_not_whole_json)
{
    for (size_t i = 0; i < ARRAY_LEN(decoders); i++) {
        struct err err = {0};

        ck_assert_int_eq(decoders[i](broken[_i], strlen(broken[_i]), &err), -1);
        ck_assert_int_eq(err.kind, ERR_PEER);
    }
}
END_TEST

START_TEST(no_decoder_takes_json_that_is_too_deep_or_too_large)
{
    CLEANUP(buf_done) struct buf deep = {0};
    CLEANUP(buf_done) struct buf wide = {0};

    buf_init(&deep, 4 * 1000 * 1000);
    buf_init(&wide, 4 * 1000 * 1000);
    (void)buf_str(&deep, "{\"State\":");
    for (int i = 0; i < 1000 * 1000; i++)
        (void)buf_char(&deep, '[');
    (void)buf_str(&wide, "{\"Warnings\":[0");
    for (int i = 0; i < 1000 * 1000; i++)
        (void)buf_str(&wide, ",0");
    (void)buf_str(&wide, "]}");
    for (size_t i = 0; i < ARRAY_LEN(decoders); i++) {
        struct err err = {0};

        ck_assert_int_eq(decoders[i](deep.data, deep.len, &err), -1);
        ck_assert_int_eq(err.kind, ERR_PEER);
        ck_assert_msg(strstr(err.msg, "deep") != NULL, "%s", err.msg);
        ck_assert_int_eq(decoders[i](wide.data, wide.len, &err), -1);
        ck_assert_int_eq(err.kind, ERR_PEER);
        ck_assert_msg(strstr(err.msg, "More than 400000 values") != NULL, "%s", err.msg);
    }
}
END_TEST

START_TEST(brackets_in_strings_are_not_depth)
{
    char json[1024] = "{\"Id\":\"" ID64 "\",\"x\":\"\\\"";
    char id[ENGINE_ID_MAX];
    struct docker_warnings w;
    size_t n = strlen(json);

    memset(json + n, '[', 200);
    (void)str_copy(json + n + 200, "\\\\\"}", 16);
    ck_assert_int_eq(created(json, id, &w, NULL), 0);
}
END_TEST

/* A missing or wrong member is an error that names it, never a 0. */
static const struct bad_case {
    decoder *fn;
    const char *json, *mention;
} bad[] = {
    {as_created, "{}",                                                                               "'Id'"        },
    {as_created, "[]",                                                                               "object"      },
    {as_created, "{\"Id\":7}",                                                                       "'Id'"        },
    {as_created, "{\"Id\":\"\"}",                                                                    "'Id'"        },
    {as_created, "{\"Id\":\"../../x\"}",                                                             "'Id'"        },
    {as_created, "{\"Id\":\"" ID64 ID64 "\"}",                                                       "'Id'"        },
    {as_created, "{\"Id\":\"" ID64 "\",\"Warnings\":{}}",                                            "'Warnings'"  },
    {as_created, "{\"Id\":\"" ID64 "\",\"Warnings\":[1]}",                                           "'Warnings'"  },
    {as_updated, "[]",                                                                               "object"      },
    {as_updated, "{\"Warnings\":\"x\"}",                                                             "'Warnings'"  },
    {as_state,   "{}",                                                                               "State"       },
    {as_state,   "[]",                                                                               "State"       },
    {as_state,   "{\"State\":{\"Running\":false,\"OOMKilled\":false,\"ExitCode\":0}}",               "'Status'"    },
    {as_state,   "{\"State\":{\"Status\":\"exited\",\"OOMKilled\":false,\"ExitCode\":0}}",
     "'Running'"                                                                                                   },
    {as_state,   "{\"State\":{\"Status\":\"exited\",\"Running\":false,\"ExitCode\":0}}",
     "'OOMKilled'"                                                                                                 },
    {as_state,   "{\"State\":{\"Status\":\"exited\",\"Running\":false,\"OOMKilled\":false}}",
     "'ExitCode'"                                                                                                  },
    {as_state,
     "{\"State\":{\"Status\":\"exited\",\"Running\":false,\"OOMKilled\":false,\"ExitCode\":-1}}",    "exit code"   },
    {as_state,
     "{\"State\":{\"Status\":\"exited\",\"Running\":false,\"OOMKilled\":false,\"ExitCode\":\"0\"}}", "'ExitCode'"  },
    {as_state,
     "{\"State\":{\"Status\":\"exited\",\"Running\":null,\"OOMKilled\":false,\"ExitCode\":0}}",      "'Running'"   },
    {as_exit,    "{}",                                                                               "'StatusCode'"},
    {as_exit,    "{\"StatusCode\":null}",                                                            "'StatusCode'"},
    {as_exit,    "{\"StatusCode\":1.5}",                                                             "'StatusCode'"},
    {as_exit,    "{\"StatusCode\":-1}",                                                              "'StatusCode'"},
    {as_exit,    "{\"StatusCode\":256}",                                                             "'StatusCode'"},
    {as_exit,    "{\"StatusCode\":0,\"Error\":{\"Message\":\"removal failed\"}}",                    "removal"     },
    {as_list,    "{}",                                                                               "list"        },
    {as_list,    "[{}]",                                                                             "'Id'"        },
    {as_list,    "[7]",                                                                              "object"      },
    {as_list,    "[{\"Id\":\"not an id\"}]",                                                         "'Id'"        },
    {as_list,    "[{\"Id\":\"" ID64 "\",\"Created\":\"now\"}]",                                      "'Created'"   },
    {as_image,   "{}",                                                                               "'Id'"        },
    {as_image,   "{\"Id\":\"" SHA64 "\",\"Config\":{}}",                                             "'Size'"      },
    {as_image,   "{\"Id\":\"" SHA64 "\",\"Size\":1}",                                                "'Config'"    },
    {as_image,   "{\"Id\":\"" SHA64 "\",\"Size\":1,\"Config\":null}",                                "'Config'"    },
    {as_image,   "{\"Id\":\"" ID64 "\",\"Size\":1,\"Config\":{}}",                                   "'Id'"        },
    {as_image,   "{\"Id\":\"sha256:12\",\"Size\":1,\"Config\":{}}",                                  "'Id'"        },
    {as_usage,   "{}",                                                                               "memory"      },
    {as_usage,   "[]",                                                                               "memory"      },
    {as_usage,   "{\"memory_stats\":{}}",                                                            "memory"      },
    {as_usage,   "{\"memory_stats\":{\"usage\":5}}",                                                 "memory"      },
    {as_usage,   "{\"memory_stats\":{\"usage\":5,\"stats\":{\"cache\":1}}}",                         "memory"      },
    {as_usage,   "{\"memory_stats\":{\"usage\":-5,\"stats\":{\"inactive_file\":1}}}",                "memory"      },
    {as_usage,   "{\"memory_stats\":{\"usage\":1e300,\"stats\":{\"inactive_file\":1}}}",             "memory"      },
    {as_cgroup,  "[]",                                                                               "object"      },
    {as_event,   "[]",                                                                               "object"      },
};

START_TEST(names_the_member_that_is_missing_or_wrong)
{
    struct err err = {0};

    ck_assert_int_eq(bad[_i].fn(bad[_i].json, strlen(bad[_i].json), &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_msg(strstr(err.msg, bad[_i].mention) != NULL, "'%s' in '%s'", bad[_i].mention,
                  err.msg);
}
END_TEST

START_TEST(refuses_an_image_that_declares_volumes)
{
    static const char with[] = "{\"Id\":\"" SHA64 "\",\"Size\":180701535,"
                               "\"Config\":{\"Volumes\":{\"/data\":{}}}}";
    static const char *const without[] = {
        "{\"Id\":\"" SHA64 "\",\"Size\":180701535,\"Config\":{\"Volumes\":null}}",
        "{\"Id\":\"" SHA64 "\",\"Size\":180701535,\"Config\":{\"Volumes\":{}}}",
        "{\"Id\":\"" SHA64 "\",\"Size\":180701535,\"Config\":{}}",
    };
    struct engine_image image = {0};
    struct err err = {0};

    ck_assert_int_eq(docker_json_image(with, strlen(with), &image, &err), -1);
    ck_assert_int_eq(err.kind, ERR_DENIED);
    for (size_t i = 0; i < ARRAY_LEN(without); i++) {
        ck_assert_int_eq(docker_json_image(without[i], strlen(without[i]), &image, NULL), 0);
        ck_assert_str_eq(image.digest, SHA64);
        ck_assert_uint_eq(image.size, 180701535);
    }
}
END_TEST

static const struct state_case {
    const char *status, *running, *oom;
    int code, want;
} state_cases[] = {
    {"exited",   "false", "false", 0,   0                  },
    {"exited",   "false", "true",  137, 137                },
    {"running",  "true",  "false", 0,   ENGINE_EXIT_UNKNOWN},
    {"created",  "false", "false", 0,   ENGINE_EXIT_UNKNOWN},
    {"created",  "false", "false", 127, ENGINE_EXIT_UNKNOWN},
    {"dead",     "false", "false", 0,   ENGINE_EXIT_UNKNOWN},
    {"removing", "false", "false", 0,   ENGINE_EXIT_UNKNOWN},
    {"exited",   "true",  "false", 0,   ENGINE_EXIT_UNKNOWN},
};

START_TEST(knows_an_exit_code_of_exited_containers_alone)
{
    const struct state_case *c = &state_cases[_i];
    struct engine_state state = {0};
    char json[256];

    (void)snprintf(
        json, sizeof(json),
        "{\"State\":{\"Status\":\"%s\",\"Running\":%s,\"OOMKilled\":%s,\"ExitCode\":%d}}",
        c->status, c->running, c->oom, c->code);
    ck_assert_int_eq(docker_json_state(json, strlen(json), &state, NULL), 0);
    ck_assert_int_eq(state.exit_code, c->want);
    ck_assert_int_eq(state.is_running, strcmp(c->running, "true") == 0);
    ck_assert_int_eq(state.is_oom, strcmp(c->oom, "true") == 0);
}
END_TEST

START_TEST(reads_the_exit_code_of_a_wait)
{
    static const char docker[] = "{\"Error\":null,\"StatusCode\":137}\n";
    static const char podman[] = "{\"Error\":{\"Message\":\"\"},\"StatusCode\":0}";
    int code = -7;

    ck_assert_int_eq(docker_json_exit(docker, strlen(docker), &code, NULL), 0);
    ck_assert_int_eq(code, 137);
    ck_assert_int_eq(docker_json_exit(podman, strlen(podman), &code, NULL), 0);
    ck_assert_int_eq(code, 0);
}
END_TEST

START_TEST(reads_a_list_and_leaves_out_what_does_not_fit)
{
    char json[4096], longer[200];
    struct engine_container *list = NULL;
    size_t n = 0;

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)snprintf(json, sizeof(json),
                   "[{\"Id\":\"" ID64 "\",\"Names\":[\"/one\"],\"Created\":1795258297,"
                   "\"Labels\":{\"oneshot.epoch\":\"e1\",\"oneshot.instance\":\"rec\","
                   "\"oneshot.policy\":\"default\"},\"State\":\"running\"},"
                   "{\"Id\":\"ab12\",\"Names\":null,\"Labels\":{\"oneshot.instance\":\"%s\"}}]",
                   longer);
    ck_assert_int_eq(docker_json_list(json, strlen(json), &list, &n, NULL), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(list[0].id, ID64);
    ck_assert_str_eq(list[0].name, "one");
    ck_assert_str_eq(list[0].instance, "rec");
    ck_assert_str_eq(list[0].epoch, "e1");
    ck_assert_str_eq(list[0].policy, "default");
    ck_assert_str_eq(list[0].state, "running");
    ck_assert_int_eq(list[0].created_s, 1795258297);
    ck_assert_str_eq(list[1].id, "ab12");
    ck_assert_str_eq(list[1].name, "");
    ck_assert_str_eq(list[1].instance, "");
    ck_assert_str_eq(list[1].state, "");
    ck_assert_int_eq(list[1].created_s, ENGINE_TIME_UNKNOWN);
    free(list);
}
END_TEST

START_TEST(an_empty_list_is_no_error)
{
    struct engine_container *list = NULL;
    size_t n = 7;

    ck_assert_int_eq(docker_json_list("[]\n", 3, &list, &n, NULL), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(docker_json_list("null", 4, &list, &n, NULL), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_ptr_null(list);
}
END_TEST

static const struct usage_case {
    const char *json;
    uint64_t want;
} usage_cases[] = {
    /* cgroup v1, as an engine 20.10 sent it */
    {"{\"memory_stats\":{\"usage\":2965504,\"max_usage\":3555328,\"stats\":{\"active_anon\":4096,"
     "\"cache\":2277376,\"inactive_anon\":98304,\"inactive_file\":77,\"rss\":106496,"
     "\"total_inactive_file\":2277376},\"limit\":67108864}}",               688128 },
    /* cgroup v2: no max_usage, no totals */
    {"{\"memory_stats\":{\"usage\":11902976,\"stats\":{\"active_anon\":16384,"
     "\"active_file\":212992,\"anon\":9580544,\"file\":7012352,\"inactive_anon\":9580544,"
     "\"inactive_file\":6782976,\"pgfault\":8003},\"limit\":16692396032}}", 5120000},
    {"{\"memory_stats\":{\"usage\":10,\"stats\":{\"inactive_file\":20}}}",       0      },
};

START_TEST(counts_memory_without_reclaimable_cache_on_both_cgroups)
{
    uint64_t bytes = 7;

    ck_assert_int_eq(
        docker_json_usage(usage_cases[_i].json, strlen(usage_cases[_i].json), &bytes, NULL), 0);
    ck_assert_uint_eq(bytes, usage_cases[_i].want);
}
END_TEST

START_TEST(reads_the_cgroup_version_or_that_there_is_none)
{
    static const struct {
        const char *json;
        int want;
    } cases[] = {
        {"{\"CgroupVersion\":\"1\"}", 1},
        {"{\"CgroupVersion\":\"2\"}", 2},
        {"{\"CgroupVersion\":\"3\"}", 0},
        {"{\"CgroupVersion\":1}",     0},
        {"{}",                        0},
    };
    int version = -1;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_int_eq(docker_json_cgroup(cases[i].json, strlen(cases[i].json), &version, NULL),
                         0);
        ck_assert_int_eq(version, cases[i].want);
    }
}
END_TEST

struct seen {
    char action[32], id[ENGINE_ID_MAX], name[32], instance[32];
    int64_t time_ns;
    bool answer;
};

static bool see(void *ctx, const struct engine_event *ev)
{
    struct seen *s = ctx;

    (void)str_copy(s->action, ev->action, sizeof(s->action));
    (void)str_copy(s->id, ev->id, sizeof(s->id));
    (void)str_copy(s->name, ev->name, sizeof(s->name));
    (void)str_copy(s->instance, ev->instance, sizeof(s->instance));
    s->time_ns = ev->time_ns;
    return s->answer;
}

static const struct event_case {
    const char *json, *action, *id, *name, *instance;
    int64_t time_ns;
} event_cases[] = {
    /* up to 1.51: both forms at once */
    {"{\"status\":\"die\",\"id\":\"ab\",\"from\":\"i\",\"Type\":\"container\",\"Action\":\"die\","
     "\"Actor\":{\"ID\":\"ab\",\"Attributes\":{\"exitCode\":\"137\",\"name\":\"n\","
     "\"oneshot.instance\":\"me\"}},\"scope\":\"local\",\"time\":1795258298,"
     "\"timeNano\":1795258298180546816}",                                        "die",     "ab", "n", "me", 1795258298180546816},
    /* from 1.52 */
    {"{\"Type\":\"container\",\"Action\":\"oom\",\"Actor\":{\"ID\":\"cd\",\"Attributes\":{"
     "\"name\":\"n\"}},\"scope\":\"local\",\"time\":1,\"timeNano\":1000000000}", "oom",     "cd", "n", "",   1000000000         },
    /* the oldest */
    {"{\"status\":\"destroy\",\"id\":\"ef\",\"from\":\"i\",\"time\":1}",              "destroy", "ef", "",  "",
     ENGINE_TIME_UNKNOWN                                                                                                             },
};

START_TEST(reads_events_of_every_api_version)
{
    const struct event_case *c = &event_cases[_i];
    struct seen s = {.answer = true};
    bool go_on = false;

    ck_assert_int_eq(docker_json_event(c->json, strlen(c->json), see, &s, &go_on, NULL), 1);
    ck_assert(go_on);
    ck_assert_str_eq(s.action, c->action);
    ck_assert_str_eq(s.id, c->id);
    ck_assert_str_eq(s.name, c->name);
    ck_assert_str_eq(s.instance, c->instance);
    ck_assert_int_eq(s.time_ns, c->time_ns);
    s.answer = false;
    ck_assert_int_eq(docker_json_event(c->json, strlen(c->json), see, &s, &go_on, NULL), 1);
    ck_assert(!go_on);
}
END_TEST

START_TEST(skips_events_that_are_about_something_else)
{
    static const char *const lines[] = {
        "{}",
        "{\"Type\":\"network\",\"Action\":\"connect\",\"Actor\":{\"ID\":\"ab\"}}",
        "{\"Type\":\"container\",\"Action\":\"die\"}",
        "{\"Type\":\"container\",\"Actor\":{\"ID\":\"ab\"}}",
        "{\"Type\":7,\"Action\":[],\"Actor\":\"x\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        ck_assert_int_eq(as_event(lines[i], strlen(lines[i]), NULL), 0);
}
END_TEST

static const struct text_case {
    const char *body, *want;
} text_cases[] = {
    {"{\"message\":\"No such image: x\"}\n",                           "No such image: x"                       },
    {"{\"cause\":\"c\",\"message\":\"all of it\",\"response\":404}",   "all of it"                              },
    {"{\"cause\":\"only the cause\",\"message\":\"\"}",                "only the cause"                         },
    {"client version 1.11 is too old. Minimum\r\n",                    "client version 1.11 is too old. Minimum"},
    {"2d\r\n{\"message\":\"in a chunk\"}\r\n0\r\n\r\n",                "in a chunk"                             },
    {"{\"message\":\"OCI: \\u001b[2J\\n exec\\u007f \\\"/x\\\"\\n\"}", "OCI:  [2J  exec  \"/x\""                },
    {"{\"message\":",                                                  "{\"message\":"                          },
    {"{\"message\":7}",                                                "{\"message\":7}"                        },
    {"bad \xff byte",                                                  "bad \xef\xbf\xbd byte"                  },
    {"",                                                               ""                                       },
    {"\n\n",                                                           ""                                       },
};

START_TEST(passes_the_engines_own_words_on)
{
    char out[DOCKER_TEXT_MAX];

    docker_json_text(text_cases[_i].body, strlen(text_cases[_i].body), out);
    ck_assert_str_eq(out, text_cases[_i].want);
}
END_TEST

/* As engine 28 says it. */
START_TEST(keeps_the_cause_of_a_long_text)
{
    static const char body[] =
        "{\"message\":\"failed to create task for container: failed to create shim task: OCI "
        "runtime "
        "create failed: runc create failed: unable to start container process: error during "
        "container "
        "init: exec: \\\"/no/such/program\\\": stat /no/such/program: no such file or directory\"}";
    char out[DOCKER_TEXT_MAX];

    docker_json_text(body, strlen(body), out);
    ck_assert(str_starts(out, "failed to create task for container: failed to create shim task: "));
    ck_assert_ptr_nonnull(strstr(out, "…"));
    ck_assert_ptr_nonnull(strstr(out, "stat /no/such/program: no such file or directory"));
}
END_TEST

START_TEST(cuts_long_words_between_characters)
{
    for (size_t first = 0; first < 4; first++) {
        char in[400] = "xxxx", out[DOCKER_TEXT_MAX];

        for (size_t i = first; i + 2 < sizeof(in); i += 2)
            memcpy(in + i, "\xc3\xa4", 3);
        docker_json_text(in, strlen(in), out);
        ck_assert_uint_ge(strlen(out), DOCKER_TEXT_MAX - 3);
        ck_assert_uint_eq(utf8_valid_prefix(out, strlen(out)), strlen(out));
        ck_assert_ptr_null(strstr(out, "\xef\xbf\xbd"));
    }
}
END_TEST

START_TEST(fills_what_there_is_for_a_text)
{
    for (size_t n = DOCKER_TEXT_MAX - 2; n < DOCKER_TEXT_MAX + 2; n++) {
        char in[DOCKER_TEXT_MAX + 2], out[DOCKER_TEXT_MAX];

        memset(in, 'x', sizeof(in));
        docker_json_text(in, n, out);
        ck_assert_uint_eq(strlen(out), n < DOCKER_TEXT_MAX ? n : DOCKER_TEXT_MAX - 1);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, reads_id_and_no_warnings_of_a_create);
    tcase_add_loop_test(t, tells_comfort_from_limits_that_do_not_hold, 0, ARRAY_LEN(warning_cases));
    tcase_add_test(t, keeps_the_first_of_several_warnings_that_matter);
    tcase_add_test(t, every_lack_has_its_text);
    tcase_add_loop_test(t, no_decoder_takes_what_is_not_whole_json, 0, ARRAY_LEN(broken));
    tcase_add_test(t, no_decoder_takes_json_that_is_too_deep_or_too_large);
    tcase_add_test(t, brackets_in_strings_are_not_depth);
    tcase_add_loop_test(t, names_the_member_that_is_missing_or_wrong, 0, ARRAY_LEN(bad));
    tcase_add_test(t, refuses_an_image_that_declares_volumes);
    tcase_add_loop_test(t, knows_an_exit_code_of_exited_containers_alone, 0,
                        ARRAY_LEN(state_cases));
    tcase_add_test(t, reads_the_exit_code_of_a_wait);
    tcase_add_test(t, reads_a_list_and_leaves_out_what_does_not_fit);
    tcase_add_test(t, an_empty_list_is_no_error);
    tcase_add_loop_test(t, counts_memory_without_reclaimable_cache_on_both_cgroups, 0,
                        ARRAY_LEN(usage_cases));
    tcase_add_test(t, reads_the_cgroup_version_or_that_there_is_none);
    tcase_add_loop_test(t, reads_events_of_every_api_version, 0, ARRAY_LEN(event_cases));
    tcase_add_test(t, skips_events_that_are_about_something_else);
    tcase_add_loop_test(t, passes_the_engines_own_words_on, 0, ARRAY_LEN(text_cases));
    tcase_add_test(t, keeps_the_cause_of_a_long_text);
    tcase_add_test(t, cuts_long_words_between_characters);
    tcase_add_test(t, fills_what_there_is_for_a_text);
}

UNIT_MAIN_ONE_PROCESS("engine_json", add_tests)
