#include "policy/settings.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/yaml_bind.h"
#include "policy/settings_table.h"
#include "unit.h"

/* Nothing of the machine's environment may decide a test, and no file beside it. */
static void start_clean(void)
{
    ck_assert_int_eq(clearenv(), 0);
    ck_assert_int_eq(setenv("HOME", "/home/me", 1), 0);
}

static char *read_text(const char *path)
{
    char *text = NULL;
    struct err e = {0};
    size_t n;

    ck_assert_msg(io_read_file(path, 1 << 20, &text, &n, &e) == 0, "%s", e.msg);
    return text;
}

/* A file of the test's own; `path` is its template. */
static void write_file(char *path, const char *text)
{
    auto_fd int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static struct settings load(const char *path)
{
    struct settings s;
    struct err e = {0};

    ck_assert_msg(settings_load(path, &s, &e) == 0, "%s", e.msg);
    return s;
}

START_TEST(has_defaults_for_everything)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    ck_assert_int_eq(chdir("/proc/self"), 0);
    s = load(NULL);
    ck_assert_str_eq(s.file, "");
    ck_assert_str_eq(s.instance, "");
    ck_assert_str_eq(s.state_dir, geteuid() ? "/home/me/.local/state/oneshot" : "/var/lib/oneshot");
    ck_assert_uint_eq(s.listeners_n, 5);
    ck_assert_str_eq(s.listeners[0].address, "127.0.0.1");
    ck_assert_int_eq(s.listeners[0].port, 6000);
    ck_assert_str_eq(s.listeners[0].dialects[0], "aiq");
    ck_assert_ptr_null(s.listeners[0].dialects[1]);
    ck_assert_int_eq(s.listeners[1].port, 8080);
    ck_assert_str_eq(s.listeners[1].dialects[0], "telemetry");
    ck_assert_int_eq(s.listeners[2].port, 8000);
    ck_assert_str_eq(s.listeners[2].dialects[0], "native");
    ck_assert_str_eq(s.listeners[2].dialects[1], "aiq");
    ck_assert_int_eq(s.listeners[3].port, 3030);
    ck_assert_str_eq(s.listeners[3].dialects[0], "generator");
    ck_assert_int_eq(s.listeners[4].port, 8030);
    ck_assert_str_eq(s.listeners[4].dialects[0], "executor");
    ck_assert(!s.allow_unauthenticated);
    ck_assert_ptr_null(s.hosts[0]);
    ck_assert_ptr_null(s.origins[0]);
    ck_assert_int_eq(s.front_uid, 61001);
    ck_assert_int_eq(s.front_gid, 61001);
    ck_assert_str_eq(s.engine_host, "");
    ck_assert_int_eq(s.pool_memory, 0);
    ck_assert_int_eq(s.parallel_starts, 0);
    ck_assert_int_eq(s.drain_ms, 20000);
    ck_assert_int_eq(s.connections, 1024);
    ck_assert_int_eq(s.connections_per_address, 640);
    ck_assert_int_eq(s.idle_ms, 75000);
    ck_assert_int_eq(s.header_ms, 10000);
    ck_assert_int_eq(s.body_ms, 30000);
    ck_assert_int_eq(s.body_max, 8 << 20);
    ck_assert_int_eq(s.body_files_max, 72 << 20);
    ck_assert_int_eq(s.json_tokens, 200000);
    ck_assert_str_eq(s.store_url, "sqlite:oneshot.db");
    ck_assert_int_eq(s.code_store, CODE_FULL);
    ck_assert_int_eq(s.code_log, CODE_OFF);
    ck_assert_int_eq(s.history_age_ms, INT64_C(30) * 24 * 3600 * 1000);
    ck_assert_int_eq(s.history_size, 1 << 30);
    ck_assert_int_eq(s.log_level, LOG_INFO);
    ck_assert_int_eq(s.log_format, LOG_TEXT);
}
END_TEST

START_TEST(the_model_and_the_generator_have_defaults)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    s = load(NULL);
    ck_assert_str_eq(s.model_url, "");
    ck_assert_str_eq(s.model_key, "");
    ck_assert_str_eq(s.model_name, "command-a-reasoning-08-2025");
    ck_assert_int_eq(s.model_api, MODEL_API_V2);
    ck_assert_double_eq(s.model_temperature, 0.2);
    ck_assert_int_eq(s.model_max_tokens, 0);
    ck_assert_int_eq(s.model_timeout_ms, 180000);
    ck_assert_int_eq(s.model_retries, 2);
    ck_assert_int_eq(s.model_rate, -1);
    ck_assert_str_eq(s.ca_file, "");
    ck_assert_str_eq(s.generate_policy, "telemetry");
    ck_assert_str_eq(s.generate_guide, "prompt-guide.txt");
    ck_assert_int_eq(s.generate_retries, 2);
    ck_assert_int_eq(s.generate_timeout_ms, 300000);
    ck_assert_int_eq(s.generate_error_max, 8192);
    ck_assert_str_eq(s.sandbox_url, "");
    ck_assert_int_eq(s.sandbox_timeout_ms, 120000);
    ck_assert(s.generate_checks_slicks);
    ck_assert(s.generate_checks_plots);
}
END_TEST

