#include "policy/validation.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/yaml_bind.h"
#include "policy/policy.h"
#include "policy/policy_table.h"
#include "unit.h"

/* A policy of which only these keys were written. Faults about missing ones do not matter here. */
struct given {
    struct yaml y;
    struct policy policy;
};

static void bind(struct given *g, const char *text)
{
    *g = (struct given){0};
    yaml_init(&g->y);
    yaml_bind(&g->y, policy_table, yaml_parse(&g->y, "p.yaml", text, strlen(text)), &g->policy);
}

static void release(struct given *g)
{
    yaml_release(policy_table, &g->policy);
    yaml_done(&g->y);
}

static cJSON *parsed(const struct policy *p)
{
    auto_free char *text = validation_text(p);
    cJSON *json = text ? cJSON_Parse(text) : NULL;

    ck_assert_msg(!text || json, "no JSON: %s", text);
    return json;
}

/* ---- which modules ---- */

static const struct {
    const char *imports, *module;
    bool is_permitted;
} imports[] = {
    {"{}",                                       "os",             true },
    {"{allow: [json]}",                          "json",           true },
    {"{allow: [json]}",                          "json.decoder",   true },
    {"{allow: [json]}",                          "jsonx",          false},
    {"{allow: [json.decoder]}",                  "json",           false},
    {"{block: [os]}",                            "os",             false},
    {"{block: [os]}",                            "os.path",        false},
    {"{block: [os]}",                            "ossaudiodev",    true },
    {"{block: [os.path]}",                       "os",             true },
    {"{allow: [urllib.parse], block: [urllib]}", "urllib.parse",   true },
    {"{allow: [urllib.parse], block: [urllib]}", "urllib.request", false},
    {"{allow: [urllib.parse], block: [urllib]}", "urllib",         false},
    {"{allow: [urllib.parse], block: [urllib]}", "json",           false},
    {"{allow: ['*', os.path], block: [os]}",     "os.path",        true },
    {"{allow: ['*', os.path], block: [os]}",     "os",             false},
    {"{allow: ['*', os.path], block: [os]}",     "json",           true },
    {"{allow: [os], block: [os]}",               "os",             false},
};

START_TEST(the_longest_name_that_fits_decides_about_an_import)
{
    for (size_t i = 0; i < ARRAY_LEN(imports); i++) {
        auto_free char *text = xasprintf("imports: %s\n", imports[i].imports);
        CLEANUP(release) struct given g = {0};

        bind(&g, text);
        ck_assert_msg(validation_permits(&g.policy, imports[i].module) == imports[i].is_permitted,
                      "%s of %s", imports[i].module, imports[i].imports);
    }
}
END_TEST

/* ---- the text ---- */

static const char *const ruled[] = {
    "imports: {allow: [json]}",       "imports: {block: [os]}",
    "validation: {bytes: 1}",         "validation: {characters: 1}",
    "validation: {nodes: 1}",         "validation: {depth: 1}",
    "validation: {empty: false}",     "validation: {unparsed: false}",
    "validation: {relative: false}",  "validation: {dynamic: false}",
    "validation: {names: [eval]}",    "validation: {attributes: [__class__]}",
    "validation: {calls: [os.exec]}",
};

START_TEST(a_policy_without_rules_checks_nothing)
{
    static const char *const unruled[] = {"{}", "validation: {}", "validation: {relative: true}",
                                          "validation: {messages: {empty: x}}"};

    for (size_t i = 0; i < ARRAY_LEN(unruled); i++) {
        CLEANUP(release) struct given g = {0};

        bind(&g, unruled[i]);
        ck_assert_ptr_null(validation_text(&g.policy));
    }
}
END_TEST

START_TEST(every_rule_turns_validation_on)
{
    for (size_t i = 0; i < ARRAY_LEN(ruled); i++) {
        CLEANUP(release) struct given g = {0};
        CLEANUP(cJSON_Delete_p) cJSON *json = NULL;

        bind(&g, ruled[i]);
        json = parsed(&g.policy);
        ck_assert_msg(json, "%s", ruled[i]);
    }
}
END_TEST

