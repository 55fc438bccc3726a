import json

from pintle.ingress import Object

from policy import Policy


def test_serves_every_ingress():
    ingress = {"metadata": {"namespace": "default", "name": "web"}, "spec": {}}
    table = Policy().compile([Object("Ingress", json.dumps(ingress).encode())])
    assert table.served == ["default/web"]
