#include "unit.h"

#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/str.h"
#include "engine/docker_body.h"
#include "engine_baseline.h"

#define EXPECTED "tests/e2e/expected_create_body.json"
#define DIGEST   "sha256:2e65969538ae5aece3fa9c3207e27f264a265073bf04f8a6ebe9224ae1125f71"
#define PROFILE  "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"read\"]}]}"

static cJSON *body_of(const struct engine_spec *s, bool has_swappiness)
{
    CLEANUP(buf_done) struct buf b = {0};
    struct err err = {0};
    cJSON *doc;

    buf_init(&b, DOCKER_BODY_MAX);
    ck_assert_msg(docker_body_create(s, has_swappiness, &b, &err) == 0, "%s", err.msg);
    doc = cJSON_ParseWithOpts(buf_get(&b), NULL, true);
    ck_assert_msg(doc != NULL, "not JSON: %s", buf_get(&b));
    return doc;
}

static const cJSON *host_of(const cJSON *doc, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(doc, "HostConfig"),
                                            key);
}

START_TEST(the_body_is_the_one_that_was_written_by_hand)
{
    struct engine_spec s = baseline_spec("n", DIGEST, PROFILE);
    CLEANUP(cJSON_Delete_p) cJSON *made = body_of(&s, true);
    CLEANUP(cJSON_Delete_p) cJSON *wanted = NULL;
    auto_free char *text = NULL;
    cJSON *options;
    size_t n;

    ck_assert_int_eq(io_read_file(EXPECTED, 1 << 20, &text, &n, NULL), 0);
    wanted = cJSON_Parse(text);
    ck_assert_ptr_nonnull(wanted);
    ck_assert(cJSON_ReplaceItemInObjectCaseSensitive(wanted, "Image", cJSON_CreateString(DIGEST)));
    options = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(wanted, "HostConfig"), "SecurityOpt");
    ck_assert(cJSON_ReplaceItemInArray(options, 1, cJSON_CreateString("seccomp=" PROFILE)));
    /* Both ways: neither has a member that the other lacks. */
    ck_assert(cJSON_Compare(made, wanted, true));
    ck_assert(cJSON_Compare(wanted, made, true));
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(made, "NetworkDisabled"));
}
END_TEST

START_TEST(leaves_swappiness_out_where_there_is_none)
{
    struct engine_spec s = baseline_spec("n", DIGEST, PROFILE);
    CLEANUP(cJSON_Delete_p) cJSON *made = body_of(&s, false);

    ck_assert_ptr_null(host_of(made, "MemorySwappiness"));
    ck_assert_double_eq(host_of(made, "MemorySwap")->valuedouble, 268435456);
}
END_TEST

START_TEST(passes_on_what_a_policy_may_choose)
{
    static const char *const hosts[] = {"influxdb3:127.1.0.1", "db:127.1.0.2", NULL};
    struct engine_spec s = baseline_spec("n", "oneshot/python:dev", PROFILE);
    CLEANUP(cJSON_Delete_p) cJSON *made = NULL;

    s.runtime = "runsc";
    s.network = "databases";
    s.extra_hosts = hosts;
    s.env_n = s.labels_n = s.tmpfs_n = s.ulimits_n = 0;
    made = body_of(&s, false);
    ck_assert_str_eq(host_of(made, "Runtime")->valuestring, "runsc");
    ck_assert_str_eq(host_of(made, "NetworkMode")->valuestring, "databases");
    ck_assert_int_eq(cJSON_GetArraySize(host_of(made, "ExtraHosts")), 2);
    ck_assert_str_eq(cJSON_GetArrayItem(host_of(made, "ExtraHosts"), 1)->valuestring,
                     "db:127.1.0.2");
    ck_assert_int_eq(cJSON_GetArraySize(host_of(made, "Ulimits")), 0);
    ck_assert_int_eq(cJSON_GetArraySize(host_of(made, "Tmpfs")), 0);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(made, "Env")), 0);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(made, "Labels")), 0);
}
END_TEST

