#include "keeper/spec.h"

#include <string.h>

#include "base/mem.h"
#include "unit.h"

static char numpy[] = "numpy", pandas[] = "pandas", empty[] = "";
static char *modules[] = {numpy, pandas, NULL}, *no_modules[] = {NULL};

static char name[] = "default", runtime[] = "runsc", work[] = "/workspace", profile[] = "{}";
static char home[] = "HOME", elsewhere[] = "/elsewhere", token[] = "TOKEN", secret[] = "s3";

static struct policy_pair env[] = {
    {token, secret   },
    {home,  elsewhere},
    {NULL,  NULL     }
};

static const struct policy policy = {
    .name = name,
    .runtime = runtime,
    .work_dir = work,
    .seccomp_json = profile,
    .uid = 1234,
    .gid = 5678,
    .time_max_ms = 10500,
    .cpus = 1.5,
    .pids = 64,
    .open_files = 256,
    .file_size = 1000,
    .work_size = 2000,
    .tmp_size = 3000,
    .shm_size = 4000,
    .inodes = 500,
    .warm = modules,
    .env = env,
    .hash = "cafe",
};

static const struct spec_names names = {
    .instance = "inst", .epoch = "ep", .name = "oneshot-1", .image = "sha256:1", .limit = 999};

static const char *find(const struct engine_pair *list, size_t n, const char *key)
{
    const char *value = NULL;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, key) != 0)
            continue;
        ck_assert_ptr_null(value); /* a name stands once */
        value = list[i].value;
    }
    return value ? value : "(none)";
}

START_TEST(a_policy_becomes_the_body_of_a_container)
{
    struct spec *s = spec_new(&policy, &names);
    const struct engine_spec *e = spec_get(s);

    ck_assert_str_eq(e->name, "oneshot-1");
    ck_assert_str_eq(e->image, "sha256:1");
    ck_assert_str_eq(e->runtime, "runsc");
    ck_assert_str_eq(e->hostname, "sandbox");
    ck_assert_str_eq(e->work_dir, "/workspace");
    ck_assert_str_eq(e->user, "1234:5678");
    ck_assert_str_eq(e->argv[0], "/oneshot/warden");
    ck_assert_ptr_null(e->argv[1]);
    ck_assert_int_eq(e->memory, 999);
    ck_assert_int_eq(e->nano_cpus, 1500000000);
    ck_assert_int_eq(e->pids, 64);
    ck_assert_int_eq(e->shm_size, 4000);
    ck_assert_str_eq(e->network, "none");
    ck_assert_str_eq(e->seccomp_json, "{}");
    ck_assert_uint_eq(e->labels_n, 4);
    ck_assert_str_eq(find(e->labels, 4, LABEL_INSTANCE), "inst");
    ck_assert_str_eq(find(e->labels, 4, LABEL_EPOCH), "ep");
    ck_assert_str_eq(find(e->labels, 4, LABEL_POLICY), "default");
    ck_assert_str_eq(find(e->labels, 4, LABEL_HASH), "cafe");
    ck_assert_uint_eq(e->tmpfs_n, 2);
    ck_assert_str_eq(e->tmpfs[0].path, "/tmp");
    ck_assert_str_eq(e->tmpfs[0].options,
                     "rw,noexec,nosuid,nodev,size=3000,nr_inodes=500,mode=1777");
    ck_assert_str_eq(e->tmpfs[1].path, "/workspace");
    ck_assert_str_eq(e->tmpfs[1].options, "rw,noexec,nosuid,nodev,size=2000,nr_inodes=500,"
                                          "mode=0700,uid=1234,gid=5678");
    spec_free(s);
}
END_TEST

static const struct engine_ulimit limits[] =
    {
        {"core",       0,     0    },
        {"nofile",     256,   256  },
        {"fsize",      1000,  1000 },
        {"memlock",    65536, 65536},
        {"msgqueue",   0,     0    },
        {"sigpending", 256,   256  },
        {"cpu",        46,    47   }, /* 10.5 s on 1.5 processors are 15.75 s, and 30 to spare */
};

