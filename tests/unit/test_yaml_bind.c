#include "base/yaml_bind.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "unit.h"

enum color { RED, GREEN, BLUE };

struct point {
    char *name;
    int64_t x;
    char **tags;
};

struct thing {
    char *text;
    bool is_on;
    int64_t count, size, part, time;
    double ratio;
    enum color color;
    char **names;
    struct yaml_pair *pairs;
    int64_t low, high;
    struct point *points;
    size_t points_n;
    int custom;
};

static bool is_lower(const char *s)
{
    return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyz")];
}

static const struct yaml_syntax lower = {is_lower, "lower-case letters"};
static const struct yaml_word colors[] = {
    {"red",   RED  },
    {"green", GREEN},
    {"grün",  GREEN},
    {"blue",  BLUE },
    {NULL,    0    }
};

static int custom_bind(struct yaml *y, const struct yaml_node *node, const char *key, void *at)
{
    const char *text = yaml_text(y, node, key, "even or odd");
    int v = text && strcmp(text, "even") == 0 ? 2 : 1;

    memcpy(at, &v, sizeof(v));
    return text ? 0 : -1;
}

static void custom_print(struct buf *b, const void *at)
{
    int v;

    memcpy(&v, at, sizeof(v));
    (void)buf_str(b, v == 2 ? "even" : "odd");
}

static void custom_release(void *at)
{
    memset(at, 0, sizeof(int));
}

static const struct yaml_custom custom = {custom_bind, custom_print, custom_release};

/* clang-format off */
#define AT(m) .offset = offsetof(struct thing, m)

static const struct yaml_field point_fields[] = {
    {.key = "name", .type = YAML_TEXT,    .offset = offsetof(struct point, name), .initial = "nobody"},
    {.key = "x",    .type = YAML_INTEGER, .offset = offsetof(struct point, x), .is_required = true, .min = -5, .max = 5},
    {.key = "tags", .type = YAML_TEXTS,   .offset = offsetof(struct point, tags), .max = 2},
    {0},
};

static const struct yaml_field range_fields[] = {
    {.key = "low",  .type = YAML_INTEGER, AT(low), .is_required = true},
    {.key = "high", .type = YAML_INTEGER, AT(high), .doc = "the upper end"},
    {0},
};

static const struct yaml_field table[] = {
    {.key = "note",   .type = YAML_CALLER},
    {.key = "text",   .type = YAML_TEXT,    AT(text), .initial = "\"a b\"", .env = "T_TEXT", .doc = "any text"},
    {.key = "on",     .type = YAML_BOOL,    AT(is_on), .env = "T_ON"},
    {.key = "count",  .type = YAML_INTEGER, AT(count), .min = 1, .max = 100, .initial = "7", .env = "T_COUNT T_COUNT_OLD"},
    {.key = "ratio",  .type = YAML_REAL,    AT(ratio), .min = 0.01, .max = 2},
    {.key = "size",   .type = YAML_SIZE,    AT(size), .min = 4096, .max = 1 << 20, .initial = "16KiB"},
    {.key = "part",   .type = YAML_SIZE,    AT(part), .share = YAML_OF_MEMBER, .share_of = offsetof(struct thing, size)},
    {.key = "time",   .type = YAML_TIME,    AT(time), .max = 60000},
    {.key = "color",  .type = YAML_WORD,    AT(color), .words = colors, .env = "T_COLOR"},
    {.key = "names",  .type = YAML_TEXTS,   AT(names), .max = 3, .syntax = &lower, .env = "T_NAMES"},
    {.key = "pairs",  .type = YAML_PAIRS,   AT(pairs), .max = 3, .syntax = &lower},
    {.key = "range",  .type = YAML_TABLE,   .table = range_fields, .shorthand = "low"},
    {.key = "points", .type = YAML_RECORDS, AT(points), .max = 3, .table = point_fields, .count_offset = offsetof(struct thing, points_n), .size = sizeof(struct point)},
    {.key = "custom", .type = YAML_CUSTOM,  AT(custom), .custom = &custom, .initial = "odd"},
    {0},
};
/* clang-format on */

