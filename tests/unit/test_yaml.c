#include "base/yaml.h"

#include <string.h>

#include "base/mem.h"
#include "unit.h"

static struct yaml_node *parse(struct yaml *y, const char *text)
{
    return yaml_parse(y, "t", text, strlen(text));
}

START_TEST(keeps_what_was_written_and_where)
{
    static const char text[] = "# head\n"
                               "a: 1\n"
                               "b:\n"
                               "  c: [x, \"y\", 'z']\n"
                               "  d: {e: ~, f: null, g: \"null\", h: }\n"
                               "\xc3\xa4: |\n"
                               "  two\n"
                               "  lines\n";
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct yaml_node *root, *c, *d;

    yaml_init(&y);
    root = parse(&y, text);
    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(root->n, 3);
    ck_assert_str_eq(yaml_get(root, "a")->text, "1");
    ck_assert_int_eq(yaml_get(root, "a")->line, 2);
    ck_assert_int_eq(yaml_get(root, "a")->column, 4);
    ck_assert_str_eq(root->keys[1]->text, "b");
    ck_assert_int_eq(root->keys[1]->line, 3);
    c = yaml_find(root, "b.c");
    ck_assert_int_eq(c->kind, YAML_LIST);
    ck_assert_uint_eq(c->n, 3);
    ck_assert(c->items[0]->is_plain && !c->items[1]->is_plain && !c->items[2]->is_plain);
    d = yaml_find(root, "b.d");
    ck_assert(yaml_get(d, "e")->is_null && yaml_get(d, "f")->is_null && yaml_get(d, "h")->is_null);
    ck_assert(!yaml_get(d, "g")->is_null);
    ck_assert_str_eq(yaml_get(root, "\xc3\xa4")->text, "two\nlines\n");
    ck_assert_str_eq(root->file, "t");
    ck_assert_uint_eq(y.faults_n, 0);
    ck_assert_int_gt(y.ram, 0);
}
END_TEST

START_TEST(finds_the_nearest_place)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct yaml_node *root;
    char longer[2 * YAML_PATH_MAX];

    yaml_init(&y);
    root = parse(&y, "a:\n  b: {c: 1}\n");
    ck_assert_ptr_null(yaml_find(root, "a.b.x"));
    ck_assert_ptr_null(yaml_find(root, "x.y"));
    ck_assert_ptr_null(yaml_find(root, "a.b.c.d"));
    ck_assert_ptr_null(yaml_get(NULL, "a"));
    ck_assert_ptr_eq(yaml_near(root, "a.b.x.y"), yaml_find(root, "a.b"));
    ck_assert_ptr_eq(yaml_near(root, "x"), root);
    ck_assert_ptr_eq(yaml_near(root, "a.b.c"), yaml_find(root, "a.b.c"));
    memset(longer, 'k', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_ptr_null(yaml_find(root, longer));
}
END_TEST

START_TEST(takes_an_empty_file_for_an_empty_map)
{
    static const char *const empty[] = {"", "\n", "# only words\n", "\xef\xbb\xbf"};
    CLEANUP(yaml_done) struct yaml y = {0};

    yaml_init(&y);
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        const struct yaml_node *root = parse(&y, empty[i]);

        ck_assert_ptr_nonnull(root);
        ck_assert_int_eq(root->kind, YAML_MAP);
        ck_assert_uint_eq(root->n, 0);
    }
}
END_TEST

