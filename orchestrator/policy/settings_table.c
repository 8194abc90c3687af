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

const char settings_listeners[] = "listeners:\n"
                                  "  - {address: 127.0.0.1, port: 6000, dialects: [aiq]}\n"
                                  "  - {address: 127.0.0.1, port: 8080, dialects: [telemetry]}\n"
                                  "  - {address: 127.0.0.1, port: 8000, dialects: [native, aiq]}\n";

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
    {.key = "host",            .type = YAML_TEXT,    AT(engine_host), .initial = "\"\"", .env = "ONESHOT_ENGINE_HOST", .doc = "unix:///path of the Docker Engine; \"\" = DOCKER_HOST, else the usual path"},
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
    {.key = "store",     .type = YAML_TABLE, .table = store_fields, .doc = "the database"},
    {.key = "code",      .type = YAML_TABLE, .table = code_fields, .doc = "what is kept of the programs that were run"},
    {.key = "history",   .type = YAML_TABLE, .table = history_fields, .doc = "how long runs are remembered"},
    {.key = "log",       .type = YAML_TABLE, .table = log_fields, .doc = "the service's log, on standard error"},
    {0},
};
/* clang-format on */