START_TEST(the_bot_is_off_by_default)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    s = load(NULL);
    ck_assert_str_eq(s.listeners[3].dialects[1], "slack");
    ck_assert(!s.slack_enabled);
    ck_assert_str_eq(s.slack_bot_token, "");
    ck_assert_str_eq(s.slack_app_token, "");
    ck_assert_str_eq(s.slack_signing_secret, "");
    ck_assert_str_eq(s.slack_channel, "");
    ck_assert_str_eq(s.slack_api_url, "https://slack.com/api/");
    ck_assert_str_eq(s.slack_generator_url, "");
    ck_assert_ptr_null(s.slack_users[0]);
    ck_assert_int_eq(s.slack_daily_budget, 0);
    ck_assert_int_eq(s.slack_timeout_ms, 120000);
    ck_assert_int_eq(s.slack_debug_timeout_ms, 1200000);
    ck_assert_int_eq(s.slack_workers, 4);
    ck_assert_int_eq(s.slack_queue, 32);
    ck_assert_int_eq(s.slack_ping_ms, 10000);
}
END_TEST

START_TEST(the_example_is_the_defaults)
{
    CLEANUP(settings_done) struct settings from_file = {0}, built_in = {0};
    auto_free char *a = NULL, *b = NULL;
    auto_free char *example = realpath("oneshot.yaml.example", NULL);

    start_clean();
    from_file = load(example);
    ck_assert_int_eq(chdir("/proc/self"), 0);
    built_in = load(NULL);
    ck_assert_str_eq(from_file.file, example);
    free(built_in.policies_dir);
    built_in.policies_dir = xstrdup(from_file.policies_dir);
    a = settings_print(&from_file, false);
    b = settings_print(&built_in, false);
    ck_assert_str_eq(a, b);
}
END_TEST

static void check_documented(const struct yaml_field *table, const struct yaml_node *map,
                             const char *text)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        CLEANUP(buf_done) struct buf line = {.max = 1024};

        ck_assert_msg(yaml_get(map, f->key), "'%s' is not in the example", f->key);
        (void)buf_fmt(&line, "# %s%s", f->doc, f->env ? " (" : "\n");
        for (const char *s = f->env; s && *s; s += strcspn(s, " ") + (strchr(s, ' ') != NULL))
            (void)buf_fmt(&line, "%s%.*s", s == f->env ? "" : ", ", (int)strcspn(s, " "), s);
        (void)buf_str(&line, f->env ? ")\n" : "");
        ck_assert_msg(strstr(text, buf_get(&line)), "the example does not say: %s", buf_get(&line));
        if (f->type == YAML_TABLE)
            check_documented(f->table, yaml_get(map, f->key), text);
    }
}

START_TEST(the_example_shows_and_explains_every_key)
{
    auto_free char *text = read_text("oneshot.yaml.example");
    CLEANUP(yaml_done) struct yaml y = {0};

    yaml_init(&y);
    check_documented(settings_table, yaml_parse(&y, "example", text, strlen(text)), text);
}
END_TEST

START_TEST(settings_that_are_printed_load_to_the_same)
{
    char path[] = "/tmp/test_settings.XXXXXX", again[] = "/tmp/test_settings.XXXXXX";
    CLEANUP(settings_done) struct settings first = {0}, second = {0};
    auto_free char *a = NULL, *b = NULL;

    start_clean();
    write_file(path, "instance: two\n"
                     "state_dir: ${STATE:-/tmp/a b}\n"
                     "policies: /nowhere\n"
                     "listeners:\n"
                     "  - {address: localhost, port: 0, dialects: [native]}\n"
                     "  - {port: 8001, dialects: [aiq, native]}\n"
                     "  - {address: \"::\", port: 8001, dialects: [aiq]}\n"
                     "allow_unauthenticated: true\n"
                     "hosts: [box.example.org, sandbox]\n"
                     "origins: [\"https://example.org:8443\", http://localhost]\n"
                     "pools: {memory: 25%}\n"
                     "code: {store: digest, log: full}\n"
                     "log: {level: warn, format: json}\n");
    first = load(path);
    ck_assert_str_eq(first.state_dir, "/tmp/a b");
    ck_assert_str_eq(first.listeners[0].address, "127.0.0.1");
    ck_assert_str_eq(first.listeners[1].address, "127.0.0.1");
    ck_assert_str_eq(first.listeners[2].address, "::");
    ck_assert_str_eq(first.origins[1], "http://localhost");
    ck_assert_int_gt(first.pool_memory, 0);
    ck_assert_int_eq(first.log_level, LOG_WARNING);
    a = settings_print(&first, true);
    write_file(again, a);
    second = load(again);
    b = settings_print(&second, true);
    ck_assert_str_eq(a, b);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(unlink(again), 0);
}
END_TEST

