#include "policy/settings_table.h"

#include <string.h>

#include "base/str.h"
#include "policy/settings.h"
#include "policy/syntax.h"

#define KIB  1024.0
#define MIB  (1024 * KIB)
#define GIB  (1024 * MIB)
#define TIB  (1024 * GIB)
#define SEC  1000.0
#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)

static bool is_address(const char *s)
{
    return syntax_address(s) || strcmp(s, "localhost") == 0;
}

static bool is_store(const char *s)
{
    return (str_starts(s, "sqlite:") && s[strlen("sqlite:")]) || str_starts(s, "postgresql://");
}

/* What stands behind a scheme, with a port or without one. */
static bool is_authority(const char *s)
{
    char with_port[300];

    if (strlen(s) > 255)
        return false;
    (void)snprintf(with_port, sizeof(with_port), "%s:80", s);
    return syntax_endpoint(s) || syntax_endpoint(with_port);
}

static bool is_host(const char *s)
{
    return is_authority(s) && !syntax_endpoint(s);
}

static bool is_origin(const char *s)
{
    if (str_starts(s, "https://"))
        return is_authority(s + strlen("https://"));
    return str_starts(s, "http://") && is_authority(s + strlen("http://"));
}

/* "http://host:port/path" without user, query and blanks. */
static bool is_url(const char *s)
{
    const char *at = s + (str_starts(s, "https://") ? strlen("https://") : strlen("http://"));
    char host[300];
    size_t n;

    if (!*s)
        return true;
    if (!str_starts(s, "http://") && !str_starts(s, "https://"))
        return false;
    n = strcspn(at, "/");
    if (n >= sizeof(host) || strcspn(at, " ?#@\t\r\n\"\\") != strlen(at))
        return false;
    (void)str_copy(host, at, n + 1);
    return is_authority(host);
}

/* Where programs may write, and nothing that leads out of it. */
static bool is_tree(const char *s)
{
    return str_starts(s, "/tmp/") && s[strlen("/tmp/")] && strlen(s) < 200 && !strstr(s, "..") &&
           strcspn(s, "\"\\\t\r\n ") == strlen(s);
}

static bool is_slack_url(const char *s)
{
    return *s && is_url(s) && str_ends(s, "/api/");
}

/* Of a channel or a user; names change, and messages do not come with them. */
static bool is_slack_id(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(s);
}

static bool is_instance(const char *s)
{
    return !*s || (syntax_word(s) && strlen(s) <= 40);
}

static const struct yaml_syntax instance = {is_instance, "a name such as oneshot-2"};
static const struct yaml_syntax address = {is_address, "an IP address such as 127.0.0.1 or ::1"};
static const struct yaml_syntax dialect = {syntax_name, "the name of a dialect such as native"};
static const struct yaml_syntax host = {is_host, "a host's name without a port"};
static const struct yaml_syntax origin = {is_origin, "an origin such as https://example.org"};
static const struct yaml_syntax store = {is_store, "sqlite:PATH or postgresql://…"};

static const struct yaml_syntax url = {is_url, "a URL such as https://example.org"};
static const struct yaml_syntax tree = {is_tree, "a directory below /tmp"};
static const struct yaml_syntax slack_url = {is_slack_url, "a URL that ends with /api/"};
static const struct yaml_syntax slack_id = {is_slack_id, "an id such as C0123456789"};
static const struct yaml_syntax policy = {syntax_name, "the name of a policy such as telemetry"};

static const struct yaml_word api_words[] = {
    {"v2", MODEL_API_V2},
    {"v1", MODEL_API_V1},
    {"2",  MODEL_API_V2},
    {"1",  MODEL_API_V1},
    {NULL, 0           },
};

static const struct yaml_word capture_words[] = {
    {"full",   CODE_FULL  },
    {"digest", CODE_DIGEST},
    {"off",    CODE_OFF   },
    {NULL,     0          },
};

/* The first of each value is ours; the others are what LOG_LEVEL holds in other programs. */
static const struct yaml_word level_words[] = {
    {"debug",    LOG_DEBUG  },
    {"info",     LOG_INFO   },
    {"warning",  LOG_WARNING},
    {"error",    LOG_ERROR  },
    {"warn",     LOG_WARNING},
    {"critical", LOG_ERROR  },
    {NULL,       0          },
};

