"""The fixtures of the tests against running services."""

import importlib.util
import pathlib

import pytest

E2E = pathlib.Path(__file__).resolve().parents[1] / "e2e"
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
homes, make_service, home_process = e2e.homes, e2e.make_service, e2e.home_process


@pytest.fixture(scope="session")
def service(homes, home_process):
    """Runs with the policies as they are shipped; the services of its tools are stand-ins."""
    places = ("DATA_API_URL", "AUTOMATION_API_URL", "DEVICE_API_URL")
    one = e2e.services.Service(homes / "shared", patience_s=60,
                               env=dict.fromkeys(places, home_process.url))
    try:
        yield one.start()
    finally:
        one.remove()