START_TEST(a_password_is_not_printed)
{
    static const char *const urls[][2] = {
        {"postgresql://me:sesame@db:5432/x", "postgresql://me:***@db:5432/x"},
        {"postgresql://me:se@same@db/x",     "postgresql://me:***@db/x"     },
        {"postgresql://me@db/x",             "postgresql://me@db/x"         },
        {"postgresql://db/x?a=b:c@d",        "postgresql://db/x?a=b:c@d"    },
        {"sqlite:a:b@c",                     "sqlite:a:b@c"                 },
    };

    start_clean();
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        CLEANUP(settings_done) struct settings s = {0};
        auto_free char *text = NULL, *line = NULL;

        ck_assert_int_eq(setenv("ONESHOT_STORE_URL", urls[i][0], 1), 0);
        s = load(NULL);
        ck_assert_str_eq(s.store_url, urls[i][0]);
        text = settings_print(&s, false);
        line = xasprintf("  url: \"%s\"\n", urls[i][1]);
        ck_assert_msg(strstr(text, line), "%s", text);
    }
}
END_TEST

START_TEST(the_models_key_is_not_printed)
{
    static const char *const names[] = {"COHERE_API_KEY", "CO_API_KEY"};
    CLEANUP(settings_done) struct settings s = {0};
    auto_free char *text = NULL;

    start_clean();
    ck_assert_int_eq(setenv(names[_i], "sesame", 1), 0);
    s = load(NULL);
    ck_assert_str_eq(s.model_key, "sesame");
    text = settings_print(&s, true);
    ck_assert_ptr_null(strstr(text, "sesame"));
    ck_assert_ptr_nonnull(strstr(text, "  key: \"***\"\n"));
}
END_TEST

START_TEST(the_bots_secrets_are_not_printed_and_can_be_forgotten)
{
    CLEANUP(settings_done) struct settings s = {0};
    auto_free char *text = NULL;

    start_clean();
    ck_assert_int_eq(setenv("SLACK_BOT_TOKEN", "sesame1", 1), 0);
    ck_assert_int_eq(setenv("SLACK_APP_TOKEN", "sesame2", 1), 0);
    ck_assert_int_eq(setenv("SLACK_SIGNING_SECRET", "sesame3", 1), 0);
    s = load(NULL);
    ck_assert_str_eq(s.slack_app_token, "sesame2");
    text = settings_print(&s, true);
    ck_assert_ptr_null(strstr(text, "sesame"));
    settings_forget_tokens(&s);
    ck_assert_str_eq(s.slack_bot_token, "");
    ck_assert_str_eq(s.slack_app_token, "");
    ck_assert_str_eq(s.slack_signing_secret, "sesame3");
}
END_TEST

static const struct {
    const char *name, *value;
} good_urls[] = {
    {"CO_API_URL",  "http://127.0.0.1:9001"      },
    {"CO_API_URL",  "https://proxy.example/co"   },
    {"SANDBOX_URL", "http://sandbox:8080/execute"},
    {"SANDBOX_URL", "http://[::1]:8080"          },
};

START_TEST(urls_of_services_may_have_ports_and_paths)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    ck_assert_int_eq(setenv(good_urls[_i].name, good_urls[_i].value, 1), 0);
    s = load(NULL);
    ck_assert_str_eq(_i < 2 ? s.model_url : s.sandbox_url, good_urls[_i].value);
}
END_TEST

/* ---- environment ---- */