static struct yaml_node *parse(struct yaml *y, const char *text)
{
    struct yaml_node *root = yaml_parse(y, "t", text, strlen(text));

    ck_assert_msg(root, "%s", buf_get(&y->faults));
    return root;
}

START_TEST(binds_every_type)
{
    static const char text[] = "note: [anything]\n"
                               "text: 1.50\n"
                               "on: true\n"
                               "count: 100\n"
                               "ratio: 12.5%\n"
                               "size: 8KiB\n"
                               "part: 50%\n"
                               "time: 1m\n"
                               "color: blue\n"
                               "names: [a, 'b']\n"
                               "pairs: {k: v, l: 3}\n"
                               "range: {low: 1, high: 2}\n"
                               "points: [{x: -5, tags: [p]}, {name: n, x: 5}]\n"
                               "custom: even\n";
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, text), &t);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_str_eq(t.text, "1.50");
    ck_assert(t.is_on);
    ck_assert_int_eq(t.count, 100);
    ck_assert_double_eq(t.ratio, 0.125);
    ck_assert_int_eq(t.size, 8192);
    ck_assert_int_eq(t.part, 4096);
    ck_assert_int_eq(t.time, 60000);
    ck_assert_int_eq(t.color, BLUE);
    ck_assert_str_eq(t.names[1], "b");
    ck_assert_ptr_null(t.names[2]);
    ck_assert_str_eq(t.pairs[1].name, "l");
    ck_assert_str_eq(t.pairs[1].value, "3");
    ck_assert_ptr_null(t.pairs[2].name);
    ck_assert_int_eq(t.low, 1);
    ck_assert_int_eq(t.high, 2);
    ck_assert_uint_eq(t.points_n, 2);
    ck_assert_str_eq(t.points[0].name, "nobody");
    ck_assert_int_eq(t.points[0].x, -5);
    ck_assert_str_eq(t.points[0].tags[0], "p");
    ck_assert_str_eq(t.points[1].name, "n");
    ck_assert_ptr_nonnull(t.points[1].tags);
    ck_assert_int_eq(t.custom, 2);
    yaml_release(table, &t);
    ck_assert_ptr_null(t.points);
    ck_assert_uint_eq(t.points_n, 0);
    ck_assert_ptr_null(t.text);
}
END_TEST

START_TEST(fills_what_is_not_written)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, "range: 4"), &t);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_str_eq(t.text, "a b");
    ck_assert(!t.is_on);
    ck_assert_int_eq(t.count, 7);
    ck_assert_int_eq(t.size, 16384);
    ck_assert_int_eq(t.color, RED);
    ck_assert_ptr_null(t.names[0]);
    ck_assert_ptr_null(t.pairs[0].name);
    ck_assert_uint_eq(t.points_n, 0);
    ck_assert_int_eq(t.low, 4);
    ck_assert_int_eq(t.custom, 1);
    yaml_release(table, &t);
}
END_TEST

