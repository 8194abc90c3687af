#include "model/extract.h"

#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

/* NULL: there is no code. */
static const struct {
    const char *text, *code;
} rows[] = {
    /* without a fence */
    {"no fence",                                                                   "no fence"                        },
    {"  \n code \n ",                                                              "code"                            },
    {"for i in range(3):\n    print(i)\n",                                         "for i in range(3):\n    print(i)"},
    {"",                                                                           NULL                              },
    {" \n\t\r\n",                                                                  NULL                              },
    {"`inline` and ``two``",                                                       "`inline` and ``two``"            },
    /* one fence */
    {"```python\nprint(1)\n```",                                                   "print(1)"                        },
    {"Here:\n\n```python\nprint(1)\n```\nDone.",                                   "print(1)"                        },
    {"```\nprint(1)\n```",                                                         "print(1)"                        },
    {"```py\nprint(1)\n```",                                                       "print(1)"                        },
    {"```python3\nprint(1)\n```",                                                  "print(1)"                        },
    {"```Python title=\"x\"\nprint(1)\n```",                                       "print(1)"                        },
    {"```{python}\nprint(1)\n```",                                                 "print(1)"                        },
    {"```python\r\nprint(1)\r\n```\r\n",                                           "print(1)"                        },
    {"~~~ is no fence\n```python\nx\n```",                                         "x"                               },
    {"~~~python\nx\n~~~\n",                                                        "x"                               },
    {"So:\n~~~python\nx ~~~ y\n~~~\nDone.",                                        "x ~~~ y"                         },
    {" ~~~~ py\n x\n~~~\n ~~~~\n",                                                 " x\n~~~"                         },
    {"'''Title\n~~~~~\n'''\nx",                                                    "'''Title\n~~~~~\n'''\nx"         },
    {"x = ~~~y",                                                                   "x = ~~~y"                        },
    {"~~~python\n~~~",                                                             NULL                              },
    /* without an end */
    {"```python\nprint(1)",                                                        "print(1)"                        },
    {"```python\nprint(1)\n",                                                      "print(1)"                        },
    {"```python\nprint(1)```",                                                     "print(1)"                        },
    {"```python\n",                                                                NULL                              },
    {"```python",                                                                  NULL                              },
    {"```",                                                                        NULL                              },
    /* in one line: the label's line has no code in it (seed0: gen_extract_03) */
    {"x ```python A``` y",                                                         NULL                              },
    {"x ```print(1)``` y",                                                         "print(1)"                        },
    /* blank ones do not count (seed0: gen_extract_06, _07) */
    {"```python\n```",                                                             NULL                              },
    {"```python\n \n```",                                                          NULL                              },
    {"``` ```\n```python\nZ\n```",                                                 "Z"                               },
    {"```python\n```\n```\nx\n```",                                                "x"                               },
    /* several: python first, else the first */
    {"```sh\npip\n```\n```python\nx\n```",                                         "x"                               },
    {"```\na\n```\n```py\nb\n```\n```python\nc\n```",                              "b"                               },
    {"```json\n1\n```\n```\n2\n```",                                               "1"                               },
    {"```pythonic\na\n```\n```\nb\n```",                                           "a"                               },
    /* a block within a text that is fenced itself */
    {"````markdown\nSo:\n```python\nx\n```\nDone.\n````",                          "x"                               },
    {"```markdown\n# So\n```python\nx\n```\nDone.\n```",                           "x"                               },
    {"~~~~md\n~~~python\nx\n~~~\n~~~~",                                            "x"                               },
    {"````\n```sh\npip\n```\n```py\nx\n```\n````",                                 "x"                               },
    {"````md\n```python\n```\n```python\nx\n```\n````",                            "x"                               },
    {"````md\n```python\n```\n````\n```python\ny\n```",                            "y"                               },
    {"````md\n```sh\npip\n```\n````\n```python\ny\n```",                           "y"                               },
    {"```text\nuse ```python\n```\n```\ny\n```",                                   "use ```python"                   },
    {"````python\ns = '''\n```python\nx\n```\n'''\n````",                          "s = '''\n```python\nx\n```\n'''" },
    /* fences in the program */
    {"```python\ns = '''\na ``` b\n'''\nprint(s)\n```\n",                          "s = '''\na ``` b\n'''\nprint(s)" },
    {"````python\ns = '''\n```\n'''\n````",                                        "s = '''\n```\n'''"               },
    {"```python\nprint('```')\n```",                                               "print('```')"                    },
    {"```python\ndef f():\n    '''\n    ```\n    x\n    ```\n    '''\n```\nDone.",
     "def f():\n    '''\n    ```\n    x\n    ```\n    '''"                                                           },
    {"```python\ndef f():\n\t'''\n\t```\n\t'''\n```",                              "def f():\n\t'''\n\t```\n\t'''"   },
    {"- So:\n\n    ```python\n    x\n    ```\n    y",                              "x"                               },
    {"10. ```python\n    x\n    ```\n",                                            "x"                               },
    {"```python\nx\n     ```\n",                                                   "x"                               },
    /* the indent of a list's item is not the program's */
    {"1. So:\n   ```python\n   if x:\n       y\n\n   z\n   ```",                   "if x:\n    y\n\nz"               },
    {"```python\n\n\n    a\n  b\n```",                                             "  a\nb"                          },
    {"```python\n\tif x:\n\t\ty\n```",                                             "if x:\n\ty"                      },
    {"```python\n# °C\n```",                                                       "# °C"                            },
};

START_TEST(finds_the_program)
{
    auto_free char *code = extract_code(rows[_i].text, strlen(rows[_i].text));

    if (rows[_i].code)
        ck_assert_pstr_eq(code, rows[_i].code);
    else
        ck_assert_ptr_null(code);
}
END_TEST

/* A hundred thousand fences, and each looks for its end. */
static const char *const many[] = {
    "```a\n",
    "```a ",
    "````a\n```b\n",
    "   ````a\n  ```b\n````` x",
    "~~~a\n",
    "~~~py\n~~~ x\n",
    "`",
    "``` `` ",
    "```\na",
    "```a\n```py\n",
    "````\n```python\n```\n",
    "````\n```py ",
};

START_TEST(time_grows_with_the_text_alone)
{
    const size_t length = unit_measures() ? 1 << 20 : 1 << 15;
    auto_free char *text = malloc(length), *code = NULL;
    size_t n = strlen(many[_i]);
    int64_t began = unit_cpu_ms();

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < length; i++)
        text[i] = many[_i][i % n];
    code = extract_code(text, length);
    ck_assert_int_lt(unit_cpu_ms() - began, patient(3000));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, finds_the_program, 0, ARRAY_LEN(rows));
    tcase_add_loop_test(t, time_grows_with_the_text_alone, 0, ARRAY_LEN(many));
}

UNIT_MAIN("extract", add_tests)