START_TEST(the_environment_moves_listeners)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    ck_assert_int_eq(setenv("ONESHOT_LISTEN_ADDRESS", "127.0.0.2", 1), 0);
    ck_assert_int_eq(setenv("SANDBOX_HOST", "localhost", 1), 0);
    ck_assert_int_eq(setenv("SANDBOX_PORT", "6001", 1), 0);
    ck_assert_int_eq(setenv("TELEMETRY_PORT", "", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_PORT", "0", 1), 0);
    s = load(NULL);
    ck_assert_str_eq(s.listeners[0].address, "127.0.0.1");
    ck_assert_int_eq(s.listeners[0].port, 6001);
    ck_assert_str_eq(s.listeners[1].address, "127.0.0.2");
    ck_assert_int_eq(s.listeners[1].port, 8080);
    ck_assert_str_eq(s.listeners[2].address, "127.0.0.2");
    ck_assert_int_eq(s.listeners[2].port, 0);
}
END_TEST

START_TEST(the_environment_has_all_listeners)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    write_file(path, "listeners: [{port: 9000, dialects: [native]}]\n");
    ck_assert_int_eq(setenv("ONESHOT_LISTENERS",
                            "[{port: 7000, dialects: [aiq, native]}, "
                            "{address: 127.0.0.3, port: 7001, dialects: [telemetry]}]",
                            1),
                     0);
    ck_assert_int_eq(setenv("SANDBOX_PORT", "7002", 1), 0);
    s = load(path);
    ck_assert_uint_eq(s.listeners_n, 2);
    ck_assert_int_eq(s.listeners[0].port, 7002); /* the narrower variable is stronger */
    ck_assert_str_eq(s.listeners[0].address, "127.0.0.1");
    ck_assert_str_eq(s.listeners[0].dialects[1], "native");
    ck_assert_str_eq(s.listeners[1].address, "127.0.0.3");
    ck_assert_int_eq(s.listeners[1].port, 7001);
    ck_assert_str_eq(s.listeners[1].dialects[0], "telemetry");
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(the_environment_overrides_a_file)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    write_file(path, "listeners: [{port: 9000, dialects: [native]}]\ndrain: 1s\ninstance: a\n");
    ck_assert_int_eq(setenv("ONESHOT_CONFIG", path, 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_DRAIN", "3", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_INSTANCE", "", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_PORT", "9001", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_HOSTS", "a, b.example", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_POLICIES", "/p", 1), 0);
    s = load(NULL);
    ck_assert_str_eq(s.file, path);
    ck_assert_int_eq(s.drain_ms, 3000);
    ck_assert_str_eq(s.instance, "a");
    ck_assert_uint_eq(s.listeners_n, 1);
    ck_assert_int_eq(s.listeners[0].port, 9001);
    ck_assert_str_eq(s.hosts[1], "b.example");
    ck_assert_str_eq(s.policies_dir, "/p");
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* A variable, another value than the default, and the line that shows it in what is printed. */
/* clang-format off */
static const struct {
    const char *env, *value, *line;
} variables[] = {
    {"ONESHOT_INSTANCE", "two", "instance: two\n"},
    {"ONESHOT_STATE_DIR", "/s", "\nstate_dir: /s\n"},
    {"ONESHOT_POLICIES", "/p", "\npolicies: /p\n"},
    {"ONESHOT_ALLOW_UNAUTHENTICATED", "1", "\nallow_unauthenticated: true\n"},
    {"ONESHOT_HOSTS", "a, b.example", "\nhosts: [a, b.example]\n"},
    {"ONESHOT_ORIGINS", "https://a.example", "\norigins: [\"https://a.example\"]\n"},
    {"ONESHOT_FRONT_UID", "71", "\n  uid: 71\n"},
    {"ONESHOT_FRONT_GID", "72", "\n  gid: 72\n"},
    {"ONESHOT_ENGINE_HOST", "unix:///e.sock", "\n  host: \"unix:///e.sock\"\n"},
    {"ONESHOT_PARALLEL_STARTS", "3", "\n  parallel_starts: 3\n"},
    {"ONESHOT_POOL_MEMORY", "3GiB", "\n  memory: 3GiB\n"},
    {"ONESHOT_CONTAINERS", "9", "\n  containers: 9\n"},
    {"ONESHOT_DRAIN", "7s", "\ndrain: 7s\n"},
    {"ONESHOT_CONNECTIONS", "11", "\n  connections: 11\n"},
    {"ONESHOT_CONNECTIONS_PER_ADDRESS", "12", "\n  connections_per_address: 12\n"},
    {"ONESHOT_IDLE_TIMEOUT", "13s", "\n  idle: 13s\n"},
    {"ONESHOT_HEADER_TIMEOUT", "14s", "\n  header: 14s\n"},
    {"ONESHOT_BODY_TIMEOUT", "15s", "\n  body: 15s\n"},
    {"ONESHOT_BODY_SIZE", "2MiB", "\n  body_size: 2MiB\n"},
    {"ONESHOT_BODY_FILES_SIZE", "3MiB", "\n  body_files_size: 3MiB\n"},
    {"ONESHOT_JSON_TOKENS", "1000", "\n  json_tokens: 1000\n"},
    {"ONESHOT_HTTP_MEMORY", "99MiB", "\n  memory: 99MiB\n"},
    {"ENABLE_SLACK", "True", "slack:\n  enabled: true\n"},
    {"SLACK_BOT_TOKEN", "xoxb-1", "\n  bot_token: \"***\"\n"},
    {"SLACK_APP_TOKEN", "xapp-1", "\n  app_token: \"***\"\n"},
    {"SLACK_SIGNING_SECRET", "s", "\n  signing_secret: \"***\"\n"},
    {"SLACK_DEFAULT_CHANNEL", "C0123", "\n  channel: C0123\n"},
    {"SLACK_API_URL", "http://127.0.0.1:9/api/", "\n  api_url: \"http://127.0.0.1:9/api/\"\n"},
    {"CODE_GENERATOR_URL", "http://code-generator:3030", "\n  generator_url: \"http://code-generator:3030\"\n"},
    {"SLACK_ALLOWED_USERS", "U1, U2", "\n  allowed_users: [U1, U2]\n"},
    {"SLACK_DAILY_BUDGET", "7", "\n  daily_budget: 7\n"},
    {"SLACK_TIMEOUT", "60", "\n  timeout: 1m\n"},
    {"SLACK_DEBUG_TIMEOUT", "10m", "\n  debug_timeout: 10m\n"},
    {"SLACK_PATIENCE", "5m", "\n  patience: 5m\n"},
    {"SLACK_WORKERS", "2", "\n  workers: 2\n"},
    {"SLACK_QUEUE", "5", "\n  queue: 5\n"},
    {"SLACK_PING_INTERVAL", "30", "\n  ping: 30s\n"},
    {"CO_API_URL", "http://127.0.0.1:9001", "\n  url: \"http://127.0.0.1:9001\"\n"},
    {"COHERE_API_KEY", "k", "\n  key: \"***\"\n"},
    {"CO_API_KEY", "k", "\n  key: \"***\"\n"},
    {"COHERE_MODEL", "command-a-03-2025", "\n  name: command-a-03-2025\n"},
    {"COHERE_API_VERSION", "v1", "\n  api: v1\n"},
    {"COHERE_TEMPERATURE", "0.5", "\n  temperature: 0.5\n"},
    {"COHERE_MAX_TOKENS", "4096", "\n  max_tokens: 4096\n"},
    {"COHERE_TIMEOUT", "21s", "\n  timeout: 21s\n"},
    {"COHERE_RETRIES", "5", "\n  retries: 5\n"},
    {"COHERE_RATE_PER_MINUTE", "22", "\n  rate_per_minute: 22\n"},
    {"ONESHOT_CA_FILE", "/ca.pem", "\n  ca_file: /ca.pem\n"},
    {"ONESHOT_GENERATE_POLICY", "large", "\n  policy: large\n"},
    {"PROMPT_GUIDE", "/g/guide.txt", "\n  guide: /g/guide.txt\n"},
    {"MAX_RETRIES", "4", "\n  max_retries: 4\n"},
    {"GENERATE_TIMEOUT", "23", "\n  timeout: 23s\n"},
    {"ONESHOT_GENERATE_ERROR_SIZE", "2KiB", "\n  error_size: 2KiB\n"},
    {"SANDBOX_URL", "http://sandbox:8080", "\n  sandbox_url: \"http://sandbox:8080\"\n"},
    {"SANDBOX_TIMEOUT", "24", "\n  sandbox_timeout: 24s\n"},
    {"ONESHOT_GENERATE_SLICKS_ERRORS", "false", "\n  slicks_errors: false\n"},
    {"ONESHOT_GENERATE_PLOT_WITHOUT_FILE", "0", "\n  plot_without_file: false\n"},
    {"EXECUTOR_API_TOKEN", "t", "executor:\n  token: \"***\"\n"},
    {"MCP_WORKSPACE_DIR", "/tmp/t", "\n  workspace: /tmp/t\n"},
    {"ONESHOT_TOOLS", "/t/tools.yaml", "\n  file: /t/tools.yaml\n"},
    {"ONESHOT_TOOLS_SECRETS", "/t/secrets", "\n  secrets: /t/secrets\n"},
    {"ONESHOT_STORE_URL", "sqlite:other.db", "\n  url: \"sqlite:other.db\"\n"},
    {"ONESHOT_CODE_STORE", "digest", "\n  store: digest\n"},
    {"ONESHOT_CODE_LOG", "full", "\n  log: full\n"},
    {"ONESHOT_HISTORY_AGE", "8d", "\n  age: 8d\n"},
    {"ONESHOT_HISTORY_SIZE", "5MiB", "\n  size: 5MiB\n"},
    {"ONESHOT_LOG_LEVEL", "error", "\n  level: error\n"},
    {"LOG_LEVEL", "error", "\n  level: error\n"},
    {"ONESHOT_LOG_FORMAT", "json", "\n  format: json\n"},
};
/* clang-format on */

START_TEST(a_variable_overrides_its_key)
{
    CLEANUP(settings_done) struct settings before = {0}, after = {0};
    auto_free char *a = NULL, *b = NULL;

    start_clean();
    before = load(NULL);
    a = settings_print(&before, false);
    ck_assert_msg(!strstr(a, variables[_i].line), "%s is the default", variables[_i].line);
    ck_assert_int_eq(setenv(variables[_i].env, variables[_i].value, 1), 0);
    after = load(NULL);
    b = settings_print(&after, false);
    ck_assert_msg(strstr(b, variables[_i].line), "no %s in: %s", variables[_i].line, b);
}
END_TEST

static bool is_tried(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (strlen(variables[i].env) == n && strncmp(variables[i].env, name, n) == 0)
            return true;
    }
    return false;
}

static void check_variables(const struct yaml_field *table)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        if (f->type == YAML_TABLE) {
            check_variables(f->table);
            continue;
        }
        if (f->type == YAML_RECORDS)
            continue; /* the listeners, which have variables of their own */
        ck_assert_msg(f->env, "'%s' has no variable", f->key);
        for (const char *s = f->env; *s; s += strcspn(s, " "), s += *s == ' ')
            ck_assert_msg(is_tried(s, strcspn(s, " ")), "not tried: %s", s);
    }
}

