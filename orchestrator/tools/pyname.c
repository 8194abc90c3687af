#include "tools/pyname.h"

#include <string.h>

#include "base/mem.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
static const char digits[] = "0123456789";

/* Rows end with NULL. */
static const char *const keywords[] = {
    "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
    "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
    "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
    "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield",    NULL,
};

/* clang-format off */
/* Of Python 3.11, the worker has imported some of them: a tool may not stand before it. */
static const char *const taken_modules[] = {
    "abc", "aifc", "antigravity", "argparse", "array", "ast", "asynchat", "asyncio", "asyncore",
    "atexit", "audioop", "base64", "bdb", "binascii", "bisect", "builtins", "bz2", "cProfile",
    "calendar", "cgi", "cgitb", "chunk", "cmath", "cmd", "code", "codecs", "codeop", "collections",
    "colorsys", "compileall", "concurrent", "configparser", "contextlib", "contextvars", "copy",
    "copyreg", "crypt", "csv", "ctypes", "curses", "dataclasses", "datetime", "dbm", "decimal",
    "difflib", "dis", "distutils", "doctest", "email", "encodings", "ensurepip", "enum", "errno",
    "faulthandler", "fcntl", "filecmp", "fileinput", "fnmatch", "fractions", "ftplib", "functools",
    "gc", "genericpath", "getopt", "getpass", "gettext", "glob", "graphlib", "grp", "gzip",
    "hashlib", "heapq", "hmac", "html", "http", "idlelib", "imaplib", "imghdr", "imp", "importlib",
    "inspect", "io", "ipaddress", "itertools", "json", "keyword", "lib2to3", "linecache", "locale",
    "logging", "lzma", "mailbox", "mailcap", "marshal", "math", "mimetypes", "mmap",
    "modulefinder", "multiprocessing", "netrc", "nis", "nntplib", "ntpath", "nturl2path",
    "numbers", "opcode", "operator", "optparse", "os", "ossaudiodev", "pathlib", "pdb", "pickle",
    "pickletools", "pipes", "pkgutil", "platform", "plistlib", "poplib", "posix", "posixpath",
    "pprint", "profile", "pstats", "pty", "pwd", "py_compile", "pyclbr", "pydoc", "pydoc_data",
    "pyexpat", "queue", "quopri", "random", "re", "readline", "reprlib", "resource", "rlcompleter",
    "runpy", "sched", "secrets", "select", "selectors", "shelve", "shlex", "shutil", "signal",
    "site", "sitecustomize", "smtpd", "smtplib", "sndhdr", "socket", "socketserver", "spwd",
    "sqlite3", "sre_compile", "sre_constants", "sre_parse", "ssl", "stat", "statistics", "string",
    "stringprep", "struct", "subprocess", "sunau", "symtable", "sys", "sysconfig", "syslog",
    "tabnanny", "tarfile", "telnetlib", "tempfile", "termios", "textwrap", "this", "threading",
    "time", "timeit", "tkinter", "token", "tokenize", "tomllib", "trace", "traceback",
    "tracemalloc", "tty", "turtle", "types", "typing", "unicodedata", "unittest", "urllib",
    "usercustomize", "uu", "uuid", "venv", "warnings", "wave", "weakref", "webbrowser", "wsgiref",
    "xdrlib", "xml", "xmlrpc", "zipapp", "zipfile", "zipimport", "zlib", "zoneinfo", NULL,
};

/* Of our image, and of the tree that tools are shown in. */
static const char *const taken_packages[] = {
    "IPython", "PIL", "aiohttp", "attr", "attrs", "bitstruct", "can", "cantools", "certifi",
    "charset_normalizer", "cloudpickle", "cycler", "dateutil", "dotenv", "fontTools", "httpx",
    "idna", "influxdb_client", "influxdb_client_3", "jinja2", "joblib", "lxml", "markupsafe",
    "matplotlib", "mpmath", "narwhals", "numpy", "openpyxl", "packaging", "pandas", "parso",
    "pexpect", "plotly", "psutil", "pyarrow", "pygments", "pylab", "pyparsing", "pytz",
    "reactivex", "requests", "scipy", "seaborn", "servers", "six", "sklearn", "slicks", "sympy",
    "tabulate", "threadpoolctl", "tools", "tqdm", "traitlets", "typing_extensions", "tzdata",
    "urllib3", "wrapt", "xlrd", "yaml", "yarl", NULL,
};
/* clang-format on */

static const char *const taken_functions[] = {"sync", "ToolError", NULL};

static bool is_among(const char *const *list, const char *s)
{
    for (; *list; list++) {
        if (strcmp(*list, s) == 0)
            return true;
    }
    return false;
}

static bool is_identifier(const char *s)
{
    size_t n = strlen(s), first = strspn(s, letters);

    if (!first || n > PYNAME_MAX)
        return false;
    while (s[first] && (strchr(digits, s[first]) || strchr(letters, s[first])))
        first++;
    return first == n;
}

bool pyname_is_valid(const char *s)
{
    return is_identifier(s) && !is_among(keywords, s);
}

bool pyname_is_module(const char *s)
{
    return pyname_is_valid(s) && *s != '_' && !is_among(taken_modules, s) &&
           !is_among(taken_packages, s);
}

bool pyname_is_function(const char *s)
{
    return pyname_is_valid(s) && strncmp(s, "__", 2) != 0 && !is_among(taken_functions, s);
}

static char *map_name(const char *name)
{
    char out[PYNAME_MAX + 1];
    size_t n = 0;

    for (; *name && n < PYNAME_MAX - sizeof("_tool"); name++) {
        bool is_digit = strchr(digits, *name);

        if (is_digit && n == 0)
            out[n++] = '_';
        if (is_digit || strchr(letters, *name))
            out[n++] = *name;
        else if (strchr("-./ :", *name))
            out[n++] = '_';
    }
    out[n] = '\0';
    return strspn(out, "_") == n ? NULL : xstrdup(out);
}

char *pyname_function(const char *name)
{
    char *out = map_name(name), *longer;
    size_t under = out ? strspn(out, "_") : 0;

    if (!out || pyname_is_function(out))
        return out;
    /* "__init__" would be something else to Python. */
    longer = xasprintf("%s_tool", under > 1 ? out + under : out);
    free(out);
    return longer;
}

char *pyname_parameter(const char *name)
{
    char *out = map_name(name), *longer;

    if (!out || (pyname_is_valid(out) && strncmp(out, "__", 2) != 0))
        return out;
    longer = xasprintf("%s_", out + (out[0] == '_' && out[1] == '_'));
    free(out);
    return longer;
}
