#!/usr/bin/env python3
"""Python's gRPC with client certificates. Reads STRONGROOM_ADDR and STRONGROOM_TOKEN, and in the working directory
server.pem and NAME.pem with NAME.key for each of the arguments: two that come in, and a stranger.
"""

import os
import sys
from pathlib import Path

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TARGET = os.environ["STRONGROOM_ADDR"].removeprefix("https://")


def channel(name=None):
    pair = [Path(f"{name}.key").read_bytes(), Path(f"{name}.pem").read_bytes()] if name else [None, None]
    return grpc.secure_channel(TARGET, grpc.ssl_channel_credentials(Path("server.pem").read_bytes(), *pair))


pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel()))
method = pool.FindServiceByName("strongroom.v1.CredentialService").FindMethodByName("ListCredentials")
request = message_factory.GetMessageClass(method.input_type)
reply = message_factory.GetMessageClass(method.output_type)


def code(over, token=None, org="acme"):
    call = over.unary_unary("/strongroom.v1.CredentialService/ListCredentials", request.SerializeToString, reply.FromString)
    metadata = [("authorization", f"Bearer {token}")] if token else []
    try:
        call(request(org=org), metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def main():
    first, second, stranger = (channel(name) for name in sys.argv[1:])
    assert code(first) == code(second) == grpc.StatusCode.OK
    assert code(first, org="globex") == grpc.StatusCode.PERMISSION_DENIED
    assert code(stranger) == grpc.StatusCode.UNAVAILABLE, "its connection is refused"
    assert code(channel()) == grpc.StatusCode.UNAUTHENTICATED
    token = os.environ["STRONGROOM_TOKEN"]
    assert code(channel(), token) == code(first, token, "globex") == grpc.StatusCode.OK
    assert code(first, "srt_guessed") == grpc.StatusCode.UNAUTHENTICATED, "a bad token is not made good"
    print("mtls: Python's gRPC comes in by its certificate; a token beats it, and a bad one is refused")


if __name__ == "__main__":
    sys.exit(main())