START_TEST(every_key_has_a_variable_that_was_tried)
{
    check_variables(settings_table);
}
END_TEST

/* clang-format off */
static const struct {
    const char *ours, *theirs, *debug;
    enum log_level level;
} levels[] = {
    {NULL, NULL, NULL, LOG_INFO},
    {NULL, "DEBUG", NULL, LOG_DEBUG},
    {NULL, "WARN", NULL, LOG_WARNING},
    {NULL, "Critical", NULL, LOG_ERROR},
    {"error", "debug", NULL, LOG_ERROR},
    {"error", "info", "1", LOG_ERROR},
    {NULL, "info", "1", LOG_DEBUG},
    {NULL, NULL, "TRUE", LOG_DEBUG},
    {NULL, NULL, "0", LOG_INFO},
    {NULL, NULL, "no", LOG_INFO},
};
/* clang-format on */

START_TEST(the_log_level_has_three_sources)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    if (levels[_i].ours)
        ck_assert_int_eq(setenv("ONESHOT_LOG_LEVEL", levels[_i].ours, 1), 0);
    if (levels[_i].theirs)
        ck_assert_int_eq(setenv("LOG_LEVEL", levels[_i].theirs, 1), 0);
    if (levels[_i].debug)
        ck_assert_int_eq(setenv("DEBUG", levels[_i].debug, 1), 0);
    s = load(NULL);
    ck_assert_int_eq(s.log_level, levels[_i].level);
}
END_TEST