START_TEST(no_value_can_add_a_member)
{
    static const char evil[] = "x\"],\"HostConfig\":{\"Privileged\":true},\"a\":[\"\n\x01\xff";
    static const char shown[] =
        "x\"],\"HostConfig\":{\"Privileged\":true},\"a\":[\"\n\x01\xef\xbf\xbd";
    const struct engine_pair pair = {evil, evil};
    const struct engine_tmpfs tmpfs = {evil, evil};
    const struct engine_ulimit ulimit = {evil, 1, 2};
    const char *const list[] = {evil, NULL};
    struct engine_spec s = baseline_spec("n", DIGEST, PROFILE);
    CLEANUP(cJSON_Delete_p) cJSON *made = NULL;

    s.hostname = s.work_dir = s.runtime = s.network = evil;
    s.argv = s.extra_hosts = list;
    s.env = s.labels = &pair;
    s.tmpfs = &tmpfs;
    s.ulimits = &ulimit;
    s.env_n = s.labels_n = s.tmpfs_n = s.ulimits_n = 1;
    made = body_of(&s, true);
    ck_assert_int_eq(cJSON_GetArraySize(made), 18);
    ck_assert(cJSON_IsFalse(host_of(made, "Privileged")));
    ck_assert_str_eq(cJSON_GetObjectItemCaseSensitive(made, "Hostname")->valuestring, shown);
    ck_assert_str_eq(cJSON_GetObjectItemCaseSensitive(made, "Labels")->child->string, shown);
    ck_assert_str_eq(host_of(made, "NetworkMode")->valuestring, shown);
    ck_assert_str_eq(host_of(made, "Tmpfs")->child->valuestring, shown);
}
END_TEST

#define SPOIL(fn, statement)              \
    static void fn(struct engine_spec *s) \
    {                                     \
        statement;                        \
    }

SPOIL(no_name, s->name = "")
SPOIL(slash_name, s->name = "a/b")
SPOIL(query_name, s->name = "a&b")
SPOIL(dot_name, s->name = ".hidden")
SPOIL(no_image, s->image = "")
SPOIL(dots_image, s->image = "a/../b")
SPOIL(query_image, s->image = "a?b")
SPOIL(root, s->user = "0:0")
SPOIL(root_group, s->user = "1000:0")
SPOIL(named_user, s->user = "nobody")
SPOIL(user_alone, s->user = "1000")
SPOIL(user_tail, s->user = "1000:1000x")
SPOIL(no_user, s->user = "")
SPOIL(no_argv, s->argv = NULL)
SPOIL(empty_argv, s->argv = baseline_argv + 1)
SPOIL(host_network, s->network = "host")
SPOIL(other_network, s->network = "container:abc")
SPOIL(no_network, s->network = "")
SPOIL(null_network, s->network = NULL)
SPOIL(no_memory, s->memory = 0)
SPOIL(minus_memory, s->memory = -1)
SPOIL(little_memory, s->memory = 6 * 1024 * 1024 - 1)
SPOIL(no_cpus, s->nano_cpus = 0)
SPOIL(no_pids, s->pids = 0)
SPOIL(minus_pids, s->pids = -1)
SPOIL(no_shm, s->shm_size = 0)
SPOIL(no_seccomp, s->seccomp_json = "")
SPOIL(null_seccomp, s->seccomp_json = NULL)
SPOIL(unconfined, s->seccomp_json = "unconfined")