/* clang-format off */
/* Each is a whole file; "range: 1" is there so that nothing else is missing. */
static const struct {
    const char *text, *fault;
} bad[] = {
    {"", "t:1:1: 'range.low': is missing"},
    {"range: 1\ncuont: 1", "t:2:1: 'cuont': is not a key here; did you mean 'count'?"},
    {"range: 1\ncoun: 1", "t:2:1: 'coun': is not a key here; did you mean 'count'?"},
    {"range: 1\ncounts: 1", "t:2:1: 'counts': is not a key here; did you mean 'count'?"},
    {"range: 1\ncaunt: 1", "t:2:1: 'caunt': is not a key here; did you mean 'count'?"},
    {"range: 1\nCount: 1", "t:2:1: 'Count': is not a key here; did you mean 'count'?"},
    {"range: 1\ncuotn: 1", "t:2:1: 'cuotn': is not a key here"},
    {"range: {low: 1, hig: 2}", "t:1:17: 'range.hig': is not a key here; did you mean 'high'?"},
    {"range: 1\n<<: {a: 1}", "t:2:1: '<<': is not a key here"},
    {"range: [1]", "t:1:8: 'range': must be a map of keys and values"},
    {"range:", "t:1:7: 'range': must be a map of keys and values"},
    {"range: {high: 1}", "t:1:8: 'range.low': is missing"},
    {"range: {low: -1}", "t:1:14: 'range.low': must be 0 or more, not -1"},
    {"range: 1\ntext: [a]", "t:2:7: 'text': must be a text, not a list"},
    {"range: 1\ntext: {a: 1}", "t:2:7: 'text': must be a text, not a map"},
    {"range: 1\ntext:", "t:2:6: 'text': has no value; it must be a text"},
    {"range: 1\ntext: ~", "t:2:7: 'text': has no value; it must be a text"},
    {"range: 1\non: yes", "t:2:5: 'on': must be true or false, not 'yes'"},
    {"range: 1\non: 1", "t:2:5: 'on': must be true or false, not '1'"},
    {"range: 1\non: 'true'", "t:2:5: 'on': must be true or false, not a quoted text"},
    {"range: 1\ncount: 0", "t:2:8: 'count': must be from 1 to 100, not 0"},
    {"range: 1\ncount: 101", "t:2:8: 'count': must be from 1 to 100, not 101"},
    {"range: 1\ncount: 1.5", "t:2:8: 'count': must be an integer, not '1.5'"},
    {"range: 1\ncount: 0x10", "t:2:8: 'count': must be an integer, not '0x10'"},
    {"range: 1\ncount: 010", "t:2:8: 'count': must be an integer, not '010'"},
    {"range: 1\ncount: +1", "t:2:8: 'count': must be an integer, not '+1'"},
    {"range: 1\ncount: 1_0", "t:2:8: 'count': must be an integer, not '1_0'"},
    {"range: 1\ncount: -", "t:2:8: block sequence entries are not allowed in this context"},
    {"range: 1\ncount: 99999999999999999999",
     "t:2:8: 'count': must be an integer, not '99999999999999999999'"},
    {"range: 1\ncount: \"5\"", "t:2:8: 'count': must be an integer, not a quoted text"},
    {"range: 1\ncount: .nan", "t:2:8: 'count': must be an integer, not '.nan'"},
    {"range: 1\ncount: [1]", "t:2:8: 'count': must be an integer, not a list"},
    {"range: 1\nratio: .nan", "t:2:8: 'ratio': must be a number, not '.nan'"},
    {"range: 1\nratio: nan", "t:2:8: 'ratio': must be a number, not 'nan'"},
    {"range: 1\nratio: 1e999", "t:2:8: 'ratio': must be a number, not '1e999'"},
    {"range: 1\nratio: 201%", "t:2:8: 'ratio': must be from 0.01 to 2, not 201%"},
    {"range: 1\nratio: -1", "t:2:8: 'ratio': must be from 0.01 to 2, not -1"},
    {"range: 1\nratio: 00000000000000000000000000000001",
     "t:2:8: 'ratio': must be a number, not '00000000000000000000000000000001'"},
    {"range: 1\nratio: a%", "t:2:8: 'ratio': must be a number, not 'a%'"},
    {"range: 1\nsize: 4MiB", "t:2:7: 'size': must be from 4KiB to 1MiB, not 4MiB"},
    {"range: 1\nsize: 10MB",
     "t:2:7: 'size': must be a size such as 256MiB (B, KiB, MiB, GiB), not '10MB'"},
    {"range: 1\nsize: 10%",
     "t:2:7: 'size': must be a size such as 256MiB (B, KiB, MiB, GiB): '10%' is a share of "
     "nothing here"},
    {"range: 1\nsize: [1]", "t:2:7: 'size': must be a size, not a list"},
    {"range: 1\nsize: 1B\npart: 50%", "t:2:7: 'size': must be from 4KiB to 1MiB, not 1B"},
    {"range: 1\ntime: 61s", "t:2:7: 'time': must be from 0s to 1m, not 61s"},
    {"range: 1\ntime: 1 min",
     "t:2:7: 'time': must be a time such as 30s (ms, s, m, h, d), not '1 min'"},
    {"range: 1\ncolor: pink",
     "t:2:8: 'color': must be red, green, gr\xc3\xbcn or blue, not 'pink'"},
    {"range: 1\ncolor: RED", "t:2:8: 'color': must be red, green, gr\xc3\xbcn or blue, not 'RED'"},
    {"range: 1\nnames: a", "t:2:8: 'names': must be a list"},
    {"range: 1\nnames: [a, B]", "t:2:12: 'names': must be lower-case letters, not 'B'"},
    {"range: 1\nnames: [a, [b]]", "t:2:12: 'names': must be lower-case letters, not a list"},
    {"range: 1\nnames: [a, b, c, d]", "t:2:8: 'names': may have up to 3 items"},
    {"range: 1\npairs: [a]", "t:2:8: 'pairs': must be a map of up to 3 texts"},
    {"range: 1\npairs: {a: 1, b: 1, c: 1, d: 1}", "t:2:8: 'pairs': must be a map of up to 3 texts"},
    {"range: 1\npairs: {A: 1}", "t:2:9: 'pairs.A': must be lower-case letters"},
    {"range: 1\nratio: [1]", "t:2:8: 'ratio': must be a number, not a list"},
    {"range: 1\npairs: {a: [1]}", "t:2:12: 'pairs.a': must be a text, not a list"},
    {"range: 1\npoints: {x: 1}", "t:2:9: 'points': must be a list"},
    {"range: 1\npoints: [1]", "t:2:10: 'points[0]': must be a map of keys and values"},
    {"range: 1\npoints: [{x: 1}, {}]", "t:2:18: 'points[1].x': is missing"},
    {"range: 1\npoints: [{x: 6}]", "t:2:14: 'points[0].x': must be from -5 to 5, not 6"},
    {"range: 1\npoints: [{x: 1, tags: [1, 2, 3]}]",
     "t:2:23: 'points[0].tags': may have up to 2 items"},
    {"range: 1\npoints: [{x: 1}, {x: 1}, {x: 1}, {x: 1}]",
     "t:2:9: 'points': may have up to 3 items"},
    {"range: 1\ncustom: [1]", "t:2:9: 'custom': must be even or odd, not a list"},
};
/* clang-format on */