START_TEST(the_state_directory_depends_on_the_user)
{
    CLEANUP(settings_done) struct settings a = {0}, b = {0};
    bool was_root = geteuid() == 0;
    struct settings c;
    struct err e = {0};

    start_clean();
    if (was_root)
        ck_assert_int_eq(seteuid(65534), 0);
    a = load(NULL);
    ck_assert_str_eq(a.state_dir, "/home/me/.local/state/oneshot");
    ck_assert_int_eq(setenv("XDG_STATE_HOME", "/state", 1), 0);
    b = load(NULL);
    ck_assert_str_eq(b.state_dir, "/state/oneshot");
    ck_assert_int_eq(setenv("XDG_STATE_HOME", "relative", 1), 0);
    ck_assert_int_eq(unsetenv("HOME"), 0);
    ck_assert_int_eq(settings_load(NULL, &c, &e), -1);
    ck_assert_str_eq(e.msg, "built-in value:1:1: 'state_dir': must be set where there is no HOME");
    if (was_root)
        ck_assert_int_eq(seteuid(0), 0);
    /* The change of user made the process opaque, also to the leak checker at its end. */
    ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}
END_TEST

/* ---- faults ---- */

/* clang-format off */
static const struct {
    const char *text, *fault;
} broken[] = {
    {"listener: []", "t:1:1: 'listener': is not a key here; did you mean 'listeners'?"},
    {"listeners: []", "t:1:12: 'listeners': must have a listener"},
    {"listeners:", "t:1:11: 'listeners': must be a list"},
    {"listeners: [1]", "t:1:13: 'listeners[0]': must be a map of keys and values"},
    {"listeners: [{dialects: [a]}]", "t:1:13: 'listeners[0].port': is missing"},
    {"listeners: [{port: 1}]", "t:1:13: 'listeners[0].dialects': is missing"},
    {"listeners: [{port: 1, dialects: aiq}]", "t:1:33: 'listeners[0].dialects': must be a list"},
    {"listeners: [{port: 1, dialects: []}]",
     "t:1:33: 'listeners[0].dialects': must name a dialect"},
    {"listeners: [{port: 1, dialects: [AIQ]}]",
     "t:1:34: 'listeners[0].dialects': must be the name of a dialect such as native, not 'AIQ'"},
    {"listeners: [{port: 65536, dialects: [a]}]",
     "t:1:20: 'listeners[0].port': must be from 0 to 65535, not 65536"},
    {"listeners: [{port: 1, dialects: [a], address: example.org}]",
     "t:1:47: 'listeners[0].address': must be an IP address such as 127.0.0.1 or ::1, not "
     "'example.org'"},
    {"listeners: [{port: 1, dialects: [a]}, {port: 1, dialects: [b]}]",
     "t:1:46: 'listeners[1].address': port 1 of '127.0.0.1' is taken by another"},
    {"listeners:\n  - {port: 1, dialects: [a]}\n  - {port: 2, dialects: [a], address: 0.0.0.0}",
     "t:3:39: 'listeners[1].address': '0.0.0.0' is open to other machines and there are no keys; "
     "set allow_unauthenticated: true (ONESHOT_ALLOW_UNAUTHENTICATED=1) where something else "
     "keeps strangers out"},
    {"listeners: [{port: 2, dialects: [a], address: \"::\"}]",
     "t:1:47: 'listeners[0].address': '::' is open to other machines and there are no keys; set "
     "allow_unauthenticated: true (ONESHOT_ALLOW_UNAUTHENTICATED=1) where something else keeps "
     "strangers out"},
    {"instance: a b", "t:1:11: 'instance': must be a name such as oneshot-2, not 'a b'"},
    {"hosts: [\"a:80\"]", "t:1:9: 'hosts': must be a host's name without a port, not 'a:80'"},
    {"slack: {api_url: \"https://slack.com\"}",
     "t:1:18: 'slack.api_url': must be a URL that ends with /api/, not 'https://slack.com'"},
    {"slack: {channel: \"#general\"}",
     "t:1:18: 'slack.channel': must be an id such as C0123456789, not '#general'"},
    {"origins: [example.org]",
     "t:1:11: 'origins': must be an origin such as https://example.org, not 'example.org'"},
    {"origins: [\"https://a/b\"]",
     "t:1:11: 'origins': must be an origin such as https://example.org, not 'https://a/b'"},
    {"origins: [\"*\"]",
     "t:1:11: 'origins': must be an origin such as https://example.org, not '*'"},
    {"front: {uid: 0}", "t:1:14: 'front.uid': must be from 1 to 2147483646, not 0"},
    {"drain: 20 s", "t:1:8: 'drain': must be a time such as 30s (ms, s, m, h, d), not '20 s'"},
    {"http: {idle: 1ms}", "t:1:14: 'http.idle': must be from 100ms to 1h, not 1ms"},
    {"http: {body_size: 100GiB}",
     "t:1:19: 'http.body_size': must be from 1KiB to 1GiB, not 100GiB"},
    {"store: {url: mysql://x}",
     "t:1:14: 'store.url': must be sqlite:PATH or postgresql://\xe2\x80\xa6, not 'mysql://x'"},
    {"store: {url: \"sqlite:\"}",
     "t:1:14: 'store.url': must be sqlite:PATH or postgresql://\xe2\x80\xa6, not 'sqlite:'"},
    {"code: {store: all}", "t:1:15: 'code.store': must be full, digest or off, not 'all'"},
    {"log: {level: loud}",
     "t:1:14: 'log.level': must be debug, info, warning, error, warn or critical, not 'loud'"},
    {"state_dir: ${NO_SUCH}",
     "t:1:12: 'state_dir': environment variable 'NO_SUCH' is not set (${NO_SUCH:-} would allow "
     "that)"},
};
/* clang-format on */