static const struct yaml_word format_words[] = {
    {"text", LOG_TEXT},
    {"json", LOG_JSON},
    {NULL,   0       },
};

const char settings_listeners[] =
    "listeners:\n"
    "  - {address: 127.0.0.1, port: 6000, dialects: [aiq]}\n"
    "  - {address: 127.0.0.1, port: 8080, dialects: [telemetry]}\n"
    "  - {address: 127.0.0.1, port: 8000, dialects: [native, aiq]}\n"
    "  - {address: 127.0.0.1, port: 3030, dialects: [generator, slack]}\n"
    "  - {address: 127.0.0.1, port: 8030, dialects: [executor]}\n";

/* clang-format off */
#define AT(m) .offset = offsetof(struct settings, m)

static const struct yaml_field listener_fields[] = {
    {.key = "address",  .type = YAML_TEXT,    .offset = offsetof(struct listener, address), .initial = "127.0.0.1", .syntax = &address, .doc = "IP address"},
    {.key = "port",     .type = YAML_INTEGER, .offset = offsetof(struct listener, port), .is_required = true, .min = 0, .max = 65535, .doc = "0 = any free one"},
    {.key = "dialects", .type = YAML_TEXTS,   .offset = offsetof(struct listener, dialects), .is_required = true, .max = 16, .syntax = &dialect, .doc = "the first one gives the form of errors"},
    {0},
};

static const struct yaml_field front_fields[] = {
    {.key = "uid", .type = YAML_INTEGER, AT(front_uid), .min = 1, .max = 2147483646, .initial = "61001", .env = "ONESHOT_FRONT_UID", .doc = "user that the HTTP process becomes where the service is started as root"},
    {.key = "gid", .type = YAML_INTEGER, AT(front_gid), .min = 1, .max = 2147483646, .initial = "61001", .env = "ONESHOT_FRONT_GID", .doc = "group that it becomes"},
    {0},
};

static const struct yaml_field engine_fields[] = {
    {.key = "host",            .type = YAML_TEXT,    AT(engine_host), .initial = "\"\"", .env = "ONESHOT_ENGINE_HOST", .doc = "unix:///path of the Docker Engine; \"\" = DOCKER_HOST, else the usual path; none = programs run at generate.sandbox_url alone"},
    {.key = "parallel_starts", .type = YAML_INTEGER, AT(parallel_starts), .min = 0, .max = 256, .initial = "0", .env = "ONESHOT_PARALLEL_STARTS", .doc = "containers that are started at the same time; 0 = twice the processors"},
    {0},
};

static const struct yaml_field pools_fields[] = {
    {.key = "memory", .type = YAML_SIZE, AT(pool_memory), .min = 0, .max = TIB, .share = YAML_OF_RAM, .initial = "0", .env = "ONESHOT_POOL_MEMORY", .doc = "memory of all parked containers together; 0 = the larger of 1GiB and 10% of the machine's"},
    {.key = "containers", .type = YAML_INTEGER, AT(containers_max), .min = 1, .max = 10000, .initial = "128", .env = "ONESHOT_CONTAINERS", .doc = "containers at the same time, parked and running; further runs wait in line"},
    {0},
};