START_TEST(resource_limits_follow_the_policy)
{
    struct spec *s = spec_new(&policy, &names);
    const struct engine_spec *e = spec_get(s);

    ck_assert_uint_eq(e->ulimits_n, ARRAY_LEN(limits));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        ck_assert_str_eq(e->ulimits[i].name, limits[i].name);
        ck_assert_int_eq(e->ulimits[i].soft, limits[i].soft);
        ck_assert_int_eq(e->ulimits[i].hard, limits[i].hard);
    }
    spec_free(s);
}
END_TEST

START_TEST(the_environment_is_ours_and_then_the_policys)
{
    struct spec *s = spec_new(&policy, &names);
    const struct engine_spec *e = spec_get(s);

    ck_assert_str_eq(find(e->env, e->env_n, "PATH"), "/usr/local/bin:/usr/bin:/bin");
    ck_assert_str_eq(find(e->env, e->env_n, "OMP_NUM_THREADS"), "2");
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_WORK"), "/workspace");
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_WARM"), "numpy,pandas");
    ck_assert_str_eq(find(e->env, e->env_n, "TOKEN"), "s3");
    ck_assert_str_eq(find(e->env, e->env_n, "HOME"), "/elsewhere");
    /* Nothing of the keeper's own environment. */
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_SPEC_TEST"), "(none)");
    spec_free(s);
}
END_TEST

START_TEST(as_many_variables_as_a_policy_has)
{
    enum { MANY = 500 };
    struct policy_pair *many = xcalloc(MANY + 1, sizeof(*many));
    struct policy p = policy;
    const struct engine_spec *e;
    struct spec *s;

    p.env = many;
    for (int i = 0; i < MANY; i++)
        many[i] = (struct policy_pair){xasprintf("V%d", i), xasprintf("%d", i * 3)};
    s = spec_new(&p, &names);
    e = spec_get(s);
    for (int i = 0; i < MANY; i++)
        ck_assert_str_eq(find(e->env, e->env_n, many[i].name), many[i].value);
    ck_assert_str_eq(find(e->labels, e->labels_n, LABEL_HASH), "cafe");
    spec_free(s);
    for (int i = 0; i < MANY; i++) {
        free(many[i].name);
        free(many[i].value);
    }
    free(many);
}
END_TEST

START_TEST(a_policy_with_little_in_it_works_too)
{
    struct policy p = policy;
    const struct engine_spec *e;
    struct spec *s;

    p.warm = no_modules;
    p.env = NULL;
    p.runtime = empty;
    p.cpus = 0.25;
    s = spec_new(&p, &names);
    e = spec_get(s);
    ck_assert_str_eq(e->runtime, "");
    ck_assert_int_eq(e->nano_cpus, 250000000);
    ck_assert_str_eq(find(e->env, e->env_n, "OMP_NUM_THREADS"), "1");
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_WARM"), "");
    ck_assert_int_eq(e->ulimits[6].soft, 41);
    spec_free(s);
    p.warm = NULL;
    s = spec_new(&p, &names);
    ck_assert_str_eq(find(spec_get(s)->env, spec_get(s)->env_n, "ONESHOT_WARM"), "");
    spec_free(s);
    spec_free(NULL);
}
END_TEST

static void relay_of(struct policy *p, struct policy_relay *entries, size_t n, int64_t *any)
{
    p->network = (struct policy_network){
        .kind = NETWORK_RELAY, .relay = entries, .relay_n = n, .any = any, .any_n = any ? 1 : 0};
}