/* clang-format off */
/* What is said of each, to the letter: people and editors jump to line and column. */
static const struct {
    const char *text, *fault;
} broken[] = {
    {"a: 1\n\tb: 2",
     "t:2:1: found a tab character that violates indentation while scanning a plain scalar "
     "(indent with spaces, not tabs)"},
    {"a:\n\tb: 2",
     "t:2:1: found character that cannot start any token while scanning for the next token "
     "(indent with spaces, not tabs)"},
    {"a:\n  b: 1\n c: 2", "t:3:2: did not find expected key while parsing a block mapping"},
    {"a: 1\n  b: 2", "t:2:4: mapping values are not allowed in this context"},
    {"a: b: c", "t:1:5: mapping values are not allowed in this context"},
    {"a\nb: 1", "t:2:2: mapping values are not allowed in this context"},
    {"a: [1, 2\nb: 3", "t:2:2: did not find expected ',' or ']' while parsing a flow sequence"},
    {"a: {b: 1", "t:2:1: did not find expected ',' or '}' while parsing a flow mapping"},
    {"a: \"x", "t:1:6: found unexpected end of stream while scanning a quoted scalar"},
    {"a: \"\\q\"", "t:1:5: found unknown escape character while parsing a quoted scalar"},
    {"a: @x",
     "t:1:4: found character that cannot start any token while scanning for the next token"},
    {"a: - b", "t:1:4: block sequence entries are not allowed in this context"},
    {"a: \xff", "t:1:4: invalid leading UTF-8 octet"},
    {"a: x\nb: \"\xc3\"", "t:2:6: invalid trailing UTF-8 octet"},
    {"a: x\nb: y\x01", "t:2:5: control characters are not allowed"},
    {"\xff\xfe\x61", "t:1:1: invalid leading UTF-8 octet"},
    {"a: &x 1", "t:1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"a: [&x b, *x]", "t:1:5: 'a': anchors, aliases, tags and directives are not used here"},
    {"a: {b: *x}", "t:1:8: 'a.b': anchors, aliases, tags and directives are not used here"},
    {"a: &x {b: 1}", "t:1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"a: !!int 1", "t:1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"a: ! 1", "t:1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"a: !x [1]", "t:1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"%YAML 1.1\n---\na: 1", "t:1:1: anchors, aliases, tags and directives are not used here"},
    {"%TAG ! !x\n---\na: 1", "t:1:1: anchors, aliases, tags and directives are not used here"},
    {"a: 1\n---\nb: 2", "t:2:1: a second document begins here; a file holds one"},
    {"a: 1\n...\nb: 2", "t:3:1: did not find expected <document start>"},
    {"- 1", "t:1:1: the file must be a map of keys and values"},
    {"word", "t:1:1: the file must be a map of keys and values"},
    {"---\n", "t:2:1: the file must be a map of keys and values"},
    {"a: 1\nb: 2\na: 3", "t:3:1: 'a': stands here twice"},
    {"a:\n  b: 1\n  \"b\": 2", "t:3:3: 'a.b': stands here twice"},
    {"? [x]\n: 1", "t:1:3: a key must be a word"},
    {"~: 1", "t:1:1: a key must be a word"},
    {"a: {null: 1}", "t:1:5: 'a': a key must be a word"},
    {"a: \"x\\0y\"", "t:1:4: 'a': a NUL character cannot stand in a text"},
    {"a: ${NO_SUCH_VARIABLE}",
     "t:1:4: 'a': environment variable 'NO_SUCH_VARIABLE' is not set (${NO_SUCH_VARIABLE:-} "
     "would allow that)"},
    {"a: [x, $HOME]", "t:1:8: 'a': '$' must be ${NAME}, ${NAME:-default} or, for a dollar, $$"},
    {"a: x$", "t:1:4: 'a': '$' must be ${NAME}, ${NAME:-default} or, for a dollar, $$"},
    {"a: ${X", "t:1:4: 'a': '$' must be ${NAME}, ${NAME:-default} or, for a dollar, $$"},
    {"a: ${}", "t:1:4: 'a': '${}' must be ${NAME} or ${NAME:-default}"},
    {"a: ${1A}", "t:1:4: 'a': '${1A}' must be ${NAME} or ${NAME:-default}"},
    {"a: ${A-b}", "t:1:4: 'a': '${A-b}' must be ${NAME} or ${NAME:-default}"},
    {"a: ${A b:-c}", "t:1:4: 'a': '${A b:-c}' must be ${NAME} or ${NAME:-default}"},
    {"a: ${BAD_BYTES}", "t:1:4: 'a': environment variable 'BAD_BYTES' is not UTF-8"},
};
/* clang-format on */

START_TEST(says_what_is_wrong_and_where)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *line = xasprintf("%s\n", broken[_i].fault);
    struct err e = {0};

    ck_assert_int_eq(setenv("BAD_BYTES", "x\xff", 1), 0);
    yaml_init(&y);
    ck_assert_ptr_null(parse(&y, broken[_i].text));
    ck_assert_str_eq(buf_get(&y.faults), line);
    ck_assert_int_eq(yaml_result(&y, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_str_eq(e.msg, broken[_i].fault);
}
END_TEST

/* clang-format off */
static const struct {
    const char *text, *value;
} expanded[] = {
    {"${SET}", "value"},
    {"a${SET}b${SET}", "avaluebvalue"},
    {"${SET:-other}", "value"},
    {"${EMPTY:-other}", "other"},
    {"${EMPTY}", ""},
    {"${UNSET:-}", ""},
    {"${UNSET:-a b:-c}", "a b:-c"},
    {"${UNSET:-120}", "120"},
    {"\"${UNSET:-$x}\"", "$x"},
    {"$$", "$"},
    {"$${SET}", "${SET}"},
    {"'$$$$'", "$$"},
    {"\"${DOLLAR}\"", "${SET}"},
};
/* clang-format on */

START_TEST(expands_variables_once)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *text = xasprintf("k: %s\n", expanded[_i].text);
    const struct yaml_node *node;

    ck_assert_int_eq(setenv("SET", "value", 1), 0);
    ck_assert_int_eq(setenv("EMPTY", "", 1), 0);
    ck_assert_int_eq(setenv("DOLLAR", "${SET}", 1), 0);
    ck_assert_int_eq(unsetenv("UNSET"), 0);
    yaml_init(&y);
    node = yaml_get(parse(&y, text), "k");
    ck_assert_msg(node, "%s", buf_get(&y.faults));
    ck_assert_str_eq(node->text, expanded[_i].value);
    ck_assert(!node->is_null);
}
END_TEST

static const char *secret(void *ctx, const char *name)
{
    return strcmp(name, "TOKEN 1") == 0 ? ctx : NULL;
}

START_TEST(expands_secrets_where_there_are_some)
{
    static char token[] = "a${b}$c";
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct yaml_node *root;

    yaml_init(&y);
    ck_assert_ptr_null(parse(&y, "a: ${secret:TOKEN 1}"));
    y.secret = secret;
    y.ctx = token;
    root = parse(&y, "a: Bearer ${secret:TOKEN 1}!");
    ck_assert_str_eq(yaml_get(root, "a")->text, "Bearer a${b}$c!");
    ck_assert_ptr_null(parse(&y, "a: ${secret:OTHER}"));
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "'a': there is no secret 'OTHER'"));
}
END_TEST