static const struct yaml_field http_fields[] = {
    {.key = "connections",             .type = YAML_INTEGER, AT(connections), .min = 1, .max = 100000, .initial = "1024", .env = "ONESHOT_CONNECTIONS", .doc = "open connections"},
    {.key = "connections_per_address", .type = YAML_INTEGER, AT(connections_per_address), .min = 1, .max = 100000, .initial = "640", .env = "ONESHOT_CONNECTIONS_PER_ADDRESS", .doc = "of them from one client address"},
    {.key = "idle",                    .type = YAML_TIME,    AT(idle_ms), .min = 100, .max = HOUR, .initial = "75s", .env = "ONESHOT_IDLE_TIMEOUT", .doc = "a connection without a request is closed after so long"},
    {.key = "header",                  .type = YAML_TIME,    AT(header_ms), .min = 100, .max = HOUR, .initial = "10s", .env = "ONESHOT_HEADER_TIMEOUT", .doc = "a request's head must be complete after so long"},
    {.key = "body",                    .type = YAML_TIME,    AT(body_ms), .min = 100, .max = HOUR, .initial = "30s", .env = "ONESHOT_BODY_TIMEOUT", .doc = "and its body after so long"},
    {.key = "body_size",               .type = YAML_SIZE,    AT(body_max), .min = KIB, .max = GIB, .initial = "8MiB", .env = "ONESHOT_BODY_SIZE", .doc = "largest JSON body"},
    {.key = "body_files_size",         .type = YAML_SIZE,    AT(body_files_max), .min = KIB, .max = 16 * GIB, .initial = "72MiB", .env = "ONESHOT_BODY_FILES_SIZE", .doc = "largest body of a request that may bring files"},
    {.key = "json_tokens",             .type = YAML_INTEGER, AT(json_tokens), .min = 100, .max = 1e8, .initial = "200000", .env = "ONESHOT_JSON_TOKENS", .doc = "values, keys and brackets in one body"},
    {.key = "memory",                  .type = YAML_SIZE,    AT(http_memory), .min = MIB, .max = TIB, .share = YAML_OF_RAM, .initial = "min(512MiB, 12.5%)", .env = "ONESHOT_HTTP_MEMORY", .doc = "memory of all requests under way together; further ones are answered 503"},
    {0},
};

static const struct yaml_field model_fields[] = {
    {.key = "url",             .type = YAML_TEXT,    AT(model_url), .initial = "\"\"", .env = "CO_API_URL", .syntax = &url, .doc = "address of the model's service; \"\" = https://api.cohere.com"},
    {.key = "key",             .type = YAML_TEXT,    AT(model_key), .initial = "\"\"", .env = "COHERE_API_KEY CO_API_KEY", .doc = "API key; better in the environment than in this file"},
    {.key = "name",            .type = YAML_TEXT,    AT(model_name), .initial = "command-a-reasoning-08-2025", .env = "COHERE_MODEL", .doc = "which model writes the programs"},
    {.key = "api",             .type = YAML_WORD,    AT(model_api), .words = api_words, .initial = "v2", .env = "COHERE_API_VERSION", .doc = "version of Cohere's chat API: v2 or v1"},
    {.key = "temperature",     .type = YAML_REAL,    AT(model_temperature), .min = 0, .max = 1, .initial = "0.2", .env = "COHERE_TEMPERATURE", .doc = "0 to 1; low values stick to what is likely"},
    {.key = "max_tokens",      .type = YAML_INTEGER, AT(model_max_tokens), .min = 0, .max = 1e6, .initial = "0", .env = "COHERE_MAX_TOKENS", .doc = "longest reply; 0 = what the model allows"},
    {.key = "timeout",         .type = YAML_TIME,    AT(model_timeout_ms), .min = 100, .max = HOUR, .initial = "180s", .env = "COHERE_TIMEOUT", .doc = "one request to the model may take so long"},
    {.key = "retries",         .type = YAML_INTEGER, AT(model_retries), .min = 0, .max = 10, .initial = "2", .env = "COHERE_RETRIES", .doc = "further requests after 408, 429, 5xx and lost connections"},
    {.key = "rate_per_minute", .type = YAML_INTEGER, AT(model_rate), .min = -1, .max = 100000, .initial = "-1", .env = "COHERE_RATE_PER_MINUTE", .doc = "requests to the model; 0 = no limit, -1 = 20 for reasoning models at Cohere's own address, else no limit"},
    {.key = "ca_file",         .type = YAML_TEXT,    AT(ca_file), .initial = "\"\"", .env = "ONESHOT_CA_FILE", .doc = "certificates to trust instead of the system's, for model.url and generate.sandbox_url"},
    {0},
};