START_TEST(refuses_settings_with_place_key_and_reason)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(settings_done) struct settings s = {0};
    auto_free char *line = NULL;

    start_clean();
    write_file(path, broken[_i].text);
    line = xasprintf("%s%s\n", path, broken[_i].fault + 1);
    yaml_init(&y);
    settings_read(&y, path, &s);
    ck_assert_str_eq(buf_get(&y.faults), line);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* clang-format off */
static const struct {
    const char *name, *value, *fault;
} bad_variables[] = {
    {"SANDBOX_PORT", "x", "'listeners[0].port': must be an integer, not 'x'"},
    {"TELEMETRY_PORT", "-1", "'listeners[1].port': must be from 0 to 65535, not -1"},
    {"SANDBOX_HOST", "a b",
     "'listeners[0].address': must be an IP address such as 127.0.0.1 or ::1, not 'a b'"},
    {"SANDBOX_HOST", "10.1.2.3",
     "'listeners[0].address': '10.1.2.3' is open to other machines and there are no keys; set "
     "allow_unauthenticated: true (ONESHOT_ALLOW_UNAUTHENTICATED=1) where something else keeps "
     "strangers out"},
    {"SANDBOX_PORT", "99999", "'listeners[0].port': must be from 0 to 65535, not 99999"},
    {"ONESHOT_ALLOW_UNAUTHENTICATED", "yes",
     "'allow_unauthenticated': must be true or false, not 'yes'"},
    {"ONESHOT_JSON_TOKENS", "1", "'http.json_tokens': must be from 100 to 100000000, not 1"},
    {"LOG_LEVEL", "TRACE",
     "'log.level': must be debug, info, warning, error, warn or critical, not 'TRACE'"},
};
/* clang-format on */

START_TEST(names_a_variable_that_is_wrong)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(settings_done) struct settings s = {0};
    auto_free char *line = NULL;

    start_clean();
    ck_assert_int_eq(setenv(bad_variables[_i].name, bad_variables[_i].value, 1), 0);
    line =
        xasprintf("environment variable %s: %s\n", bad_variables[_i].name, bad_variables[_i].fault);
    yaml_init(&y);
    settings_read(&y, NULL, &s);
    ck_assert_str_eq(buf_get(&y.faults), line);
}
END_TEST

/* clang-format off */
static const struct {
    const char *value, *fault;
} bad_listeners[] = {
    {"8000", "1:12: 'listeners': must be a list"},
    {"[{port: 1}]", "1:13: 'listeners[0].dialects': is missing"},
    {"[]", "1:12: 'listeners': must have a listener"},
    {"[{port: 1", "2:1: did not find expected ',' or '}' while parsing a flow mapping"},
};
/* clang-format on */

START_TEST(names_what_is_wrong_with_the_listeners_of_the_environment)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(settings_done) struct settings s = {0};
    auto_free char *line = NULL;

    start_clean();
    ck_assert_int_eq(setenv("ONESHOT_LISTENERS", bad_listeners[_i].value, 1), 0);
    line = xasprintf("environment variable ONESHOT_LISTENERS:%s\n", bad_listeners[_i].fault);
    yaml_init(&y);
    settings_read(&y, NULL, &s);
    ck_assert_str_eq(buf_get(&y.faults), line);
}
END_TEST