static const cJSON *at(const cJSON *json, const char *outer, const char *inner)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, outer);

    return inner ? cJSON_GetObjectItemCaseSensitive(item, inner) : item;
}

static void check_list(const cJSON *list, const char *const *wanted, int n)
{
    ck_assert_int_eq(cJSON_GetArraySize(list), n);
    for (int i = 0; i < n; i++)
        ck_assert_str_eq(cJSON_GetArrayItem(list, i)->valuestring, wanted[i]);
}

START_TEST(the_text_holds_every_rule)
{
    static const char text[] =
        "imports: {allow: ['*', os.path], block: [os]}\n"
        "validation:\n"
        "  bytes: 10KiB\n"
        "  depth: 7\n"
        "  relative: false\n"
        "  calls: [eval, 'open(write outside)', '*.eval']\n"
        "  messages: {from: 'Import from ''{x}'' \"é\\s+\" is not allowed'}\n";
    CLEANUP(release) struct given g = {0};
    CLEANUP(cJSON_Delete_p) cJSON *json = NULL;

    bind(&g, text);
    json = parsed(&g.policy);
    ck_assert_int_eq(at(json, "bytes", NULL)->valueint, 10240);
    ck_assert_int_eq(at(json, "nodes", NULL)->valueint, 0);
    ck_assert_int_eq(at(json, "depth", NULL)->valueint, 7);
    ck_assert(cJSON_IsFalse(at(json, "relative", NULL)));
    ck_assert(cJSON_IsTrue(at(json, "dynamic", NULL)));
    ck_assert(cJSON_IsTrue(at(json, "unparsed", NULL)));
    check_list(at(json, "imports", "allow"), (const char *[]){"*", "os.path"}, 2);
    check_list(at(json, "imports", "block"), (const char *[]){"os"}, 1);
    check_list(at(json, "names", NULL), NULL, 0);
    check_list(at(json, "calls", NULL), (const char *[]){"eval", "open(write outside)", "*.eval"},
               3);
    ck_assert_str_eq(at(json, "messages", "from")->valuestring,
                     "Import from '{x}' \"é\\s+\" is not allowed");
    ck_assert_str_eq(at(json, "messages", "import")->valuestring,
                     "Import of '{x}' is not permitted");
}
END_TEST

/* ---- the shipped policies ---- */

static void check_executor(const struct policy *p)
{
    CLEANUP(cJSON_Delete_p) cJSON *json = NULL;

    ck_assert_ptr_nonnull(p->validation);
    json = cJSON_Parse(p->validation);
    ck_assert_int_eq(at(json, "bytes", NULL)->valueint, 10000);
    ck_assert_int_eq(at(json, "nodes", NULL)->valueint, 5000);
    ck_assert_int_eq(cJSON_GetArraySize(at(json, "imports", "allow")), 17);
    ck_assert_int_eq(cJSON_GetArraySize(at(json, "names", NULL)), 23);
    ck_assert_int_eq(cJSON_GetArraySize(at(json, "attributes", NULL)), 10);
}

START_TEST(of_the_shipped_policies_only_the_executor_refuses_anything)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    struct err e = {0};

    ck_assert_msg(policy_set_load("policies", &set, &e) == 0, "%s", e.msg);
    for (size_t i = 0; i < set.n; i++) {
        if (strcmp(set.list[i].name, "executor") == 0)
            check_executor(&set.list[i]);
        else
            ck_assert_msg(!set.list[i].validation, "%s", set.list[i].name);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, the_longest_name_that_fits_decides_about_an_import);
    tcase_add_test(t, a_policy_without_rules_checks_nothing);
    tcase_add_test(t, every_rule_turns_validation_on);
    tcase_add_test(t, the_text_holds_every_rule);
    tcase_add_test(t, of_the_shipped_policies_only_the_executor_refuses_anything);
}

UNIT_MAIN_ONE_PROCESS("validation", add_tests)
