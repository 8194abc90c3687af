#ifndef POLICY_POLICY_CHECK_H
#define POLICY_POLICY_CHECK_H

struct policy;
struct yaml;
struct yaml_node;

/*
 * What no single key can tell: fills members that follow from others, then notes everything that
 * does not fit together as faults of `y`, at the places where it stands in `root`. Call it for a
 * policy that was bound without faults.
 */
void policy_check(struct yaml *y, const struct yaml_node *root, struct policy *p);

#endif
