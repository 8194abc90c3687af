"""Rules as the front writes them into META, from the policies' YAML."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import yaml
from worker import ending, validate

POLICIES = pathlib.Path(__file__).resolve().parents[2] / "policies"
WORK = "/work"
AWAIT = 0x2000


def load(name: str) -> Any:
    """A policy's file where nothing is set in the environment: ${NAME:-default} is the default."""
    text = (POLICIES / f"{name}.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


def merged(old: Any, new: Any) -> Any:
    if type(old) is not dict or type(new) is not dict:
        return new
    return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}


def meta(keys: dict[str, Any]) -> dict[str, Any]:
    """The META "validation" of a policy that extends default and has these keys."""
    policy = merged(load("default"), keys)
    return {**policy["validation"], "imports": policy["imports"]}


def of_policy(name: str) -> dict[str, Any]:
    return meta(load(name))


def verdict(source: str, rules: dict[str, Any], modules: tuple[str, ...] = ()) -> str:
    """Why it is refused; "" when it is not."""
    try:
        validate.check(source, "<string>", AWAIT, validate.Rules(rules, modules, WORK))
    except ending.Refused as refusal:
        return str(refusal)
    return ""