static const struct yaml_field generate_fields[] = {
    {.key = "policy",            .type = YAML_TEXT,    AT(generate_policy), .initial = "telemetry", .env = "ONESHOT_GENERATE_POLICY", .syntax = &policy, .doc = "policy of the model's programs"},
    {.key = "guide",             .type = YAML_TEXT,    AT(generate_guide), .initial = "prompt-guide.txt", .env = "PROMPT_GUIDE", .doc = "text that tells the model how to write programs; read at every request"},
    {.key = "max_retries",       .type = YAML_INTEGER, AT(generate_retries), .min = 0, .max = 10, .initial = "2", .env = "MAX_RETRIES", .doc = "further attempts after a program that failed"},
    {.key = "timeout",           .type = YAML_TIME,    AT(generate_timeout_ms), .min = SEC, .max = HOUR, .initial = "300s", .env = "GENERATE_TIMEOUT", .doc = "all attempts together"},
    {.key = "error_size",        .type = YAML_SIZE,    AT(generate_error_max), .min = 256, .max = MIB, .initial = "8KiB", .env = "ONESHOT_GENERATE_ERROR_SIZE", .doc = "how much of an error the model is told, head and tail"},
    {.key = "sandbox_url",       .type = YAML_TEXT,    AT(sandbox_url), .initial = "\"\"", .env = "SANDBOX_URL", .syntax = &url, .doc = "service of the telemetry dialect that runs the programs; \"\" = this one"},
    {.key = "sandbox_timeout",   .type = YAML_TIME,    AT(sandbox_timeout_ms), .min = 1, .max = DAY, .initial = "120s", .env = "SANDBOX_TIMEOUT", .doc = "how long a program may run there; here its policy says so"},
    {.key = "slicks_errors",     .type = YAML_BOOL,    AT(generate_checks_slicks), .initial = "true", .env = "ONESHOT_GENERATE_SLICKS_ERRORS", .doc = "a program that prints 'Error fetching data:' has failed"},
    {.key = "plot_without_file", .type = YAML_BOOL,    AT(generate_checks_plots), .initial = "true", .env = "ONESHOT_GENERATE_PLOT_WITHOUT_FILE", .doc = "so has one that saves no file where a plot was asked for"},
    {0},
};

static const struct yaml_field slack_fields[] = {
    {.key = "enabled",        .type = YAML_BOOL,    AT(slack_enabled), .initial = "false", .env = "ENABLE_SLACK", .doc = "`oneshot serve` runs the bot, too"},
    {.key = "bot_token",      .type = YAML_TEXT,    AT(slack_bot_token), .initial = "\"\"", .env = "SLACK_BOT_TOKEN", .doc = "xoxb-…; better in the environment than in this file, as the next two"},
    {.key = "app_token",      .type = YAML_TEXT,    AT(slack_app_token), .initial = "\"\"", .env = "SLACK_APP_TOKEN", .doc = "xapp-…: messages come over Socket Mode, which needs no public address; \"\" = they do not"},
    {.key = "signing_secret", .type = YAML_TEXT,    AT(slack_signing_secret), .initial = "\"\"", .env = "SLACK_SIGNING_SECRET", .doc = "messages come over HTTP to /slack/events of the dialect slack; \"\" = they do not"},
    {.key = "channel",        .type = YAML_TEXT,    AT(slack_channel), .initial = "\"\"", .env = "SLACK_DEFAULT_CHANNEL", .syntax = &slack_id, .doc = "id of the channel whose messages count beside direct ones; \"\" = none"},
    {.key = "api_url",        .type = YAML_TEXT,    AT(slack_api_url), .initial = "https://slack.com/api/", .env = "SLACK_API_URL", .syntax = &slack_url, .doc = "address of Slack's Web API"},
    {.key = "generator_url",  .type = YAML_TEXT,    AT(slack_generator_url), .initial = "\"\"", .env = "CODE_GENERATOR_URL", .syntax = &url, .doc = "service of the generator dialect that does the work; \"\" = our own listener"},
    {.key = "allowed_users",  .type = YAML_TEXTS,   AT(slack_users), .max = 1000, .env = "SLACK_ALLOWED_USERS", .syntax = &slack_id, .doc = "ids of the users who may use the model; none = everybody"},
    {.key = "daily_budget",   .type = YAML_INTEGER, AT(slack_daily_budget), .min = 0, .max = 1e6, .initial = "0", .env = "SLACK_DAILY_BUDGET", .doc = "requests of one user on a day (UTC); 0 = no limit"},
    {.key = "timeout",        .type = YAML_TIME,    AT(slack_timeout_ms), .min = SEC, .max = HOUR, .initial = "120s", .env = "SLACK_TIMEOUT", .doc = "an !agent may take so long"},
    {.key = "debug_timeout",  .type = YAML_TIME,    AT(slack_debug_timeout_ms), .min = SEC, .max = DAY, .initial = "1200s", .env = "SLACK_DEBUG_TIMEOUT", .doc = "an !agent-debug may take so long; generate.timeout bounds it, too"},
    {.key = "patience",       .type = YAML_TIME,    AT(slack_patience_ms), .min = SEC, .max = DAY, .initial = "1h", .env = "SLACK_PATIENCE", .doc = "an answer is sent again for so long while Slack cannot be reached"},
    {.key = "workers",        .type = YAML_INTEGER, AT(slack_workers), .min = 1, .max = 64, .initial = "4", .env = "SLACK_WORKERS", .doc = "requests that are worked on at the same time"},
    {.key = "queue",          .type = YAML_INTEGER, AT(slack_queue), .min = 1, .max = 10000, .initial = "32", .env = "SLACK_QUEUE", .doc = "further ones that wait; beyond them the answer is that the service is busy"},
    {.key = "ping",           .type = YAML_TIME,    AT(slack_ping_ms), .min = 100, .max = HOUR, .initial = "10s", .env = "SLACK_PING_INTERVAL", .doc = "a connection of Socket Mode is tried as often, and replaced when nothing came for four times as long"},
    {0},
};