START_TEST(refuses_with_place_key_and_reason)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *line = xasprintf("%s\n", bad[_i].fault);
    struct thing t = {0};
    struct yaml_node *root;

    yaml_init(&y);
    root = yaml_parse(&y, "t", bad[_i].text, strlen(bad[_i].text));
    if (root)
        yaml_bind(&y, table, root, &t);
    ck_assert_str_eq(buf_get(&y.faults), line);
    yaml_release(table, &t);
}
END_TEST

START_TEST(tells_all_faults_of_a_file)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, "x: 1\ncount: 0\npoints: [{x: 9}, {x: 8}]\n"), &t);
    ck_assert_uint_eq(y.faults_n, 5);
    ck_assert_str_eq(buf_get(&y.faults), "t:1:1: 'x': is not a key here\n"
                                         "t:2:8: 'count': must be from 1 to 100, not 0\n"
                                         "t:1:1: 'range.low': is missing\n"
                                         "t:3:14: 'points[0].x': must be from -5 to 5, not 9\n"
                                         "t:3:22: 'points[1].x': must be from -5 to 5, not 8\n");
    ck_assert_int_eq(t.count, 0);
    yaml_release(table, &t);
}
END_TEST

START_TEST(lets_the_environment_override_the_file)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    ck_assert_int_eq(setenv("T_TEXT", "from ${outside}", 1), 0);
    ck_assert_int_eq(setenv("T_ON", "1", 1), 0);
    ck_assert_int_eq(setenv("T_COUNT", "", 1), 0);
    ck_assert_int_eq(setenv("T_COUNT_OLD", "9", 1), 0);
    ck_assert_int_eq(setenv("T_COLOR", "Blue", 1), 0);
    ck_assert_int_eq(setenv("T_NAMES", " a,b , ,c", 1), 0);
    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, "{text: x, on: false, count: 1, names: [z], range: 1}"), &t);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_str_eq(t.text, "from ${outside}");
    ck_assert(t.is_on);
    ck_assert_int_eq(t.count, 9);
    ck_assert_int_eq(t.color, BLUE);
    ck_assert_str_eq(t.names[0], "a");
    ck_assert_str_eq(t.names[2], "c");
    ck_assert_ptr_null(t.names[3]);
    yaml_release(table, &t);
}
END_TEST

