"""The fixtures of the tests against running services."""

import importlib.util
import pathlib

E2E = pathlib.Path(__file__).resolve().parents[1] / "e2e"
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
homes, service, make_service = e2e.homes, e2e.service, e2e.make_service