START_TEST(opens_to_others_only_where_it_is_told_to)
{
    CLEANUP(settings_done) struct settings s = {0};

    start_clean();
    ck_assert_int_eq(setenv("ONESHOT_LISTEN_ADDRESS", "0.0.0.0", 1), 0);
    ck_assert_int_eq(setenv("ONESHOT_ALLOW_UNAUTHENTICATED", "1", 1), 0);
    s = load(NULL);
    ck_assert(s.allow_unauthenticated);
    ck_assert_str_eq(s.listeners[2].address, "0.0.0.0");
}
END_TEST

static const char *const loopbacks[] = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1",
                                        "localhost"};
static const char *const others[] = {
    "128.0.0.1", "10.0.0.1", "::", "::2", "::ffff:10.0.0.1", "fe80::1"};

START_TEST(knows_loopback_from_the_world)
{
    start_clean();
    for (size_t i = 0; i < ARRAY_LEN(loopbacks); i++) {
        CLEANUP(settings_done) struct settings s = {0};

        ck_assert_int_eq(setenv("ONESHOT_LISTEN_ADDRESS", loopbacks[i], 1), 0);
        s = load(NULL);
        ck_assert_uint_eq(s.listeners_n, 5);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct settings s;
        struct err e = {0};

        ck_assert_int_eq(setenv("ONESHOT_LISTEN_ADDRESS", others[i], 1), 0);
        ck_assert_int_eq(settings_load(NULL, &s, &e), -1);
        ck_assert_ptr_nonnull(strstr(e.msg, "is open to other machines"));
    }
}
END_TEST

START_TEST(a_file_that_was_named_must_be_there)
{
    struct settings s;
    struct err e = {0};

    start_clean();
    ck_assert_int_eq(settings_load("/nowhere/oneshot.yaml", &s, &e), -1);
    ck_assert_str_eq(e.msg, "open '/nowhere/oneshot.yaml': No such file or directory");
    ck_assert_int_eq(setenv("ONESHOT_CONFIG", "/nowhere/2", 1), 0);
    ck_assert_int_eq(settings_load(NULL, &s, &e), -1);
    ck_assert_str_eq(e.msg, "open '/nowhere/2': No such file or directory");
}
END_TEST

START_TEST(looks_beside_itself_for_file_and_policies)
{
    char dir[] = "/tmp/test_settings.XXXXXX";
    CLEANUP(settings_done) struct settings a = {0}, b = {0};
    auto_fd int fd = -1;

    start_clean();
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    a = load(NULL);
    ck_assert_str_eq(a.file, "");
    fd = open("oneshot.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "instance: here\n", 15), 15);
    b = load(NULL);
    ck_assert_str_eq(b.file, "oneshot.yaml");
    ck_assert_str_eq(b.instance, "here");
    ck_assert_int_eq(unlink("oneshot.yaml"), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, has_defaults_for_everything);
    tcase_add_test(t, the_example_is_the_defaults);
    tcase_add_test(t, the_example_shows_and_explains_every_key);
    tcase_add_test(t, settings_that_are_printed_load_to_the_same);
    tcase_add_test(t, a_password_is_not_printed);
    tcase_add_loop_test(t, the_models_key_is_not_printed, 0, 2);
    tcase_add_test(t, the_model_and_the_generator_have_defaults);
    tcase_add_test(t, the_bot_is_off_by_default);
    tcase_add_test(t, the_bots_secrets_are_not_printed_and_can_be_forgotten);
    tcase_add_loop_test(t, urls_of_services_may_have_ports_and_paths, 0, ARRAY_LEN(good_urls));
    tcase_add_test(t, the_environment_moves_listeners);
    tcase_add_test(t, the_environment_has_all_listeners);
    tcase_add_test(t, the_environment_overrides_a_file);
    tcase_add_loop_test(t, a_variable_overrides_its_key, 0, ARRAY_LEN(variables));
    tcase_add_test(t, every_key_has_a_variable_that_was_tried);
    tcase_add_loop_test(t, the_log_level_has_three_sources, 0, ARRAY_LEN(levels));
    tcase_add_test(t, the_state_directory_depends_on_the_user);
    tcase_add_loop_test(t, refuses_settings_with_place_key_and_reason, 0, ARRAY_LEN(broken));
    tcase_add_loop_test(t, names_a_variable_that_is_wrong, 0, ARRAY_LEN(bad_variables));
    tcase_add_loop_test(t, names_what_is_wrong_with_the_listeners_of_the_environment, 0,
                        ARRAY_LEN(bad_listeners));
    tcase_add_test(t, opens_to_others_only_where_it_is_told_to);
    tcase_add_test(t, knows_loopback_from_the_world);
    tcase_add_test(t, a_file_that_was_named_must_be_there);
    tcase_add_test(t, looks_beside_itself_for_file_and_policies);
}

UNIT_MAIN("settings", add_tests)