START_TEST(counts_expanded_quotes_as_plain_and_leaves_keys_alone)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct yaml_node *root;

    yaml_init(&y);
    root = parse(&y, "a: [\"${UNSET:-1}\", \"$$\"]\n\"${X}\": 1\n");
    ck_assert_ptr_nonnull(root);
    ck_assert(yaml_get(root, "a")->items[0]->is_plain);
    ck_assert(!yaml_get(root, "a")->items[1]->is_plain);
    ck_assert_ptr_nonnull(yaml_get(root, "${X}"));
}
END_TEST

static void check_only_fault(struct yaml *y, const char *text, const char *mention)
{
    ck_assert_ptr_null(parse(y, text));
    ck_assert_uint_eq(y->faults_n, 1);
    ck_assert_msg(strstr(buf_get(&y->faults), mention), "%s", buf_get(&y->faults));
}

START_TEST(stops_at_sixteen_levels)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    static const char good[] = "a: [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]";
    static const char bad[] = "a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]";

    yaml_init(&y);
    ck_assert_ptr_nonnull(parse(&y, good));
    check_only_fault(&y, bad, "t:1:19: 'a': nested deeper than 16");
}
END_TEST

START_TEST(stops_at_ten_thousand_values)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(buf_done) struct buf b = {.max = YAML_FILE_MAX};

    yaml_init(&y);
    (void)buf_str(&b, "a: [");
    for (int i = 0; i < YAML_NODES_MAX - 3; i++)
        (void)buf_str(&b, "1,");
    ck_assert_int_eq(buf_str(&b, "]"), 0);
    ck_assert_ptr_nonnull(parse(&y, buf_get(&b)));
    b.len--;
    ck_assert_int_eq(buf_str(&b, "1]"), 0);
    check_only_fault(&y, buf_get(&b), "'a': the file has over 10000 values");
    buf_clear(&b);
    (void)buf_str(&b, "a: [");
    for (int i = 0; i < YAML_NODES_MAX; i++)
        (void)buf_str(&b, "[],");
    ck_assert_int_eq(buf_str(&b, "]"), 0);
    y.faults_n = 0;
    check_only_fault(&y, buf_get(&b), "over 10000 values");
}
END_TEST