static const struct yaml_field tools_fields[] = {
    {.key = "file",    .type = YAML_TEXT, AT(tools_file), .initial = "\"\"", .env = "ONESHOT_TOOLS", .doc = "modules and functions; \"\" = tools.yaml in the directory of the policies, where there is one"},
    {.key = "secrets", .type = YAML_TEXT, AT(tools_secrets), .initial = "\"\"", .env = "ONESHOT_TOOLS_SECRETS", .doc = "file with NAME=value lines, which ${secret:NAME} reads there; \"\" = none"},
    {0},
};

static const struct yaml_field executor_fields[] = {
    {.key = "token",     .type = YAML_TEXT, AT(executor_token), .initial = "\"\"", .env = "EXECUTOR_API_TOKEN", .doc = "what its clients must send as X-Executor-Token; \"\" = nothing"},
    {.key = "workspace", .type = YAML_TEXT, AT(executor_workspace), .initial = "/tmp/mcp_workspace", .env = "MCP_WORKSPACE_DIR", .syntax = &tree, .doc = "directory of the tools' files, as programs see it"},
    {0},
};

static const struct yaml_field store_fields[] = {
    {.key = "url", .type = YAML_TEXT, AT(store_url), .initial = "sqlite:oneshot.db", .env = "ONESHOT_STORE_URL", .syntax = &store, .doc = "where history is kept; a relative path lies in state_dir"},
    {0},
};

static const struct yaml_field code_fields[] = {
    {.key = "store", .type = YAML_WORD, AT(code_store), .words = capture_words, .initial = "full", .env = "ONESHOT_CODE_STORE", .doc = "what history keeps of a program: full, digest, off"},
    {.key = "log",   .type = YAML_WORD, AT(code_log), .words = capture_words, .initial = "off", .env = "ONESHOT_CODE_LOG", .doc = "what the audit log shows of it"},
    {0},
};

static const struct yaml_field history_fields[] = {
    {.key = "age",  .type = YAML_TIME, AT(history_age_ms), .min = HOUR, .max = 36500 * DAY, .initial = "30d", .env = "ONESHOT_HISTORY_AGE", .doc = "older runs are deleted"},
    {.key = "size", .type = YAML_SIZE, AT(history_size), .min = MIB, .max = TIB, .initial = "1GiB", .env = "ONESHOT_HISTORY_SIZE", .doc = "and the oldest ones beyond this size"},
    {0},
};

