#!/usr/bin/env python3
"""The life of a credential through a gRPC client that knows nothing of strongroom but its address and a token: services,
messages and fields come from the server's reflection. Reads STRONGROOM_ADDR and STRONGROOM_TOKEN.
"""

import hashlib
import os
import sys
import threading
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CREDENTIALS, ADMIN, HEALTH = "strongroom.v1.CredentialService", "strongroom.v1.AdminService", "grpc.health.v1.Health"


class Server:
    """Every method of every service, by name."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address.removeprefix("http://"))
        self.reflected = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflected)

    def services(self):
        return set(self.reflected.get_services())

    def call(self, service, method, token=None, /, **fields):
        described = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)
        reply = message_factory.GetMessageClass(described.output_type)
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        rpc = kind(f"/{service}/{method}", request.SerializeToString, reply.FromString)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        return rpc(request(**fields), metadata=metadata, timeout=20)


server = Server(os.environ["STRONGROOM_ADDR"])
admin_token = os.environ["STRONGROOM_TOKEN"]


def credentials(method, token=admin_token, /, **fields):
    return server.call(CREDENTIALS, method, token, **fields)


def admin(method, token=admin_token, /, **fields):
    return server.call(ADMIN, method, token, **fields)


def refused(code, reason, call):
    """Calls, and gives the ErrorInfo of the refusal, which must be this one."""
    try:
        call()
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(details)
        assert error.code() == code and status.code == code.value[0], (error.code(), status)
        infos = [error_details_pb2.ErrorInfo() for _ in status.details]
        info = next(info for info, part in zip(infos, status.details, strict=True) if part.Unpack(info))
        assert (info.reason, info.domain) == (reason, "strongroom"), info
        assert info.metadata["request_id"], info
        return info, status
    raise AssertionError(f"{reason} was expected, and it was answered")


def invented_key():
    """Of OpenAI's shape; nobody has issued it."""
    half = (uuid.uuid4().hex + uuid.uuid4().hex)[:58]
    return f"sk-proj-{half}T3BlbkFJ{half}".encode()


def openai(name="default", **more):
    return {"org": "acme", "provider": "openai", "name": name, **more}


def upload(key):
    return {"fields": {"api_key": {"value": key}}, "no_probe": True}


def the_services_are_described_and_healthy():
    assert {CREDENTIALS, ADMIN, HEALTH} <= server.services(), server.services()
    for service in ("", CREDENTIALS, ADMIN):
        status = server.call(HEALTH, "Check", service=service)
        assert type(status).ServingStatus.Name(status.status) == "SERVING", status


def issue(role, **more):
    reply = admin("IssueToken", name=f"a-{role}", role=role, org="acme", **more)
    return reply.token.value.decode(), reply.info


def the_whole_life():
    first, second = invented_key(), invented_key()
    pipeline, pipeline_info = issue("pipeline", providers=["openai"])

    done = credentials("SetupCredential", **openai(**upload(first)), labels={"team": "search"})
    assert (done.credential.state, done.version.version) == ("active", 1), done
    assert (done.probe.outcome, done.probe.reason) == ("untested", "skipped"), done
    assert done.credential.fingerprint == hashlib.sha256(first).hexdigest()[:8]
    assert first not in done.SerializeToString(), "the secret never travels back"

    listed = credentials("ListCredentials", org="acme", labels=["team=search"]).credentials
    assert [it.id for it in listed] == [done.credential.id]
    shown = credentials("GetCredential", **openai()).credential
    assert shown == listed[0]
    tested = credentials("ValidateCredential", **openai())
    assert (tested.probe.outcome, tested.fingerprint) == ("untested", shown.fingerprint), tested

    cold = credentials("DecryptCredential", pipeline, **openai())
    warm = credentials("DecryptCredential", pipeline, **openai())
    assert cold.secret.value == warm.secret.value == first
    assert (cold.cached, warm.cached) == (False, True)
    assert not credentials("DecryptCredential", pipeline, **openai(), fresh=True).cached

    rotated = credentials("SetupCredential", **openai(**upload(second)))
    assert rotated.version.version == 2
    assert credentials("DecryptCredential", pipeline, **openai()).secret.value == second
    back = credentials("ActivateVersion", **openai(), version=1)
    assert back.credential.active_version == 1
    assert credentials("DecryptCredential", pipeline, **openai()).secret.value == first
    states = [(it.version, it.state, it.seal) for it in credentials("ListVersions", **openai()).versions]
    assert states == [(2, "superseded", "aes256gcm"), (1, "active", "aes256gcm")], states

    before = credentials("GetCredential", **openai()).credential
    changed = credentials("UpdateMetadata", **openai(), metadata={"environment": "prod"}, etag=before.etag).credential
    assert changed.metadata["environment"] == "prod" and changed.etag != before.etag
    info, _ = refused(grpc.StatusCode.ABORTED, "CONFLICT",
                      lambda: credentials("UpdateMetadata", **openai(), disabled=True, etag=before.etag))
    assert info.metadata["id"] == before.id

    credentials("UpdateMetadata", **openai(), disabled=True)
    info, _ = refused(grpc.StatusCode.FAILED_PRECONDITION, "REFUSED",
                      lambda: credentials("DecryptCredential", pipeline, **openai()))
    assert info.metadata["outcome"] == "disabled"
    credentials("UpdateMetadata", **openai(), disabled=False)

    gone = credentials("DeleteCredential", **openai(), destroy_after={"seconds": 3600}).credential
    assert gone.state == "deleted" and gone.HasField("destroy_at")
    refused(grpc.StatusCode.PERMISSION_DENIED, "DENIED", lambda: credentials("DecryptCredential", pipeline, **openai()))
    credentials("UndeleteCredential", **openai())
    assert credentials("DecryptCredential", pipeline, **openai()).secret.value == first

    admin("RevokeToken", id=pipeline_info.id)
    refused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED",
            lambda: credentials("DecryptCredential", pipeline, **openai()))
    tokens = {it.id: it for it in admin("ListTokens", org="acme").tokens}
    assert tokens[pipeline_info.id].HasField("revoked_at")


