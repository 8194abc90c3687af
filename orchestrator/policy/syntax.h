#ifndef POLICY_SYNTAX_H
#define POLICY_SYNTAX_H

#include <stdbool.h>

/* What names in policies and settings must look like. All ASCII. */

bool syntax_image(const char *s);  /* "registry:5000/oneshot/python:1@sha256:…" */
bool syntax_module(const char *s); /* "urllib.parse" */
bool syntax_tool(const char *s);   /* "data.get_devices", "data", "*" */
bool syntax_env(const char *s);    /* "INFLUX_URL"; not ONESHOT_…, which are ours */
bool syntax_name(const char *s);   /* "telemetry": [a-z0-9][a-z0-9_-]*, up to 63 */
bool syntax_word(const char *s);   /* "io.containerd.runsc.v1": [A-Za-z0-9][A-Za-z0-9_.-]*, to 63 */
bool syntax_endpoint(const char *s); /* "host:port", "192.0.2.1:80", "[2001:db8::1]:443" */
bool syntax_address(const char *s);  /* "127.0.0.1", "::1" */

#endif