static const struct yaml_field log_fields[] = {
    {.key = "level",  .type = YAML_WORD, AT(log_level), .words = level_words, .initial = "info", .env = "ONESHOT_LOG_LEVEL LOG_LEVEL", .doc = "debug, info, warning or error; DEBUG=1 is debug"},
    {.key = "format", .type = YAML_WORD, AT(log_format), .words = format_words, .initial = "text", .env = "ONESHOT_LOG_FORMAT", .doc = "text or json"},
    {0},
};

const struct yaml_field settings_table[] = {
    {.key = "instance",  .type = YAML_TEXT,  AT(instance), .initial = "\"\"", .env = "ONESHOT_INSTANCE", .syntax = &instance, .doc = "name on the containers' labels, one for each service on an engine; \"\" = made up once and kept in state_dir"},
    {.key = "state_dir", .type = YAML_TEXT,  AT(state_dir), .initial = "\"\"", .env = "ONESHOT_STATE_DIR", .doc = "database, lock and sockets; \"\" = /var/lib/oneshot for root, else ~/.local/state/oneshot or below XDG_STATE_HOME"},
    {.key = "policies",  .type = YAML_TEXT,  AT(policies_dir), .initial = "\"\"", .env = "ONESHOT_POLICIES", .doc = "directory of the policies; \"\" = the first of policies, /etc/oneshot/policies, /usr/share/oneshot/policies"},
    {.key = "listeners", .type = YAML_RECORDS, AT(listeners), .is_required = true, .max = 64, .table = listener_fields, .count_offset = offsetof(struct settings, listeners_n), .size = sizeof(struct listener), .doc = "addresses, ports and which dialects they speak"},
    {.key = "allow_unauthenticated", .type = YAML_BOOL, AT(allow_unauthenticated), .initial = "false", .env = "ONESHOT_ALLOW_UNAUTHENTICATED", .doc = "listen on addresses that other machines can reach, without keys"},
    {.key = "hosts",     .type = YAML_TEXTS, AT(hosts), .max = 64, .env = "ONESHOT_HOSTS", .syntax = &host, .doc = "names by which clients may address the service, beside IP addresses and localhost"},
    {.key = "origins",   .type = YAML_TEXTS, AT(origins), .max = 64, .env = "ONESHOT_ORIGINS", .syntax = &origin, .doc = "web pages that may call the service from a browser"},
    {.key = "front",     .type = YAML_TABLE, .table = front_fields, .doc = "the process that speaks HTTP"},
    {.key = "engine",    .type = YAML_TABLE, .table = engine_fields, .doc = "the Docker Engine"},
    {.key = "pools",     .type = YAML_TABLE, .table = pools_fields, .doc = "all pools together; what one policy parks is a key of the policy"},
    {.key = "drain",     .type = YAML_TIME,  AT(drain_ms), .min = 0, .max = HOUR, .initial = "20s", .env = "ONESHOT_DRAIN", .doc = "a stop waits for running programs so long"},
    {.key = "http",      .type = YAML_TABLE, .table = http_fields, .doc = "limits of connections and requests"},
    {.key = "model",     .type = YAML_TABLE, .table = model_fields, .doc = "the language model of the generator"},
    {.key = "generate",  .type = YAML_TABLE, .table = generate_fields, .doc = "the loop that lets the model write a program, runs it and tells it what went wrong"},
    {.key = "slack",     .type = YAML_TABLE, .table = slack_fields, .doc = "the bot that asks the generator for people in Slack"},
    {.key = "executor",  .type = YAML_TABLE, .table = executor_fields, .doc = "the dialect of programs that call tools"},
    {.key = "tools",     .type = YAML_TABLE, .table = tools_fields, .doc = "what programs may call where their policy permits it"},
    {.key = "store",     .type = YAML_TABLE, .table = store_fields, .doc = "the database"},
    {.key = "code",      .type = YAML_TABLE, .table = code_fields, .doc = "what is kept of the programs that were run"},
    {.key = "history",   .type = YAML_TABLE, .table = history_fields, .doc = "how long runs are remembered"},
    {.key = "log",       .type = YAML_TABLE, .table = log_fields, .doc = "the service's log, on standard error"},
    {0},
};
/* clang-format on */