static const struct spoiled {
    void (*spoil)(struct engine_spec *s);
    const char *mention;
} spoiled[] = {
    {no_name,       "name"   },
    {slash_name,    "name"   },
    {query_name,    "name"   },
    {dot_name,      "name"   },
    {no_image,      "image"  },
    {dots_image,    "image"  },
    {query_image,   "image"  },
    {root,          "user"   },
    {root_group,    "user"   },
    {named_user,    "user"   },
    {user_alone,    "user"   },
    {user_tail,     "user"   },
    {no_user,       "user"   },
    {no_argv,       "command"},
    {empty_argv,    "command"},
    {host_network,  "network"},
    {other_network, "network"},
    {no_network,    "network"},
    {null_network,  "network"},
    {no_memory,     "limit"  },
    {minus_memory,  "limit"  },
    {little_memory, "limit"  },
    {no_cpus,       "limit"  },
    {no_pids,       "limit"  },
    {minus_pids,    "limit"  },
    {no_shm,        "limit"  },
    {no_seccomp,    "seccomp"},
    {null_seccomp,  "seccomp"},
    {unconfined,    "seccomp"},
};

START_TEST(refuses_what_would_lift_a_limit)
{
    struct engine_spec s = baseline_spec("n", DIGEST, PROFILE);
    CLEANUP(buf_done) struct buf b = {0};
    struct err err = {0};

    buf_init(&b, DOCKER_BODY_MAX);
    spoiled[_i].spoil(&s);
    ck_assert_int_eq(docker_body_create(&s, true, &b, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    ck_assert_msg(strstr(err.msg, spoiled[_i].mention) != NULL, "%s", err.msg);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(refuses_a_body_that_is_too_large)
{
    auto_free char *huge = malloc(2 * DOCKER_BODY_MAX);
    struct engine_spec s = baseline_spec("n", DIGEST, PROFILE);
    CLEANUP(buf_done) struct buf b = {0};
    struct err err = {0};

    ck_assert_ptr_nonnull(huge);
    memset(huge, '{', 2 * DOCKER_BODY_MAX - 1);
    huge[2 * DOCKER_BODY_MAX - 1] = '\0';
    s.seccomp_json = huge;
    buf_init(&b, DOCKER_BODY_MAX);
    ck_assert_int_eq(docker_body_create(&s, true, &b, &err), -1);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    buf_clear(&b);
    huge[DOCKER_BODY_MAX / 2] = '\0';
    ck_assert_int_eq(docker_body_create(&s, true, &b, &err), -1);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
}
END_TEST

START_TEST(an_update_changes_memory_and_swap_together)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, DOCKER_BODY_MAX);
    docker_body_update(INT64_C(1) << 40, &b);
    ck_assert_str_eq(buf_get(&b), "{\"Memory\":1099511627776,\"MemorySwap\":1099511627776}");
}
END_TEST

START_TEST(knows_names_that_may_stand_in_a_path)
{
    char name[160];

    memset(name, 'a', sizeof(name));
    name[128] = '\0';
    ck_assert(docker_name_is_valid(name));
    name[128] = 'a';
    name[129] = '\0';
    ck_assert(!docker_name_is_valid(name));
    ck_assert(docker_name_is_valid("oneshot-1.a_B"));
    ck_assert(!docker_name_is_valid("a b"));
    ck_assert(docker_image_is_valid("registry:5000/oneshot/python:dev"));
    ck_assert(docker_image_is_valid("oneshot/python@" DIGEST));
    ck_assert(!docker_image_is_valid("/etc"));
    ck_assert(!docker_image_is_valid("a//b"));
    ck_assert(!docker_image_is_valid("a#b"));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, the_body_is_the_one_that_was_written_by_hand);
    tcase_add_test(t, leaves_swappiness_out_where_there_is_none);
    tcase_add_test(t, passes_on_what_a_policy_may_choose);
    tcase_add_test(t, no_value_can_add_a_member);
    tcase_add_loop_test(t, refuses_what_would_lift_a_limit, 0, ARRAY_LEN(spoiled));
    tcase_add_test(t, refuses_a_body_that_is_too_large);
    tcase_add_test(t, an_update_changes_memory_and_swap_together);
    tcase_add_test(t, knows_names_that_may_stand_in_a_path);
}

UNIT_MAIN("engine_body", add_tests)