START_TEST(names_the_variable_that_is_wrong)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    ck_assert_int_eq(setenv("T_ON", "maybe", 1), 0);
    ck_assert_int_eq(setenv("T_COUNT_OLD", "many", 1), 0);
    ck_assert_int_eq(setenv("T_NAMES", "a,B", 1), 0);
    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, "range: 1"), &t);
    ck_assert_str_eq(
        buf_get(&y.faults),
        "environment variable T_ON: 'on': must be true or false, not 'maybe'\n"
        "environment variable T_COUNT_OLD: 'count': must be an integer, not 'many'\n"
        "environment variable T_NAMES: 'names': must be lower-case letters, not 'B'\n");
    yaml_release(table, &t);
}
END_TEST

START_TEST(merges_maps_and_replaces_the_rest)
{
    static const char base[] = "text: base\ncount: 1\nnames: [a, b]\npairs: {k: 1, l: 1}\n"
                               "range: 3\npoints: [{x: 1}, {x: 2}]\n";
    static const char over[] = "count: 2\nnames: [c]\npairs: {l: 2, m: 2}\n"
                               "range: {high: 9}\npoints: [{x: 3}]\n";
    CLEANUP(yaml_done) struct yaml y = {0};
    struct thing t = {0};

    yaml_init(&y);
    yaml_bind(&y, table, yaml_merge(&y, table, parse(&y, base), parse(&y, over)), &t);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_str_eq(t.text, "base");
    ck_assert_int_eq(t.count, 2);
    ck_assert_str_eq(t.names[0], "c");
    ck_assert_ptr_null(t.names[1]);
    ck_assert_str_eq(t.pairs[0].value, "1");
    ck_assert_str_eq(t.pairs[1].name, "l");
    ck_assert_str_eq(t.pairs[1].value, "2");
    ck_assert_str_eq(t.pairs[2].name, "m");
    ck_assert_int_eq(t.low, 3);
    ck_assert_int_eq(t.high, 9);
    ck_assert_uint_eq(t.points_n, 1);
    ck_assert_int_eq(t.points[0].x, 3);
    yaml_release(table, &t);
}
END_TEST

START_TEST(lets_a_short_form_replace_a_map)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct yaml_node *base, *over;
    struct thing t = {0};

    yaml_init(&y);
    base = parse(&y, "range: {low: 1, high: 2}\nunknown: 1");
    over = parse(&y, "range: 5\nunknown: {a: 1}");
    yaml_bind(&y, table, yaml_merge(&y, table, base, over), &t);
    ck_assert_str_eq(buf_get(&y.faults), "t:2:1: 'unknown': is not a key here\n");
    ck_assert_int_eq(t.low, 5);
    ck_assert_int_eq(t.high, 0);
    yaml_release(table, &t);
}
END_TEST