START_TEST(a_relay_is_hosts_and_listeners_and_no_network)
{
    static char db[] = "db:8181", web[] = "web:443", db2[] = "DB:80";
    struct policy_relay entries[] = {{.as = db}, {.as = web}, {.as = db2}};
    struct policy p = policy;
    const struct engine_spec *e;
    struct spec *s;

    relay_of(&p, entries, 3, NULL);
    s = spec_new(&p, &names);
    e = spec_get(s);
    ck_assert_str_eq(e->network, "none");
    ck_assert_str_eq(e->extra_hosts[0], "db:127.0.0.2");
    ck_assert_str_eq(e->extra_hosts[1], "web:127.0.0.3");
    ck_assert_ptr_null(e->extra_hosts[2]);
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_RELAY"),
                     "127.0.0.2:8181=db:8181,127.0.0.3:443=web:443,127.0.0.2:80=DB:80");
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_PROXY"), "(none)");
    ck_assert_str_eq(find(e->env, e->env_n, "HTTPS_PROXY"), "(none)");
    spec_free(s);
}
END_TEST

START_TEST(the_internet_is_a_proxy_that_names_of_the_relay_go_around)
{
    static const char *const proxies[] = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"};
    static char db[] = "db:8181", no_proxy[] = "NO_PROXY", all[] = "*";
    struct policy_relay entries[] = {{.as = db}};
    struct policy_pair own[] = {
        {no_proxy, all },
        {NULL,     NULL}
    };
    struct policy p = policy;
    const struct engine_spec *e;
    int64_t any[] = {443};
    struct spec *s;

    relay_of(&p, entries, 1, any);
    p.relay_internet = true;
    p.env = own;
    s = spec_new(&p, &names);
    e = spec_get(s);
    ck_assert_str_eq(find(e->env, e->env_n, "ONESHOT_PROXY"), "127.0.0.254:3128");
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++)
        ck_assert_str_eq(find(e->env, e->env_n, proxies[i]), "http://127.0.0.254:3128");
    ck_assert_str_eq(find(e->env, e->env_n, "no_proxy"), "localhost,127.0.0.1,::1,db");
    ck_assert_str_eq(find(e->env, e->env_n, "NO_PROXY"), "*");
    spec_free(s);
    p.relay_internet = false;
    s = spec_new(&p, &names);
    ck_assert_str_eq(find(spec_get(s)->env, spec_get(s)->env_n, "ONESHOT_PROXY"), "(none)");
    ck_assert_str_eq(find(spec_get(s)->env, spec_get(s)->env_n, "http_proxy"), "(none)");
    spec_free(s);
}
END_TEST

START_TEST(other_networks_are_the_engines_own)
{
    static char side[] = "side";
    struct policy p = policy;
    struct spec *s;

    p.network = (struct policy_network){.kind = NETWORK_JOIN, .join = side};
    s = spec_new(&p, &names);
    ck_assert_str_eq(spec_get(s)->network, "side");
    spec_free(s);
    p.network = (struct policy_network){.kind = NETWORK_OPEN};
    s = spec_new(&p, &names);
    ck_assert_str_eq(spec_get(s)->network, "bridge");
    ck_assert_ptr_null(spec_get(s)->extra_hosts);
    spec_free(s);
}
END_TEST

static void add_tests(TCase *t)
{
    (void)setenv("ONESHOT_SPEC_TEST", "1", 1);
    tcase_add_test(t, a_policy_becomes_the_body_of_a_container);
    tcase_add_test(t, resource_limits_follow_the_policy);
    tcase_add_test(t, the_environment_is_ours_and_then_the_policys);
    tcase_add_test(t, as_many_variables_as_a_policy_has);
    tcase_add_test(t, a_policy_with_little_in_it_works_too);
    tcase_add_test(t, a_relay_is_hosts_and_listeners_and_no_network);
    tcase_add_test(t, the_internet_is_a_proxy_that_names_of_the_relay_go_around);
    tcase_add_test(t, other_networks_are_the_engines_own);
}

UNIT_MAIN("spec", add_tests)