START_TEST(stops_at_a_thousand_keys_of_a_map)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(buf_done) struct buf b = {.max = YAML_FILE_MAX};

    yaml_init(&y);
    for (int i = 0; i < 1000; i++)
        (void)buf_fmt(&b, "k%d: 1\n", i);
    ck_assert_ptr_nonnull(parse(&y, buf_get(&b)));
    ck_assert_int_eq(buf_str(&b, "last: 1\n"), 0);
    check_only_fault(&y, buf_get(&b), "t:1001:1: 'last': is one key more than the 1000 of a map");
}
END_TEST

START_TEST(stops_at_long_texts_even_if_a_variable_makes_them_long)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *text = xcalloc(1, YAML_TEXT_MAX + 8);

    yaml_init(&y);
    memcpy(text, "a: ", 3);
    memset(text + 3, 'x', YAML_TEXT_MAX);
    ck_assert_ptr_nonnull(parse(&y, text));
    ck_assert_int_eq(setenv("LONG", text + 3, 1), 0);
    text[YAML_TEXT_MAX + 3] = 'x';
    check_only_fault(&y, text, "t:1:4: 'a': the text is over 65536 bytes");
    y.faults_n = 0;
    check_only_fault(&y, "b: ${LONG}x", "t:1:4: 'b': the text is over 65536 bytes");
    y.faults_n = 0;
    check_only_fault(&y, "c: ${LONG}$$", "t:1:4: 'c': the text is over 65536 bytes");
}
END_TEST

START_TEST(reads_files_up_to_a_mebibyte)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    char path[] = "/tmp/test_yaml.XXXXXX";
    auto_fd int fd = mkstemp(path);
    auto_free char *fill = xcalloc(1, YAML_FILE_MAX);
    auto_free char *fault = xasprintf("'%s' is over 1048576 bytes\n", path);

    yaml_init(&y);
    memset(fill, '#', YAML_FILE_MAX);
    ck_assert_int_eq(write(fd, fill, YAML_FILE_MAX), YAML_FILE_MAX);
    ck_assert_ptr_nonnull(yaml_read(&y, path));
    ck_assert_int_eq(write(fd, "#", 1), 1);
    ck_assert_ptr_null(yaml_read(&y, path));
    ck_assert_str_eq(buf_get(&y.faults), fault);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_ptr_null(yaml_read(&y, path));
    ck_assert_msg(strstr(buf_get(&y.faults), "No such file or directory"), "%s",
                  buf_get(&y.faults));
}
END_TEST

START_TEST(tells_a_fault_once_and_makes_it_printable)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct yaml_node *at;

    yaml_init(&y);
    ck_assert_int_eq(yaml_result(&y, NULL), 0);
    at = yaml_scalar(&y, "environment variable X", "v");
    ck_assert_int_eq(yaml_fault(&y, at, "k", "esc \x1b[31m del \x7f half \xc3"), -1);
    ck_assert_int_eq(yaml_fault(&y, at, "k", "esc \x1b[31m del \x7f half \xc3"), -1);
    ck_assert_int_eq(yaml_fault(&y, NULL, "", "nowhere"), -1);
    ck_assert_uint_eq(y.faults_n, 3);
    ck_assert_str_eq(buf_get(&y.faults),
                     "environment variable X: 'k': esc ?[31m del ? half ?\nnowhere\n");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, keeps_what_was_written_and_where);
    tcase_add_test(t, finds_the_nearest_place);
    tcase_add_test(t, takes_an_empty_file_for_an_empty_map);
    tcase_add_loop_test(t, says_what_is_wrong_and_where, 0, ARRAY_LEN(broken));
    tcase_add_loop_test(t, expands_variables_once, 0, ARRAY_LEN(expanded));
    tcase_add_test(t, expands_secrets_where_there_are_some);
    tcase_add_test(t, counts_expanded_quotes_as_plain_and_leaves_keys_alone);
    tcase_add_test(t, stops_at_sixteen_levels);
    tcase_add_test(t, stops_at_ten_thousand_values);
    tcase_add_test(t, stops_at_a_thousand_keys_of_a_map);
    tcase_add_test(t, stops_at_long_texts_even_if_a_variable_makes_them_long);
    tcase_add_test(t, reads_files_up_to_a_mebibyte);
    tcase_add_test(t, tells_a_fault_once_and_makes_it_printable);
}

UNIT_MAIN_ONE_PROCESS("yaml", add_tests)