START_TEST(prints_what_binds_to_the_same_again)
{
    static const char text[] =
        "text: \"tab\\t quote\\\" back\\\\ dollar$$ del\\x7f nel\\u0085 ls\\u2028 bom\\uFEFF "
        "\\U0001F600 \xc3\xa4\"\n"
        "on: true\nratio: 0.1\ntime: 59s\ncolor: green\nnames: [a]\npairs: {k: \"~\", l: \"\"}\n"
        "range: {low: 1}\npoints: [{x: 1, name: \"-x, y: {\", tags: [null_, \"null\"]}]\n"
        "custom: even\n";
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(buf_done) struct buf first = {.max = 65536}, second = {.max = 65536};
    struct thing t = {0}, u = {0};

    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, text), &t);
    yaml_print(&first, table, &t, false);
    yaml_bind(&y, table, parse(&y, buf_get(&first)), &u);
    ck_assert_str_eq(buf_get(&y.faults), "");
    yaml_print(&second, table, &u, false);
    ck_assert_str_eq(buf_get(&first), buf_get(&second));
    ck_assert_str_eq(t.text, u.text);
    ck_assert_str_eq(u.text, "tab\t quote\" back\\ dollar$ del\x7f nel\xc2\x85 ls\xe2\x80\xa8 "
                             "bom\xef\xbb\xbf \xf0\x9f\x98\x80 \xc3\xa4");
    ck_assert_str_eq(u.points[0].name, "-x, y: {");
    ck_assert_str_eq(u.points[0].tags[0], "null_");
    yaml_release(table, &t);
    yaml_release(table, &u);
}
END_TEST

START_TEST(prints_one_key_a_line_with_its_meaning_above)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(buf_done) struct buf b = {.max = 65536};
    struct thing t = {0};

    yaml_init(&y);
    yaml_bind(&y, table, parse(&y, "{range: 1, points: [{x: 2}], ratio: 2}"), &t);
    yaml_print(&b, table, &t, true);
    ck_assert_str_eq(buf_get(&b), "# any text\n"
                                  "text: \"a b\"\n"
                                  "on: false\n"
                                  "count: 7\n"
                                  "ratio: 2\n"
                                  "size: 16KiB\n"
                                  "part: 0\n"
                                  "time: 0s\n"
                                  "color: red\n"
                                  "names: []\n"
                                  "pairs: {}\n"
                                  "range:\n"
                                  "  low: 1\n"
                                  "  # the upper end\n"
                                  "  high: 0\n"
                                  "points:\n"
                                  "  - {name: nobody, x: 2, tags: []}\n"
                                  "custom: odd\n");
    yaml_release(table, &t);
    buf_clear(&b);
    yaml_bind(&y, table, parse(&y, "range: 1"), &t);
    yaml_print(&b, table, &t, false);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\npoints: []\n"));
    yaml_release(table, &t);
    buf_clear(&b);
    yaml_print_text(&b, "half \xc3 and \xff");
    ck_assert_str_eq(buf_get(&b), "\"half \\uFFFD and \\uFFFD\"");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, binds_every_type);
    tcase_add_test(t, fills_what_is_not_written);
    tcase_add_loop_test(t, refuses_with_place_key_and_reason, 0, ARRAY_LEN(bad));
    tcase_add_test(t, tells_all_faults_of_a_file);
    tcase_add_test(t, lets_the_environment_override_the_file);
    tcase_add_test(t, names_the_variable_that_is_wrong);
    tcase_add_test(t, merges_maps_and_replaces_the_rest);
    tcase_add_test(t, lets_a_short_form_replace_a_map);
    tcase_add_test(t, prints_what_binds_to_the_same_again);
    tcase_add_test(t, prints_one_key_a_line_with_its_meaning_above);
}

UNIT_MAIN("yaml_bind", add_tests)