def a_batch_and_another_seal():
    token = b"cfut_" + b"Zk9" * 13 + b"Q" + b"0123abcd"
    done = credentials("SetupCredential", org="acme", provider="cloudflare", no_probe=True,
                       fields={"api_token": {"value": token}})
    assert done.version.seal == "fernet", done
    asked = [{"provider": "cloudflare"}, {"provider": "openai"}, {"provider": "openai", "name": "nobody"}]
    results = credentials("BatchDecrypt", org="acme", credentials=asked).results
    assert [it.WhichOneof("outcome") for it in results] == ["decrypted", "decrypted", "failure"]
    assert results[0].decrypted.secret.value == token
    assert results[2].failure.reason == "NOT_FOUND"


def a_watch_sees_every_change():
    stream = credentials("WatchCredentials", org="acme", after=0)
    first = next(stream)
    stream.cancel()
    assert (first.change, first.credential.provider) == ("setup", "openai"), first
    seen, subscribed = [], threading.Event()
    stream = credentials("WatchCredentials", org="acme", provider="openai", after=first.sequence)

    def read():
        for event in stream:
            seen.append(event)
            subscribed.set()
            if event.credential.name == "watched" and event.change == "destroyed":
                return

    reader = threading.Thread(target=read)
    reader.start()
    assert subscribed.wait(20)
    credentials("SetupCredential", **openai("watched", **upload(invented_key())))
    credentials("DeleteCredential", **openai("watched"))
    reader.join(20)
    assert not reader.is_alive(), seen
    stream.cancel()
    changes = [event.change for event in seen if event.credential.name == "watched"]
    assert changes[0] == "setup" and "deleted" in changes, changes
    sequences = [event.sequence for event in seen]
    assert sequences == sorted(set(sequences)), sequences


def refusals_name_the_field_and_never_the_value():
    canary = b"sk-proj-canary"
    info, status = refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID",
                           lambda: credentials("SetupCredential", **openai(**upload(canary))))
    assert "api_key" in info.metadata["field"], info
    violations = error_details_pb2.BadRequest()
    assert any(part.Unpack(violations) for part in status.details)
    assert violations.field_violations[0].field == info.metadata["field"]
    assert canary not in status.SerializeToString()
    refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", lambda: credentials("GetCredential", **openai("nobody")))
    for token in (None, "srt_guessed"):
        refused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED",
                lambda token=token: credentials("ListCredentials", token, org="acme"))
    operator, _ = issue("operator")
    assert credentials("ListCredentials", operator, org="acme").credentials
    for absent in ("default", "nobody"):
        refused(grpc.StatusCode.PERMISSION_DENIED, "DENIED",
                lambda absent=absent: credentials("DecryptCredential", operator, org="globex", provider="openai",
                                                  name=absent))


def the_audit_log_knows_it_all():
    records = admin("ListAudit", org="acme", action="decrypt", page_size=1000).records
    outcomes = {record.outcome for record in records}
    assert {"ok", "DENIED", "REFUSED"} <= outcomes, outcomes
    previous = None
    for record in admin("ListAudit", page_size=1000).records:
        assert previous is None or record.sequence == previous + 1
        previous = record.sequence
    verified = admin("VerifyAudit")
    assert verified.intact and verified.records >= previous, verified
    assert {it.id for it in admin("ListProviders").providers} >= {"openai", "cloudflare"}


def main():
    for part in (
        the_services_are_described_and_healthy,
        the_whole_life,
        a_batch_and_another_seal,
        a_watch_sees_every_change,
        refusals_name_the_field_and_never_the_value,
        the_audit_log_knows_it_all,
    ):
        part()
        print(f"grpc: {part.__name__.replace('_', ' ')}")


if __name__ == "__main__":
    sys.exit(main())
