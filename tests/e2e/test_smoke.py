def test_every_port_runs_a_program(service):
    reply = service.aiq("print(6 * 7)")
    assert reply.status == 200
    assert reply.json == {"process_status": "completed", "stdout": "42\n", "stderr": ""}
    assert service.telemetry("print(6 * 7)").json["std_out"] == "42\n"
    assert service.native("print(6 * 7)").json["stdout"] == "42\n"
